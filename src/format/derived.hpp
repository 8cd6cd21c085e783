// Derived chunks: the stored bytes are pieces that say which other part of the image to copy or convert; docs/format.md.
// Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "stillframe/status.hpp"

namespace stillframe::format {

struct ChunkTable;

// Ids stand in files and never change meaning. Roundings are to nearest, ties to even; every NaN becomes the one named.
enum class DerivedRule : std::uint8_t {
  copy = 0,
  bf16_of_f32 = 1,  // NaN: 0x7FC0
  f16_of_f32 = 2,   // NaN: 0x7E00
};

struct DerivedPiece {
  std::uint64_t source_offset = 0;  // in this rank's image
  std::uint32_t raw_bytes = 0;      // that the piece makes
  DerivedRule rule = DerivedRule::copy;
  friend bool operator==(const DerivedPiece&, const DerivedPiece&) = default;
};

inline constexpr std::size_t kPieceBytes = 16;

[[nodiscard]] std::vector<std::byte> encode_derived(std::span<const DerivedPiece> pieces);
// corrupt unless the pieces add up to `raw_bytes` and every source lies inside an image of `image_bytes`; unsupported
// for an unknown rule. The result is of the order of `stored`.
[[nodiscard]] Result<std::vector<DerivedPiece>> decode_derived(std::span<const std::byte> stored,
                                                               std::uint64_t raw_bytes, std::uint64_t image_bytes);
// corrupt unless every source of the pieces lies in chunks of the table that are not derived themselves.
[[nodiscard]] Status check_sources(std::span<const DerivedPiece> pieces, const ChunkTable& table);

// Bytes of the image that the piece reads.
[[nodiscard]] std::uint64_t derived_source_bytes(const DerivedPiece& piece) noexcept;
// Little-endian elements, one after another. invalid_argument unless `source` is what the rule needs for `out`.
[[nodiscard]] Status apply_rule(DerivedRule rule, std::span<const std::byte> source, std::span<std::byte> out);

}  // namespace stillframe::format
