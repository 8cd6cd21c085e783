// The byte-plane codec; docs/format.md, "Encoded chunk". Private to this folder. Pure.
#pragma once

#include <cstddef>
#include <span>

#include "stillframe/status.hpp"
#include "stillframe/types.hpp"

namespace stillframe::codec {

// A result of at least this share of the raw bytes is not worth its decoding.
inline constexpr std::size_t kWorthwhilePercent = 97;

// Bytes written to `out`, or 0 when the result would not be worthwhile. `runs` fit `raw`; `out` has encoded_bound()
// bytes, of which those after the result are used as scratch.
[[nodiscard]] std::size_t encode_planes(std::span<const std::byte> raw, std::span<const ElementRun> runs,
                                        std::span<std::byte> out);

[[nodiscard]] Status decode_planes(std::span<const std::byte> stored, std::span<std::byte> raw);

}  // namespace stillframe::codec
