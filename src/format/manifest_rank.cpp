#include <charconv>
#include <utility>

#include "format/manifest.hpp"
#include "format/manifest_fields.hpp"
#include "format/manifest_seal.hpp"
#include "format/names.hpp"
#include "format/safetensors.hpp"

namespace stillframe::format {
namespace {

// A shared file may be of either kind.
constexpr std::uint64_t kMaxDataFileBytes = kMaxImageBytes + kMaxSafetensorsStart;

Result<Entry> decode_entry(const JsonValue& value) {
  SF_ASSIGN(const Fields fields, Fields::of(value, {"name", "dtype", "shape", "offset", "bytes"}));
  Entry entry;
  SF_ASSIGN(entry.name, fields.string("name"));
  SF_ASSIGN(const std::string dtype, fields.string("dtype"));
  const auto known = dtype_from_name(dtype);
  if (!known) return Status(Code::unsupported, "the dtype \"" + dtype.substr(0, 40) + "\" is not known to this build");
  entry.dtype = *known;
  SF_ASSIGN(const JsonArray* shape, fields.typed<JsonArray>("shape", "an array of unsigned integers"));
  if (shape->size() > kMaxTensorRank) return wrong("\"shape\": more than 64 dimensions");
  for (const JsonValue& item : *shape) {
    const auto* extent = item.get_if<JsonInteger>();
    if (extent == nullptr || extent->negative) return wrong("\"shape\": expected an array of unsigned integers");
    entry.shape.push_back(extent->magnitude);
  }
  SF_ASSIGN(entry.offset, fields.number("offset", kMaxImageBytes));
  SF_ASSIGN(entry.bytes, fields.number("bytes", kMaxImageBytes));
  return entry;
}

Result<ImageLayout> decode_layout(const JsonArray& items, std::uint64_t image_bytes) {
  if (items.size() > kMaxEntries) return wrong("\"entries\": more than " + std::to_string(kMaxEntries));
  std::vector<Entry> entries;
  entries.reserve(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    auto entry = decode_entry(items[i]);
    if (!entry.ok()) return entry.status().with_context("entries[" + std::to_string(i) + "]");
    entries.push_back(*std::move(entry));
  }
  return check_layout(std::move(entries), image_bytes);
}

// A container begins with its first chunk. A safetensors file is its header and the image, nothing else.
Status decode_data(const Fields& fields, RankManifest& rank) {
  SF_ASSIGN(const JsonValue* value, fields.value("data"));
  SF_ASSIGN(const Fields data, Fields::of(*value, {"file", "bytes", "start"}));
  SF_ASSIGN(rank.data.file, data.string("file"));
  SF_ASSIGN(rank.data.bytes, data.number("bytes", kMaxDataFileBytes));
  SF_ASSIGN(rank.data.start, data.number("start", kMaxSafetensorsStart));
  if (rank.data.file == data_file(rank.rank)) {
    if (rank.data.start != 0) return wrong("data: a container's \"start\" is 0");
    if (rank.data.bytes <= rank.layout.bytes) return {};
    return wrong("data: \"bytes\" are more than the image's " + std::to_string(rank.layout.bytes));
  }
  if (rank.data.file != safetensors_file(rank.rank)) {
    return wrong("data: the file of this rank must be " + data_file(rank.rank) + " or " + safetensors_file(rank.rank));
  }
  if (rank.data.start == 0 || rank.data.start % kSafetensorsAlignment != 0) {
    return wrong("data: \"start\" in a safetensors file is a multiple of 4096, and not 0");
  }
  if (rank.data.bytes == rank.data.start + rank.layout.bytes) return {};
  return wrong("data: \"bytes\" of a safetensors file are \"start\" and the image's " +
               std::to_string(rank.layout.bytes));
}

Status decode_shared(const Fields& fields, RankManifest& rank, std::uint64_t sequence) {
  SF_ASSIGN(const JsonArray* files, fields.typed<JsonArray>("shared", "an array"));
  if (files->size() > kMaxSharedFiles) {
    return wrong("\"shared\": more than " + std::to_string(kMaxSharedFiles) + " files");
  }
  for (const JsonValue& value : *files) {
    SF_ASSIGN(const Fields file, Fields::of(value, {"file", "bytes", "from"}));
    const std::string expected = shared_file(rank.rank, static_cast<std::uint32_t>(rank.shared.size()));
    SharedFile shared;
    SF_ASSIGN(shared.file, file.string("file"));
    if (shared.file != expected) return wrong("\"shared\": expected the file " + expected);
    SF_ASSIGN(shared.bytes, file.number("bytes", kMaxDataFileBytes));
    SF_ASSIGN(shared.from, file.string("from"));
    const auto from = parse_checkpoint_name(shared.from);
    if (!from || from->sequence >= sequence) {
      return wrong("\"shared\": the \"from\" of " + expected + " names no earlier checkpoint");
    }
    rank.shared.push_back(std::move(shared));
  }
  return {};
}

Status decode_table_ref(const Fields& fields, RankManifest& rank) {
  SF_ASSIGN(const JsonValue* value, fields.value("table"));
  SF_ASSIGN(const Fields table, Fields::of(*value, {"file", "bytes", "xxh128", "crc32"}));
  SF_ASSIGN(rank.table.file, table.string("file"));
  if (rank.table.file != table_file(rank.rank)) {
    return wrong("table: the file of this rank must be " + table_file(rank.rank));
  }
  const std::uint64_t table_bytes = kTableBlockBytes * (1 + rank.layout.chunk_count());
  SF_ASSIGN(rank.table.bytes, table.number("bytes", table_bytes));
  if (rank.table.bytes != table_bytes) return wrong("table: expected " + std::to_string(table_bytes) + " bytes");
  SF_ASSIGN(const std::string hash, table.hex("xxh128", 32));
  rank.table_hash = base::Hash128::from_hex(hash).value_or(base::Hash128{});
  SF_ASSIGN(const std::string crc, table.hex("crc32", 8));
  std::from_chars(crc.data(), crc.data() + crc.size(), rank.table_crc32, 16);
  return {};
}

}  // namespace

Result<RankManifest> decode_rank(const JsonValue& value, std::uint64_t sequence) {
  SF_ASSIGN(const Fields fields, Fields::of(value, {"rank", "image_bytes", "chunk_bytes", "chunks", "data", "shared",
                                                    "table", "entries", "tree"}));
  RankManifest rank;
  SF_ASSIGN(const std::uint64_t number, fields.number("rank", kMaxWorldSize - 1));
  rank.rank = static_cast<std::uint32_t>(number);
  SF_ASSIGN(const std::uint64_t image_bytes, fields.number("image_bytes", kMaxImageBytes));
  SF_ASSIGN(const std::uint64_t chunk_bytes, fields.number("chunk_bytes", kMaxImageBytes));
  if (chunk_bytes != kChunkBytes) return wrong("\"chunk_bytes\": chunks have 1048576 bytes");
  SF_ASSIGN(const JsonArray* entries, fields.typed<JsonArray>("entries", "an array"));
  SF_ASSIGN(rank.layout, decode_layout(*entries, image_bytes));
  SF_ASSIGN(const std::uint64_t chunks, fields.number("chunks", kMaxImageBytes / kChunkBytes));
  if (chunks != rank.layout.chunk_count()) {
    return wrong("\"chunks\": expected " + std::to_string(rank.layout.chunk_count()));
  }
  SF_TRY(decode_data(fields, rank));
  SF_TRY(decode_shared(fields, rank, sequence));
  SF_TRY(decode_table_ref(fields, rank));
  SF_ASSIGN(const JsonValue* tree, fields.value("tree"));
  SF_TRY(check_tree_value(*tree, rank.layout));
  append_json(rank.tree_json, *tree);
  return rank;
}

}  // namespace stillframe::format
