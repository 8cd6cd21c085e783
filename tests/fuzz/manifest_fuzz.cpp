// The manifest, whole and its head alone. Tried as it is and under a fresh seal, so that the inside is reached.
#include <string>

#include "format/manifest.hpp"
#include "format/manifest_seal.hpp"
#include "harness.hpp"

namespace stillframe::fuzz {
namespace {

using format::Manifest;
using format::ManifestHead;

constexpr std::size_t kPerInputByte = 256;
constexpr std::size_t kFixedBytes = 256 * 1024;

bool same_head(const ManifestHead& a, const ManifestHead& b) {
  return a.sequence == b.sequence && a.id == b.id && a.run == b.run && a.step == b.step &&
         a.created_utc == b.created_utc && a.group == b.group && a.world_size == b.world_size &&
         a.confirmed == b.confirmed && a.metrics_json == b.metrics_json && a.alarms == b.alarms &&
         a.raw_bytes == b.raw_bytes && a.stored_bytes == b.stored_bytes && a.writer == b.writer;
}

bool same_rank(const format::RankManifest& a, const format::RankManifest& b) {
  return a.rank == b.rank && a.data == b.data && a.table == b.table && a.table_hash == b.table_hash &&
         a.table_crc32 == b.table_crc32 && a.shared == b.shared && a.layout.bytes == b.layout.bytes &&
         a.layout.entries == b.layout.entries && a.tree_json == b.tree_json;
}

// What was taken is written once in our own words, and from then on never changes.
void check_written_back(const Manifest& manifest) {
  const auto text = format::encode_manifest(manifest);
  require(text.ok(), "a manifest that was taken cannot be written");
  const auto again = format::decode_manifest(*text);
  require(again.ok(), "a manifest that was written is refused");
  require(same_head(*again, manifest) && again->ranks.size() == manifest.ranks.size(), "a head changes when written");
  for (std::size_t i = 0; i < manifest.ranks.size(); ++i) {
    require(same_rank(again->ranks[i], manifest.ranks[i]), "a rank changes when written");
  }
  const auto text_again = format::encode_manifest(*again);
  require(text_again.ok() && *text_again == *text, "a manifest changes each time it is written");
}

void decode(std::string_view text) {
  const MemoryBound bound(text.size(), kPerInputByte, kFixedBytes);
  const auto head = format::decode_manifest_head(text);
  require_words(head);
  const auto whole = format::decode_manifest(text);
  require_words(whole);
  if (!whole.ok()) return;
  require(head.ok(), "the head is refused of a manifest that is taken");
  require(same_head(*head, *whole), "the head alone says other than the whole");
  check_written_back(*whole);
}

std::string resealed(std::string_view text) {
  const std::size_t seal = text.rfind("\n \"seal\": {");
  std::string sealed(text.substr(0, seal));
  format::append_seal(sealed);
  return sealed;
}

}  // namespace
}  // namespace stillframe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = stillframe::fuzz::text_of(data, size);
  stillframe::fuzz::decode(text);
  stillframe::fuzz::decode(stillframe::fuzz::resealed(text));
  return 0;
}
