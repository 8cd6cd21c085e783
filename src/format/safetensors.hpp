// The header of a safetensors file, written and read. The data section is the image verbatim, so every reader of
// safetensors sees the tensors bit for bit. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "stillframe/status.hpp"
#include "stillframe/types.hpp"

namespace stillframe::format {

// The data section starts at a multiple of this, for direct I/O and mappings.
inline constexpr std::uint64_t kSafetensorsAlignment = 4096;
// What readers of the format accept: a decimal figure, not MiB.
inline constexpr std::uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;
// The header's length in front of it.
inline constexpr std::uint64_t kSafetensorsLengthBytes = 8;
inline constexpr std::uint64_t kMaxSafetensorsStart = kSafetensorsLengthBytes + kMaxSafetensorsHeaderBytes;

using SafetensorsMetadata = std::map<std::string, std::string>;

// The first bytes of the file, up to the data section: the header's length (8 bytes, little-endian), the header (JSON,
// in the order of the entries), and spaces up to kSafetensorsAlignment. A dtype that safetensors lacks (C128) becomes
// U8 with a last dimension of the element's bytes. invalid_argument when a name is not UTF-8 or is "__metadata__";
// unsupported when the header would be larger than readers accept.
[[nodiscard]] Result<std::string> safetensors_prefix(std::span<const Entry> entries,
                                                     const SafetensorsMetadata& metadata);

struct SafetensorsHeader {
  std::vector<Entry> entries;  // by offset in the data section; without holes or overlaps
  SafetensorsMetadata metadata;
  std::uint64_t data_start = 0;  // the data section reaches from here to the end of the file
};

// Where the data section starts, from the first 8 bytes of a file of `file_bytes`: as many bytes are to be read for
// read_safetensors_header(). corrupt when that is outside the file or beyond what readers accept.
[[nodiscard]] Result<std::uint64_t> safetensors_data_start(std::span<const std::byte> length, std::uint64_t file_bytes);
// `prefix`: the file's first bytes, at least up to the data section. The bytes may be hostile: corrupt unless every
// tensor has a known dtype, a shape that fits its bytes, and all of them fill the data section; unsupported for a dtype
// that this build does not know. What it allocates is of the order of `prefix`.
[[nodiscard]] Result<SafetensorsHeader> read_safetensors_header(std::span<const std::byte> prefix,
                                                                std::uint64_t file_bytes);

}  // namespace stillframe::format
