#include "interop/safetensors.hpp"

#include <array>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/bytes.hpp"

namespace stillframe::interop {
namespace {

using nlohmann::json;

constexpr std::size_t kLengthBytes = 8;
constexpr std::string_view kMetadataKey = "__metadata__";

// nullopt: safetensors has no such dtype.
std::optional<std::string_view> safetensors_dtype(DType dtype) {
  switch (dtype) {
    case DType::f8_e4m3fn:
      return "F8_E4M3";
    case DType::c128:
      return std::nullopt;
    default:
      return dtype_name(dtype);
  }
}

json describe(const Entry& entry) {
  json shape = entry.shape;
  const auto dtype = safetensors_dtype(entry.dtype);
  if (!dtype) shape.push_back(dtype_bytes(entry.dtype));
  return {{"dtype", dtype.value_or("U8")},
          {"shape", std::move(shape)},
          {"data_offsets", {entry.offset, entry.offset + entry.bytes}}};
}

// nullopt when `text` is not UTF-8.
std::optional<std::string> quoted(const std::string& text) {
  try {
    return json(text).dump();
  } catch (const json::type_error&) {
    return std::nullopt;
  }
}

Status append_member(std::string& header, const std::string& name, const std::string& value) {
  const auto key = quoted(name);
  if (!key) return {Code::invalid_argument, "a tensor's name is not UTF-8, which safetensors demands"};
  if (header.size() > 1) header += ',';
  header += *key + ":" + value;
  if (header.size() <= kMaxSafetensorsHeaderBytes) return {};
  return {Code::unsupported, "the header of the safetensors file would be larger than the " +
                                 std::to_string(kMaxSafetensorsHeaderBytes) +
                                 " bytes that readers accept: there are too many tensors for one file"};
}

Result<std::string> metadata_value(const SafetensorsMetadata& metadata) {
  try {
    return json(metadata).dump();
  } catch (const json::type_error&) {
    return Status(Code::invalid_argument, "the metadata of the safetensors file is not UTF-8");
  }
}

}  // namespace

Result<std::string> safetensors_prefix(std::span<const Entry> entries, const SafetensorsMetadata& metadata) {
  std::string header = "{";
  if (!metadata.empty()) {
    SF_ASSIGN(const std::string value, metadata_value(metadata));
    SF_TRY(append_member(header, std::string(kMetadataKey), value));
  }
  for (const Entry& entry : entries) {
    if (entry.name == kMetadataKey) {
      return Status(Code::invalid_argument, "a tensor is named __metadata__, which safetensors keeps for itself");
    }
    SF_TRY(append_member(header, entry.name, describe(entry).dump()));
  }
  header += '}';
  const std::uint64_t end = base::ceil_div(kLengthBytes + header.size(), kSafetensorsAlignment) * kSafetensorsAlignment;
  header.resize(end - kLengthBytes, ' ');
  if (header.size() > kMaxSafetensorsHeaderBytes) {
    return Status(Code::unsupported, "the header of the safetensors file would be larger than readers accept");
  }
  std::array<std::byte, kLengthBytes> length{};
  base::store_le<std::uint64_t>(length, 0, header.size());
  return std::string(base::as_text(length)) + header;
}

Result<std::uint64_t> write_safetensors(const store::CheckpointReader& reader, std::size_t rank_index,
                                        const SafetensorsMetadata& metadata, env::File& file,
                                        const std::function<void(std::uint64_t)>& progress) {
  const format::ImageLayout& layout = reader.manifest().ranks[rank_index].layout;
  SF_ASSIGN(const std::string prefix, safetensors_prefix(layout.entries, metadata));
  SF_TRY(file.write_at(0, base::as_bytes(prefix)));
  std::vector<std::byte> raw(kChunkBytes);
  std::vector<std::byte> scratch;
  std::uint64_t written = 0;
  for (std::uint64_t chunk = 0; chunk < layout.chunk_count(); ++chunk) {
    const auto part = std::span(raw).first(layout.chunk_length(chunk));
    SF_TRY(reader.read_chunk(rank_index, chunk, part, scratch));
    SF_TRY(file.write_at(prefix.size() + written, part));
    written += part.size();
    if (progress) progress(written);
  }
  SF_TRY(file.sync());
  return prefix.size() + written;
}

}  // namespace stillframe::interop
