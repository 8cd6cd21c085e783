#include <algorithm>
#include <array>
#include <charconv>

#include "base/bytes.hpp"
#include "format/json.hpp"
#include "format/manifest.hpp"
#include "format/manifest_seal.hpp"

namespace stillframe::format {
namespace {

constexpr std::size_t kCrcDigits = 8;
constexpr std::string_view kSealBegin = "\n \"seal\": {\"xxh128\": \"";
constexpr std::string_view kSealEnd = "\"}\n}\n";

void append_member(std::string& out, std::string_view indent, std::string_view key) {
  out += '\n';
  out += indent;
  append_json_string(out, key);
  out += ": ";
}

void append_string(std::string& out, std::string_view indent, std::string_view key, std::string_view value) {
  append_member(out, indent, key);
  append_json_string(out, value);
  out += ',';
}

void append_number(std::string& out, std::string_view indent, std::string_view key, auto value) {
  append_member(out, indent, key);
  out += std::to_string(value) + ',';
}

void append_file(std::string& out, std::string_view file, std::uint64_t bytes) {
  out += "{\"file\": ";
  append_json_string(out, file);
  out += ", \"bytes\": " + std::to_string(bytes);
}

// One item of an array a line.
void append_items(std::string& out, std::string_view indent, std::string_view key, const auto& items,
                  auto append_item) {
  append_member(out, indent, key);
  out += '[';
  bool first = true;
  for (const auto& item : items) {
    out += first ? "\n" : ",\n";
    first = false;
    out.append(indent).append(" ");
    append_item(item);
  }
  if (!first) out.append("\n").append(indent);
  out += "],";
}

void append_shared(std::string& out, std::string_view indent, const std::vector<SharedFile>& files) {
  append_items(out, indent, "shared", files, [&](const SharedFile& shared) {
    append_file(out, shared.file, shared.bytes);
    out += ", \"from\": ";
    append_json_string(out, shared.from);
    out += '}';
  });
}

void append_alarms(std::string& out, std::string_view indent, const std::vector<Alarm>& alarms) {
  append_items(out, indent, "alarms", alarms, [&](const Alarm& alarm) {
    out += "{\"kind\": ";
    append_json_string(out, alarm.kind);
    out += ", \"text\": ";
    append_json_string(out, alarm.text);
    out += '}';
  });
}

void append_entry(std::string& out, const Entry& entry) {
  out += "{\"name\": ";
  append_json_string(out, entry.name);
  out += ", \"dtype\": ";
  append_json_string(out, dtype_name(entry.dtype));
  out += ", \"shape\": [";
  for (std::size_t i = 0; i < entry.shape.size(); ++i) out += (i == 0 ? "" : ", ") + std::to_string(entry.shape[i]);
  out += "], \"offset\": " + std::to_string(entry.offset) + ", \"bytes\": " + std::to_string(entry.bytes) + "}";
}

Status append_rank(std::string& out, const RankManifest& rank) {
  constexpr std::string_view kIndent = "   ";
  auto tree = parse_json(rank.tree_json, kMaxTreeJsonDepth);
  if (!tree.ok()) return tree.status().with_context("state tree of rank " + std::to_string(rank.rank));
  out += "\n  {";
  append_number(out, kIndent, "rank", rank.rank);
  append_number(out, kIndent, "image_bytes", rank.layout.bytes);
  append_number(out, kIndent, "chunk_bytes", kChunkBytes);
  append_number(out, kIndent, "chunks", rank.layout.chunk_count());
  append_member(out, kIndent, "data");
  append_file(out, rank.data.file, rank.data.bytes);
  out += ", \"start\": " + std::to_string(rank.data.start) + "},";
  append_shared(out, kIndent, rank.shared);
  append_member(out, kIndent, "table");
  append_file(out, rank.table.file, rank.table.bytes);
  out += ", \"xxh128\": \"" + rank.table_hash.hex() + "\", \"crc32\": \"" + crc32_hex(rank.table_crc32) + "\"},";
  append_items(out, kIndent, "entries", rank.layout.entries, [&](const Entry& entry) { append_entry(out, entry); });
  append_member(out, kIndent, "tree");
  append_json_pretty(out, *tree, kIndent.size());
  out += "\n  }";
  return {};
}

// A build that knows less still reads what it can.
std::uint32_t lowest_version(std::span<const RankManifest> ranks) noexcept {
  std::uint32_t version = 1;
  for (const RankManifest& rank : ranks) version = std::max(version, rank.version);
  return version;
}

Result<std::string> encode_text(const Manifest& manifest) {
  constexpr std::string_view kIndent = " ";
  auto metrics = parse_json(manifest.metrics_json, kMaxTreeJsonDepth);
  if (!metrics.ok()) return metrics.status().with_context("metrics");
  const auto sums = sums_of(manifest.ranks);
  if (!sums) return Status(Code::invalid_argument, "the sizes of the ranks overflow 64 bits");
  std::string out = "{";
  append_string(out, kIndent, "format", kFormatName);
  append_number(out, kIndent, "version", lowest_version(manifest.ranks));
  append_string(out, kIndent, "id", manifest.id);
  append_number(out, kIndent, "sequence", manifest.sequence);
  append_string(out, kIndent, "run", manifest.run);
  append_number(out, kIndent, "step", manifest.step);
  append_string(out, kIndent, "created_utc", manifest.created_utc);
  append_string(out, kIndent, "group", manifest.group);
  append_number(out, kIndent, "world_size", manifest.world_size);
  append_member(out, kIndent, "confirmed");
  out += manifest.confirmed ? "true," : "false,";
  append_member(out, kIndent, "metrics");
  append_json_pretty(out, *metrics, kIndent.size());
  out += ',';
  append_alarms(out, kIndent, manifest.alarms);
  append_number(out, kIndent, "raw_bytes", sums->raw_bytes);
  append_number(out, kIndent, "stored_bytes", sums->stored_bytes);
  append_string(out, kIndent, "writer", manifest.writer);
  append_member(out, kIndent, "ranks");
  out += '[';
  for (std::size_t i = 0; i < manifest.ranks.size(); ++i) {
    if (i != 0) out += ',';
    SF_TRY(append_rank(out, manifest.ranks[i]));
  }
  out += "\n ],";
  append_seal(out);
  return out;
}

}  // namespace

std::optional<Sums> sums_of(std::span<const RankManifest> ranks) noexcept {
  Sums sums;
  for (const RankManifest& rank : ranks) {
    const auto raw = base::checked_add(sums.raw_bytes, rank.layout.bytes);
    const auto data = base::checked_add(sums.stored_bytes, rank.data.bytes);
    const auto stored = data ? base::checked_add(*data, rank.table.bytes) : std::nullopt;
    if (!raw || !stored) return std::nullopt;
    sums = {*raw, *stored};
  }
  return sums;
}

std::string crc32_hex(std::uint32_t crc) {
  std::array<char, 8> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), crc, 16).ptr;
  const auto count = static_cast<std::size_t>(end - digits.data());
  return std::string(digits.size() - count, '0') + std::string(digits.data(), count);
}

void append_seal(std::string& text) {
  const std::string hash = base::xxh128(base::as_bytes(text)).hex();
  text += std::string(kSealBegin) + hash + "\", \"crc32\": \"";
  text += crc32_hex(base::crc32(base::as_bytes(text))) + std::string(kSealEnd);
}

bool has_seal(std::string_view text) noexcept {
  return text.size() > kSealBytes && text.substr(text.size() - kSealBytes).starts_with(kSealBegin);
}

bool has_right_seal(std::string_view text) {
  if (text.size() < kSealBytes) return false;
  const std::string_view covered = text.substr(0, text.size() - kSealBytes);
  const std::string_view before_crc = text.substr(0, text.size() - kCrcDigits - kSealEnd.size());
  const std::string seal = std::string(kSealBegin) + base::xxh128(base::as_bytes(covered)).hex() +
                           "\", \"crc32\": \"" + crc32_hex(base::crc32(base::as_bytes(before_crc))) +
                           std::string(kSealEnd);
  return text.substr(covered.size()) == seal;
}

Result<std::string> encode_manifest(const Manifest& manifest) {
  const std::string_view refusal = "this snapshot cannot be written as a manifest; nothing was published";
  auto text = encode_text(manifest);
  if (!text.ok()) return Status(Code::invalid_argument, text.status().message()).with_context(refusal);
  // What no reader would accept is never written.
  if (const auto read_back = decode_manifest(*text); !read_back.ok()) {
    return Status(Code::invalid_argument, read_back.status().message()).with_context(refusal);
  }
  return text;
}

}  // namespace stillframe::format
