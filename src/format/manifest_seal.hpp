// What encoding and decoding a manifest share. Private to this folder. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "format/tree_check.hpp"

namespace stillframe::format {

inline constexpr std::string_view kFormatName = "stillframe";
inline constexpr std::uint32_t kMaxWorldSize = 1'000'000;
inline constexpr std::size_t kMaxLabelBytes = 256;  // group, writer
// The manifest, its ranks, a rank, its tree.
inline constexpr std::size_t kMaxManifestJsonDepth = 3 + kMaxTreeJsonDepth;

inline constexpr std::uint64_t kTableBlockBytes = 64;

// "\n \"seal\": {…}\n}\n", the end of a manifest whose bytes before it are `covered`. Always kSealBytes long.
[[nodiscard]] std::string seal_of(std::string_view covered);
inline constexpr std::size_t kSealBytes = 80;

[[nodiscard]] std::string crc32_hex(std::uint32_t crc);

}  // namespace stillframe::format
