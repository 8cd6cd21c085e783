// The header of a data file that is a plain safetensors file: written so that any tool opens the file, and checked so
// that what other tools read is as sound as what we read.
#pragma once

#include <string>

#include "env/env.hpp"
#include "format/manifest.hpp"

namespace stillframe::store {

// The first bytes of the file, up to the first chunk.
[[nodiscard]] Result<std::string> make_data_header(const std::string& run, std::int64_t step,
                                                   const format::ImageLayout& layout);

// corrupt unless the header describes the entries, run and step that the manifest does; ok for a container, which has
// none.
[[nodiscard]] Status check_data_header(const env::File& data, const std::string& path, const format::ManifestHead& head,
                                       const format::RankManifest& rank);

}  // namespace stillframe::store
