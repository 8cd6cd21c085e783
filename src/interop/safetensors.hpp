// A checkpoint's image as a safetensors file: header (format/safetensors.hpp), then the image streamed behind it.
#pragma once

#include <cstdint>
#include <functional>

#include "env/env.hpp"
#include "format/safetensors.hpp"
#include "stillframe/status.hpp"
#include "store/reader.hpp"

namespace stillframe::interop {

// Writes header and image of one rank into the empty `file`, chunk by chunk, every checksum checked, then syncs it;
// returns the bytes of the file. On an error (corrupt names file, tensors and chunk) the file's content is worthless.
// `progress` (may be empty) is called with the raw bytes written so far.
[[nodiscard]] Result<std::uint64_t> write_safetensors(const store::CheckpointReader& reader, std::size_t rank_index,
                                                      const format::SafetensorsMetadata& metadata, env::File& file,
                                                      const std::function<void(std::uint64_t)>& progress);

}  // namespace stillframe::interop
