#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "base/bytes.hpp"
#include "format/json.hpp"
#include "format/manifest.hpp"
#include "format/manifest_seal.hpp"
#include "format/names.hpp"

namespace stillframe::format {
namespace {

Status wrong(std::string what) { return {Code::corrupt, std::move(what)}; }

// An object whose members are all in `known`; the getters say which member is missing, ill-typed or out of range.
class Fields {
 public:
  [[nodiscard]] static Result<Fields> of(const JsonValue& value, std::initializer_list<std::string_view> known) {
    const auto* object = value.get_if<JsonObject>();
    if (object == nullptr) return wrong("expected an object");
    for (const JsonMember& member : *object) {
      if (std::find(known.begin(), known.end(), member.key) == known.end()) {
        return wrong("the member \"" + member.key.substr(0, 200) + "\" is not known in version 0");
      }
    }
    return Fields(*object);
  }

  [[nodiscard]] Result<const JsonValue*> value(std::string_view key) const {
    for (const JsonMember& member : *object_) {
      if (member.key == key) return &member.value;
    }
    return wrong("\"" + std::string(key) + "\" is missing");
  }

  template <typename T>
  [[nodiscard]] Result<const T*> typed(std::string_view key, std::string_view expected) const {
    SF_ASSIGN(const JsonValue* found, value(key));
    if (const T* wanted = found->get_if<T>()) return wanted;
    return wrong("\"" + std::string(key) + "\": expected " + std::string(expected));
  }

  [[nodiscard]] Result<std::string> string(std::string_view key) const {
    SF_ASSIGN(const std::string* text, typed<std::string>(key, "a string"));
    return *text;
  }
  [[nodiscard]] Result<std::uint64_t> number(std::string_view key, std::uint64_t limit) const {
    SF_ASSIGN(const JsonInteger* integer, typed<JsonInteger>(key, "an unsigned integer"));
    if (integer->negative || integer->magnitude > limit) {
      return wrong("\"" + std::string(key) + "\": expected an unsigned integer of at most " + std::to_string(limit));
    }
    return integer->magnitude;
  }
  [[nodiscard]] Result<std::string> label(std::string_view key) const {
    SF_ASSIGN(std::string text, string(key));
    const bool control =
        std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; });
    if (text.empty() || text.size() > kMaxLabelBytes || control) {
      return wrong("\"" + std::string(key) + "\": expected 1 to 256 bytes of text without control characters");
    }
    return text;
  }
  [[nodiscard]] Result<std::string> hex(std::string_view key, std::size_t digits) const {
    SF_ASSIGN(std::string text, string(key));
    if (text.size() != digits || !is_lower_hex(text)) {
      return wrong("\"" + std::string(key) + "\": expected " + std::to_string(digits) + " lower-case hex digits");
    }
    return text;
  }

 private:
  explicit Fields(const JsonObject& object) : object_(&object) {}
  const JsonObject* object_;
};

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

Status decode_files(const Fields& fields, RankManifest& rank) {
  SF_ASSIGN(const JsonValue* data_value, fields.value("data"));
  SF_ASSIGN(const Fields data, Fields::of(*data_value, {"file", "bytes"}));
  SF_ASSIGN(rank.data.file, data.string("file"));
  SF_ASSIGN(rank.data.bytes, data.number("bytes", rank.layout.bytes));
  SF_ASSIGN(const JsonValue* table_value, fields.value("table"));
  SF_ASSIGN(const Fields table, Fields::of(*table_value, {"file", "bytes", "xxh128", "crc32"}));
  SF_ASSIGN(rank.table.file, table.string("file"));
  if (rank.data.file != data_file(rank.rank) || rank.table.file != table_file(rank.rank)) {
    return wrong("the files of this rank must be " + data_file(rank.rank) + " and " + table_file(rank.rank));
  }
  const std::uint64_t table_bytes = kTableBlockBytes * (1 + rank.layout.chunk_count());
  SF_ASSIGN(rank.table.bytes, table.number("bytes", table_bytes));
  if (rank.table.bytes != table_bytes) return wrong("table: expected " + std::to_string(table_bytes) + " bytes");
  SF_ASSIGN(const std::string hash, table.hex("xxh128", 32));
  rank.table_hash = base::Hash128::from_hex(hash).value_or(base::Hash128{});
  SF_ASSIGN(const std::string crc, table.hex("crc32", 8));
  rank.table_crc32 = static_cast<std::uint32_t>(std::stoul(crc, nullptr, 16));
  return {};
}

Result<RankManifest> decode_rank(const JsonValue& value) {
  SF_ASSIGN(const Fields fields,
            Fields::of(value, {"rank", "image_bytes", "chunk_bytes", "chunks", "data", "table", "entries", "tree"}));
  RankManifest rank;
  SF_ASSIGN(const std::uint64_t number, fields.number("rank", kMaxWorldSize - 1));
  rank.rank = static_cast<std::uint32_t>(number);
  SF_ASSIGN(const std::uint64_t image_bytes, fields.number("image_bytes", kMaxImageBytes));
  SF_ASSIGN(const std::uint64_t chunk_bytes, fields.number("chunk_bytes", kMaxImageBytes));
  if (chunk_bytes != kChunkBytes) return wrong("\"chunk_bytes\": version 0 has chunks of 1048576 bytes");
  SF_ASSIGN(const JsonArray* entries, fields.typed<JsonArray>("entries", "an array"));
  SF_ASSIGN(rank.layout, decode_layout(*entries, image_bytes));
  SF_ASSIGN(const std::uint64_t chunks, fields.number("chunks", kMaxImageBytes / kChunkBytes));
  if (chunks != rank.layout.chunk_count()) {
    return wrong("\"chunks\": expected " + std::to_string(rank.layout.chunk_count()));
  }
  SF_TRY(decode_files(fields, rank));
  SF_ASSIGN(const JsonValue* tree, fields.value("tree"));
  SF_TRY(check_tree_value(*tree, rank.layout));
  append_json(rank.tree_json, *tree);
  return rank;
}

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

Status check_metrics_value(const JsonValue& value) {
  const auto* object = value.get_if<JsonObject>();
  if (object == nullptr) return wrong("metrics: expected an object");
  for (const JsonMember& metric : *object) {
    const auto bad = [&] {
      return wrong("metrics, \"" + metric.key.substr(0, 200) +
                   "\": expected a number, string, boolean, null, {\"$float\": …} or {\"$int\": …}");
    };
    if (metric.value.get_if<JsonArray>() != nullptr) return bad();
    const auto* node = metric.value.get_if<JsonObject>();
    if (node == nullptr) continue;
    const auto* text = node->size() == 1 ? node->front().value.get_if<std::string>() : nullptr;
    if (text == nullptr) return bad();
    const std::string& kind = node->front().key;
    if (!(kind == "$float" && is_special_float(*text)) && !(kind == "$int" && is_big_int(*text))) return bad();
  }
  return {};
}

Status decode_ranks(const Fields& fields, Manifest& manifest) {
  SF_ASSIGN(const JsonArray* ranks, fields.typed<JsonArray>("ranks", "an array"));
  if (ranks->empty() || ranks->size() > manifest.world_size) {
    return wrong("\"ranks\": expected 1 to " + std::to_string(manifest.world_size));
  }
  for (std::size_t i = 0; i < ranks->size(); ++i) {
    auto rank = decode_rank((*ranks)[i]);
    if (!rank.ok()) return rank.status().with_context("ranks[" + std::to_string(i) + "]");
    if (rank->rank >= manifest.world_size) return wrong("\"ranks\": a rank beyond the world size");
    if (!manifest.ranks.empty() && manifest.ranks.back().rank >= rank->rank) return wrong("\"ranks\": not ascending");
    manifest.ranks.push_back(*std::move(rank));
  }
  return {};
}

Result<Manifest> decode_members(const JsonValue& root) {
  SF_ASSIGN(const Fields fields, Fields::of(root, {"format", "version", "id", "sequence", "run", "step", "created_utc",
                                                   "group", "world_size", "metrics", "writer", "ranks", "seal"}));
  Manifest manifest;
  SF_ASSIGN(manifest.id, fields.hex("id", 32));
  SF_ASSIGN(manifest.sequence, fields.number("sequence", std::numeric_limits<std::uint64_t>::max()));
  SF_ASSIGN(manifest.run, fields.string("run"));
  if (const Status run = check_run_name(manifest.run); !run.ok()) return wrong("\"run\": " + run.message());
  SF_ASSIGN(manifest.step, decode_step(fields));
  SF_ASSIGN(manifest.created_utc, fields.string("created_utc"));
  if (!is_utc(manifest.created_utc)) return wrong("\"created_utc\": expected a time such as 2026-11-22T12:30:05Z");
  SF_ASSIGN(manifest.group, fields.label("group"));
  SF_ASSIGN(const std::uint64_t world_size, fields.number("world_size", kMaxWorldSize));
  manifest.world_size = static_cast<std::uint32_t>(world_size);
  SF_ASSIGN(const JsonValue* metrics, fields.value("metrics"));
  SF_TRY(check_metrics_value(*metrics));
  manifest.metrics_json.clear();
  append_json(manifest.metrics_json, *metrics);
  SF_ASSIGN(manifest.writer, fields.label("writer"));
  SF_TRY(decode_ranks(fields, manifest));
  return manifest;
}

// The format's name and version come before everything else, so that a later version is called that and not broken.
Status check_version(const JsonValue& root) {
  const auto* object = root.get_if<JsonObject>();
  if (object == nullptr || object->size() < 2 || (*object)[0].key != "format" || (*object)[1].key != "version") {
    return wrong("it does not begin with \"format\" and \"version\"");
  }
  const auto* format = (*object)[0].value.get_if<std::string>();
  if (format == nullptr || *format != kFormatName) return wrong("\"format\": expected \"stillframe\"");
  const auto* version = (*object)[1].value.get_if<JsonInteger>();
  if (version == nullptr || version->negative) return wrong("\"version\": expected an unsigned integer");
  if (version->magnitude <= kFormatVersion) return {};
  return {Code::unsupported, "format version " + std::to_string(version->magnitude) +
                                 " was written by a later Stillframe; this build reads version 0. The checkpoint is "
                                 "whole: read it with the newer program"};
}

}  // namespace

Status check_metrics(std::string_view metrics_json) {
  auto value = parse_json(metrics_json, kMaxTreeJsonDepth);
  Status status = value.ok() ? check_metrics_value(*value) : value.status().with_context("metrics");
  return status.ok() ? status : Status(Code::invalid_argument, status.message());
}

Result<Manifest> decode_manifest(std::string_view text) {
  constexpr std::string_view kDoing = "manifest";
  if (text.size() > kMaxManifestBytes) {
    return wrong(std::to_string(text.size()) + " bytes are more than the limit of " + std::to_string(kMaxManifestBytes))
        .with_context(kDoing);
  }
  if (text.size() <= kSealBytes || text.front() != '{') {
    return wrong("it is not a sealed JSON object; the file was cut short or is another file").with_context(kDoing);
  }
  const std::string_view covered = text.substr(0, text.size() - kSealBytes);
  if (text.substr(covered.size()) != seal_of(covered)) {
    return wrong("its bytes do not match its seal; the file was changed or cut short").with_context(kDoing);
  }
  const auto root = parse_json(text, kMaxManifestJsonDepth);
  if (!root.ok()) return root.status().with_context(kDoing);
  if (const Status version = check_version(*root); !version.ok()) return version.with_context(kDoing);
  auto manifest = decode_members(*root);
  if (!manifest.ok()) return manifest.status().with_context(kDoing);
  return manifest;
}

}  // namespace stillframe::format
