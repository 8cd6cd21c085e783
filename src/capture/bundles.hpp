// Small pieces of a chunk that stand side by side and live on one GPU: gathered there first, they travel to the host as
// one copy. Which ones those are is decided once, with the plan.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "stillframe/types.hpp"

namespace stillframe::capture {

// A run of bytes to copy: `bytes` from `offset` of source `source` to `chunk_offset` of the chunk.
struct Piece {
  std::size_t source = 0;
  std::uint64_t offset = 0;
  std::uint32_t chunk_offset = 0;
  std::uint32_t bytes = 0;
};

struct Bundle {
  std::int32_t device = 0;
  std::uint32_t chunk_offset = 0;  // of the bytes that its pieces fill without a hole
  std::uint32_t bytes = 0;
  std::size_t first_piece = 0;  // among the chunk's
  std::size_t pieces = 0;
  std::size_t first_listed = 0;  // among all the bundled pieces of the device
};

// A kernel and a copy take the place of so many copies at least, ...
inline constexpr std::size_t kFewestBundled = 8;
// ... none of them large enough to fill the link to the host by itself.
inline constexpr std::uint32_t kLargestBundledBytes = 32 * 1024;

// Of one chunk whose pieces stand in the order of their offsets; `device` is by source. first_listed is counted on from
// `listed`, by device.
[[nodiscard]] std::vector<Bundle> bundles_of(std::span<const Piece> pieces, std::span<const std::int32_t> device,
                                             std::map<std::int32_t, std::size_t>& listed);

}  // namespace stillframe::capture
