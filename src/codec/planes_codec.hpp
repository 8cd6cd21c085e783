// Codec `planes`; docs/format-v2.md gives the bytes. Private to this folder. Pure.
#pragma once

#include <cstddef>
#include <span>

#include "codec/codec.hpp"
#include "codec/context.hpp"

namespace stillframe::codec {

// Bytes written to `out`, or 0 when the result would not be worthwhile. `runs` fit `raw`; `out` has encoded_bound()
// bytes. `level` is fast or standard.
[[nodiscard]] std::size_t encode_by_plan(Level level, std::span<const std::byte> raw, std::span<const ElementRun> runs,
                                         std::span<std::byte> out, Decisions& decisions, Context& context);

[[nodiscard]] Status decode_by_plan(std::span<const std::byte> stored, std::span<std::byte> raw, Context& context);

// Where things stand in the stored bytes.
inline constexpr std::size_t kPlanRunCountBytes = 2;
inline constexpr std::size_t kPlanRunBytes = 6;    // u32 raw bytes, u8 element width, u8 rotated
inline constexpr std::size_t kPlanPlaneBytes = 5;  // u8 method, u32 stored bytes
[[nodiscard]] constexpr std::size_t plan_header_bytes(std::size_t width) noexcept {
  return kPlanRunBytes + kPlanPlaneBytes * width;
}

}  // namespace stillframe::codec
