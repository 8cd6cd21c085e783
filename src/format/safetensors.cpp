#include "format/safetensors.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/bytes.hpp"
#include "format/image.hpp"
#include "format/json.hpp"
#include "format/manifest_fields.hpp"

namespace stillframe::format {
namespace {

constexpr std::string_view kMetadataKey = "__metadata__";
// The header, a tensor, its shape.
constexpr std::size_t kMaxHeaderJsonDepth = 3;

void append_tensor(std::string& out, const Entry& entry) {
  const bool known = entry.dtype != DType::c128;
  append_json_string(out, entry.name);
  out += ":{\"data_offsets\":[" + std::to_string(entry.offset) + "," + std::to_string(entry.offset + entry.bytes) +
         "],\"dtype\":\"" + std::string(known ? dtype_name(entry.dtype) : "U8") + "\",\"shape\":[";
  bool first = true;
  for (const std::uint64_t extent : entry.shape)
    out += (std::exchange(first, false) ? "" : ",") + std::to_string(extent);
  if (!known) out += (first ? "" : ",") + std::to_string(dtype_bytes(entry.dtype));
  out += "]}";
}

Status append_metadata(std::string& out, const SafetensorsMetadata& metadata) {
  append_json_string(out, kMetadataKey);
  out += ":{";
  bool first = true;
  for (const auto& [key, value] : metadata) {
    if (!is_utf8(key) || !is_utf8(value)) {
      return {Code::invalid_argument, "the metadata of the safetensors file is not UTF-8"};
    }
    if (!std::exchange(first, false)) out += ',';
    append_json_string(out, key);
    out += ':';
    append_json_string(out, value);
  }
  out += '}';
  return {};
}

Status header_too_large() {
  return {Code::unsupported, "the header of the safetensors file would be larger than the " +
                                 std::to_string(kMaxSafetensorsHeaderBytes) +
                                 " bytes that readers accept: there are too many tensors for one file"};
}

Result<SafetensorsMetadata> read_metadata(const JsonValue& value) {
  const auto* object = value.get_if<JsonObject>();
  if (object == nullptr) return wrong("__metadata__: expected an object");
  SafetensorsMetadata metadata;
  for (const JsonMember& member : *object) {
    const auto* text = member.value.get_if<std::string>();
    if (text == nullptr) return wrong("__metadata__: expected texts only");
    metadata.emplace(member.key, *text);
  }
  return metadata;
}

Result<std::vector<std::uint64_t>> read_numbers(const Fields& fields, std::string_view key, std::size_t limit) {
  SF_ASSIGN(const JsonArray* array, fields.typed<JsonArray>(key, "an array"));
  if (array->size() > limit)
    return wrong("\"" + std::string(key) + "\": more than " + std::to_string(limit) + " numbers");
  std::vector<std::uint64_t> numbers;
  for (const JsonValue& item : *array) {
    const auto* integer = item.get_if<JsonInteger>();
    if (integer == nullptr || integer->negative)
      return wrong("\"" + std::string(key) + "\": expected unsigned integers");
    numbers.push_back(integer->magnitude);
  }
  return numbers;
}

Result<Entry> read_tensor(const JsonMember& member, std::uint64_t data_bytes) {
  if (member.key.size() > kMaxEntryNameBytes) return wrong("its name has more than 65536 bytes");
  SF_ASSIGN(const Fields fields, Fields::of(member.value, {"dtype", "shape", "data_offsets"}));
  Entry entry;
  entry.name = member.key;
  SF_ASSIGN(const std::string dtype, fields.string("dtype"));
  const auto known = dtype_from_name(dtype);
  if (!known) return Status(Code::unsupported, "the dtype \"" + dtype.substr(0, 40) + "\" is not known to this build");
  entry.dtype = *known;
  SF_ASSIGN(entry.shape, read_numbers(fields, "shape", kMaxTensorRank));
  SF_ASSIGN(const std::vector<std::uint64_t> offsets, read_numbers(fields, "data_offsets", 2));
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > data_bytes) {
    return wrong("\"data_offsets\": expected two offsets into the " + std::to_string(data_bytes) + " bytes of data");
  }
  entry.offset = offsets[0];
  entry.bytes = offsets[1] - offsets[0];
  if (entry_bytes(entry) != entry.bytes)
    return wrong("its shape does not fit its " + std::to_string(entry.bytes) + " bytes");
  return entry;
}

Status check_filled(const std::vector<Entry>& entries, std::uint64_t data_bytes) {
  std::uint64_t end = 0;
  for (const Entry& entry : entries) {
    if (entry.offset != end)
      return wrong("its tensors leave a hole or overlap at byte " + std::to_string(end) + " of the data");
    end += entry.bytes;
  }
  if (end == data_bytes) return {};
  return wrong("its tensors end at byte " + std::to_string(end) + " of " + std::to_string(data_bytes) +
               " bytes of data");
}

Result<SafetensorsHeader> read_members(const JsonObject& root, std::uint64_t data_bytes) {
  if (root.size() > kMaxEntries) return wrong("it has more than " + std::to_string(kMaxEntries) + " tensors");
  SafetensorsHeader header;
  for (const JsonMember& member : root) {
    if (member.key == kMetadataKey) {
      SF_ASSIGN(header.metadata, read_metadata(member.value));
      continue;
    }
    auto entry = read_tensor(member, data_bytes);
    if (!entry.ok()) return entry.status().with_context("tensor \"" + member.key.substr(0, 200) + "\"");
    header.entries.push_back(*std::move(entry));
  }
  std::stable_sort(header.entries.begin(), header.entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.offset, a.offset + a.bytes) < std::pair(b.offset, b.offset + b.bytes);
  });
  SF_TRY(check_filled(header.entries, data_bytes));
  return header;
}

Result<SafetensorsHeader> read_header(std::span<const std::byte> prefix, std::uint64_t file_bytes) {
  SF_ASSIGN(const std::uint64_t start, safetensors_data_start(prefix, file_bytes));
  if (prefix.size() < start) return wrong("the header is cut short");
  const std::string_view text = base::as_text(prefix.subspan(kSafetensorsLengthBytes, start - kSafetensorsLengthBytes));
  if (!text.starts_with('{')) return wrong("the header does not begin with '{'");
  SF_ASSIGN(const JsonValue value, parse_json(text, kMaxHeaderJsonDepth));
  const auto* root = value.get_if<JsonObject>();
  if (root == nullptr) return wrong("the header is no object");
  SF_ASSIGN(SafetensorsHeader header, read_members(*root, file_bytes - start));
  header.data_start = start;
  return header;
}

}  // namespace

Result<std::string> safetensors_prefix(std::span<const Entry> entries, const SafetensorsMetadata& metadata) {
  std::string header = "{";
  if (!metadata.empty()) SF_TRY(append_metadata(header, metadata));
  for (const Entry& entry : entries) {
    if (entry.name == kMetadataKey) {
      return Status(Code::invalid_argument, "a tensor is named __metadata__, which safetensors keeps for itself");
    }
    if (!is_utf8(entry.name)) {
      return Status(Code::invalid_argument, "a tensor's name is not UTF-8, which safetensors demands");
    }
    if (header.size() > 1) header += ',';
    append_tensor(header, entry);
    if (header.size() > kMaxSafetensorsHeaderBytes) return header_too_large();
  }
  header += '}';
  const std::uint64_t blocks = base::ceil_div(kSafetensorsLengthBytes + header.size(), kSafetensorsAlignment);
  header.resize(blocks * kSafetensorsAlignment - kSafetensorsLengthBytes, ' ');
  if (header.size() > kMaxSafetensorsHeaderBytes) return header_too_large();
  std::array<std::byte, kSafetensorsLengthBytes> length{};
  base::store_le<std::uint64_t>(length, 0, header.size());
  return std::string(base::as_text(length)) + header;
}

Result<std::uint64_t> safetensors_data_start(std::span<const std::byte> length, std::uint64_t file_bytes) {
  if (length.size() < kSafetensorsLengthBytes || file_bytes < kSafetensorsLengthBytes) {
    return wrong("safetensors: the file is shorter than 8 bytes");
  }
  const auto header_bytes = base::load_le<std::uint64_t>(length, 0);
  if (header_bytes > kMaxSafetensorsHeaderBytes || header_bytes > file_bytes - kSafetensorsLengthBytes) {
    return wrong("safetensors: it claims a header of " + std::to_string(header_bytes) + " bytes in a file of " +
                 std::to_string(file_bytes) + "; at most " + std::to_string(kMaxSafetensorsHeaderBytes) +
                 " are allowed");
  }
  return kSafetensorsLengthBytes + header_bytes;
}

Result<SafetensorsHeader> read_safetensors_header(std::span<const std::byte> prefix, std::uint64_t file_bytes) {
  auto header = read_header(prefix, file_bytes);
  return header.ok() ? std::move(header) : header.status().with_context("safetensors header");
}

}  // namespace stillframe::format
