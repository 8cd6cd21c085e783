// The header of a safetensors file. Tried as it is, and as a header whose length and data section fit what it claims.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/bytes.hpp"
#include "format/safetensors.hpp"
#include "harness.hpp"

namespace stillframe::fuzz {
namespace {

constexpr std::size_t kPerInputByte = 256;
constexpr std::size_t kFixedBytes = 64 * 1024;

void check_filled(const format::SafetensorsHeader& header, std::uint64_t file_bytes) {
  std::uint64_t end = 0;
  for (const Entry& entry : header.entries) {
    require(entry.offset == end, "tensors that leave a hole or overlap were taken");
    end += entry.bytes;
  }
  require(header.data_start + end == file_bytes, "tensors that do not fill the file were taken");
}

// Only names and dtypes that we would write: others have another spelling (F8_E4M3) or none.
void check_written_back(const format::SafetensorsHeader& header) {
  const auto prefix = format::safetensors_prefix(header.entries, header.metadata);
  require(prefix.ok(), "a header that was taken cannot be written");
  std::uint64_t bytes = prefix->size();
  for (const Entry& entry : header.entries) bytes += entry.bytes;
  const auto again = format::read_safetensors_header(base::as_bytes(*prefix), bytes);
  require(again.ok(), "a header that was written is refused");
  require(again->entries == header.entries && again->metadata == header.metadata, "a header changes when written");
  require(again->data_start % format::kSafetensorsAlignment == 0, "the data section is not aligned");
}

void read(std::span<const std::byte> prefix, std::uint64_t file_bytes) {
  {
    const MemoryBound bound(prefix.size(), kPerInputByte, kFixedBytes);
    require_words(format::safetensors_data_start(prefix, file_bytes));
    require_words(format::read_safetensors_header(prefix, file_bytes));
  }
  const auto header = format::read_safetensors_header(prefix, file_bytes);
  if (!header.ok()) return;
  check_filled(*header, file_bytes);
  check_written_back(*header);
}

// The end of the last tensor, as the header claims it.
std::uint64_t claimed_bytes(std::string_view header) {
  const auto json = nlohmann::json::parse(header, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return 0;
  std::uint64_t end = 0;
  for (const auto& tensor : json) {
    if (!tensor.is_object() || !tensor.contains("data_offsets") || !tensor["data_offsets"].is_array()) continue;
    for (const auto& offset : tensor["data_offsets"]) {
      if (offset.is_number_unsigned()) end = std::max(end, offset.get<std::uint64_t>());
    }
  }
  return end;
}

void read_repaired(std::string_view header) {
  std::vector<std::byte> prefix(format::kSafetensorsLengthBytes);
  base::store_le<std::uint64_t>(prefix, 0, header.size());
  const auto bytes = base::as_bytes(header);
  prefix.insert(prefix.end(), bytes.begin(), bytes.end());
  read(prefix, prefix.size() + claimed_bytes(header));
}

}  // namespace
}  // namespace stillframe::fuzz

// The input is the header with its eight bytes of length.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stillframe;
  const auto bytes = fuzz::bytes_of(data, size);
  fuzz::read(bytes, size);
  fuzz::read(bytes, 1 << 20);
  if (size >= format::kSafetensorsLengthBytes) {
    fuzz::read_repaired(fuzz::text_of(data, size).substr(format::kSafetensorsLengthBytes));
  }
  return 0;
}
