// Safetensors files: the header from an image's entries (pure), and a checkpoint's image streamed behind it. The data
// section is the image verbatim, so every reader of safetensors sees the tensors bit for bit.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>

#include "env/env.hpp"
#include "stillframe/status.hpp"
#include "stillframe/types.hpp"
#include "store/reader.hpp"

namespace stillframe::interop {

// The data section starts at a multiple of this, for direct I/O and mappings.
inline constexpr std::uint64_t kSafetensorsAlignment = 4096;
// What readers of the format accept: a decimal figure, not MiB.
inline constexpr std::uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;

using SafetensorsMetadata = std::map<std::string, std::string>;

// The first bytes of the file, up to the data section: the header's length (8 bytes, little-endian), the header (JSON,
// in the order of the entries), and spaces up to kSafetensorsAlignment. A dtype that safetensors lacks (C128) becomes
// U8 with a last dimension of the element's bytes. invalid_argument when a name is not UTF-8 or is "__metadata__";
// unsupported when the header would be larger than readers accept.
[[nodiscard]] Result<std::string> safetensors_prefix(std::span<const Entry> entries,
                                                     const SafetensorsMetadata& metadata);

// Writes header and image of one rank into the empty `file`, chunk by chunk, every checksum checked, then syncs it;
// returns the bytes of the file. On an error (corrupt names file, tensors and chunk) the file's content is worthless.
// `progress` (may be empty) is called with the raw bytes written so far.
[[nodiscard]] Result<std::uint64_t> write_safetensors(const store::CheckpointReader& reader, std::size_t rank_index,
                                                      const SafetensorsMetadata& metadata, env::File& file,
                                                      const std::function<void(std::uint64_t)>& progress);

}  // namespace stillframe::interop
