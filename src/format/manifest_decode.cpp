#include <algorithm>
#include <array>
#include <iterator>
#include <limits>
#include <utility>

#include "base/bytes.hpp"
#include "format/json.hpp"
#include "format/manifest.hpp"
#include "format/manifest_fields.hpp"
#include "format/manifest_seal.hpp"
#include "format/names.hpp"

namespace stillframe::format {
namespace {

constexpr std::string_view kRanksKey = "ranks";
constexpr std::array<std::string_view, 15> kHeadMembers{
    "format",     "version",   "id",      "sequence", "run",       "step",         "created_utc", "group",
    "world_size", "confirmed", "metrics", "alarms",   "raw_bytes", "stored_bytes", "writer"};

Result<std::int64_t> decode_step(const Fields& fields) {
  SF_ASSIGN(const JsonInteger* step, fields.typed<JsonInteger>("step", "an integer"));
  constexpr std::uint64_t kLowest = 1ULL << 63;
  if (step->negative ? step->magnitude > kLowest : step->magnitude >= kLowest) return wrong("\"step\": beyond 64 bits");
  return static_cast<std::int64_t>(step->negative ? 0 - step->magnitude : step->magnitude);
}

// "2026-11-22T12:30:05Z" is a checkpoint name's "20261122T123005Z" with '-' and ':' in it.
bool is_utc(const std::string& text) {
  if (text.size() != 20 || text[4] != '-' || text[7] != '-' || text[13] != ':' || text[16] != ':') return false;
  std::string compact;
  std::copy_if(text.begin(), text.end(), std::back_inserter(compact), [](char c) { return c != '-' && c != ':'; });
  return parse_checkpoint_name(to_string(CheckpointName{0, 0, compact})).has_value();
}

Result<Alarm> decode_alarm(const JsonValue& value) {
  SF_ASSIGN(const Fields fields, Fields::of(value, {"kind", "text"}));
  Alarm alarm;
  SF_ASSIGN(alarm.kind, fields.string("kind"));
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'; };
  if (alarm.kind.empty() || alarm.kind.size() > kMaxAlarmKindBytes ||
      !std::all_of(alarm.kind.begin(), alarm.kind.end(), plain)) {
    return wrong("\"kind\": expected 1 to 64 of a-z 0-9 _ -");
  }
  SF_ASSIGN(alarm.text, fields.string("text"));
  if (alarm.text.size() > kMaxAlarmTextBytes) {
    return wrong("\"text\": more than " + std::to_string(kMaxAlarmTextBytes) + " bytes");
  }
  return alarm;
}

Result<std::vector<Alarm>> decode_alarms(const Fields& fields) {
  SF_ASSIGN(const JsonArray* items, fields.typed<JsonArray>("alarms", "an array"));
  if (items->size() > kMaxAlarms) return wrong("\"alarms\": more than " + std::to_string(kMaxAlarms));
  std::vector<Alarm> alarms;
  for (const JsonValue& item : *items) {
    auto alarm = decode_alarm(item);
    if (!alarm.ok()) return alarm.status().with_context("alarms[" + std::to_string(alarms.size()) + "]");
    alarms.push_back(*std::move(alarm));
  }
  return alarms;
}

// The members stand in one order, so that everything before `ranks` can be read alone.
Status check_order(const JsonObject& root) {
  for (std::size_t i = 0; i < kHeadMembers.size(); ++i) {
    const std::string_view found = i < root.size() ? std::string_view(root[i].key) : std::string_view();
    if (found != kHeadMembers[i]) {
      return wrong("expected the member \"" + std::string(kHeadMembers[i]) + "\" at place " + std::to_string(i + 1) +
                   ", found \"" + std::string(found.substr(0, 200)) + "\"");
    }
  }
  return {};
}

Result<ManifestHead> decode_head(const JsonObject& root) {
  SF_TRY(check_order(root));
  const Fields fields = Fields::of(root);
  ManifestHead head;
  SF_ASSIGN(const std::uint64_t version, fields.number("version", kFormatVersion));
  head.version = static_cast<std::uint32_t>(version);
  SF_ASSIGN(head.id, fields.hex("id", 32));
  SF_ASSIGN(head.sequence, fields.number("sequence", std::numeric_limits<std::uint64_t>::max()));
  SF_ASSIGN(head.run, fields.string("run"));
  if (const Status run = check_run_name(head.run); !run.ok()) return wrong("\"run\": " + run.message());
  SF_ASSIGN(head.step, decode_step(fields));
  SF_ASSIGN(head.created_utc, fields.string("created_utc"));
  if (!is_utc(head.created_utc)) return wrong("\"created_utc\": expected a time such as 2026-11-22T12:30:05Z");
  SF_ASSIGN(head.group, fields.label("group"));
  SF_ASSIGN(const std::uint64_t world_size, fields.number("world_size", kMaxWorldSize));
  if (world_size == 0) return wrong("\"world_size\": expected at least 1");
  head.world_size = static_cast<std::uint32_t>(world_size);
  SF_ASSIGN(head.confirmed, fields.boolean("confirmed"));
  SF_ASSIGN(const JsonValue* metrics, fields.value("metrics"));
  SF_ASSIGN(head.metrics_json, decode_metrics(*metrics));
  SF_ASSIGN(head.alarms, decode_alarms(fields));
  SF_ASSIGN(head.raw_bytes, fields.number("raw_bytes", std::numeric_limits<std::uint64_t>::max()));
  SF_ASSIGN(head.stored_bytes, fields.number("stored_bytes", std::numeric_limits<std::uint64_t>::max()));
  SF_ASSIGN(head.writer, fields.label("writer"));
  return head;
}

Status decode_ranks(const JsonArray& ranks, Manifest& manifest) {
  if (ranks.empty() || ranks.size() > manifest.world_size) {
    return wrong("\"ranks\": expected 1 to " + std::to_string(manifest.world_size));
  }
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    auto rank = decode_rank(ranks[i], manifest.sequence);
    if (!rank.ok()) return rank.status().with_context("ranks[" + std::to_string(i) + "]");
    if (rank->rank >= manifest.world_size) return wrong("\"ranks\": a rank beyond the world size");
    if (!manifest.ranks.empty() && manifest.ranks.back().rank >= rank->rank) return wrong("\"ranks\": not ascending");
    rank->version = manifest.version;
    manifest.ranks.push_back(*std::move(rank));
  }
  return {};
}

Status check_sums(const Manifest& manifest) {
  const auto sums = sums_of(manifest.ranks);
  if (!sums) return wrong("the sizes of its ranks overflow 64 bits");
  if (manifest.raw_bytes != sums->raw_bytes) {
    return wrong("\"raw_bytes\": its ranks have " + std::to_string(sums->raw_bytes));
  }
  if (manifest.stored_bytes != sums->stored_bytes) {
    return wrong("\"stored_bytes\": its ranks have " + std::to_string(sums->stored_bytes));
  }
  return {};
}

Result<Manifest> decode_members(const JsonObject& root) {
  Manifest manifest;
  SF_ASSIGN(static_cast<ManifestHead&>(manifest), decode_head(root));
  constexpr std::size_t kMembers = kHeadMembers.size() + 2;
  if (root.size() != kMembers || root[kMembers - 2].key != kRanksKey || root[kMembers - 1].key != "seal") {
    return wrong("it does not end with \"ranks\" and \"seal\"");
  }
  const auto* ranks = root[kMembers - 2].value.get_if<JsonArray>();
  if (ranks == nullptr) return wrong("\"ranks\": expected an array");
  SF_TRY(decode_ranks(*ranks, manifest));
  SF_TRY(check_sums(manifest));
  return manifest;
}

Status check_version(const JsonObject& root) {
  if (root.size() < 2 || root[0].key != "format" || root[1].key != "version") {
    return wrong("it does not begin with \"format\" and \"version\"");
  }
  const auto* format = root[0].value.get_if<std::string>();
  if (format == nullptr || *format != kFormatName) return wrong("\"format\": expected \"stillframe\"");
  const auto* version = root[1].value.get_if<JsonInteger>();
  if (version == nullptr || version->negative) return wrong("\"version\": expected an unsigned integer");
  if (version->magnitude == 0) {
    return {Code::unsupported, "format version 0 was a draft without a promise; this build reads " + known_versions() +
                                   ". The checkpoint is as it was: read it with the Stillframe that wrote it"};
  }
  return version->magnitude <= kFormatVersion ? Status() : later_version(std::to_string(version->magnitude));
}

Status check_seal(std::string_view text) {
  if (text.size() > kMaxManifestBytes) {
    return wrong(std::to_string(text.size()) + " bytes are more than the limit of " +
                 std::to_string(kMaxManifestBytes));
  }
  if (text.size() <= kSealBytes || text.front() != '{') {
    return wrong("it is not a sealed JSON object; the file was cut short or is another file");
  }
  if (has_right_seal(text)) return {};
  return wrong("its bytes do not match its seal; the file was changed or cut short");
}

// A later version may have other limits and another seal, so it is asked for first. Under a seal of this form that does
// not match, the version itself may be what was changed.
Status check_later(std::string_view text) {
  const Status later = check_not_later(text);
  return later.ok() || (has_seal(text) && !has_right_seal(text)) ? Status() : later;
}

// The root's members, all or those before `ranks`, of a text under a right seal and of a version that is known.
Result<JsonObject> open_root(std::string_view text, std::string_view stop_key) {
  SF_TRY(check_later(text));
  SF_TRY(check_seal(text));
  SF_ASSIGN(JsonValue value, parse_json(text, kMaxManifestJsonDepth, stop_key));
  auto* root = std::get_if<JsonObject>(&value.data);
  if (root == nullptr) return wrong("it is no JSON object");
  SF_TRY(check_version(*root));
  return std::move(*root);
}

template <typename T>
Result<T> in_manifest(Result<T> result) {
  return result.ok() ? std::move(result) : Result<T>(result.status().with_context("manifest"));
}

Result<Manifest> decode_whole(std::string_view text) {
  SF_ASSIGN(const JsonObject root, open_root(text, ""));
  return decode_members(root);
}

Result<ManifestHead> decode_head_only(std::string_view text) {
  SF_ASSIGN(const JsonObject root, open_root(text, kRanksKey));
  SF_ASSIGN(ManifestHead head, decode_head(root));
  if (root.size() != kHeadMembers.size()) return wrong("\"ranks\" is missing or not at its place");
  return head;
}

}  // namespace

Result<Manifest> decode_manifest(std::string_view text) { return in_manifest(decode_whole(text)); }

Result<ManifestHead> decode_manifest_head(std::string_view text) { return in_manifest(decode_head_only(text)); }

}  // namespace stillframe::format
