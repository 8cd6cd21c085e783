// Image layout: where each entry of a snapshot stands in the one linear byte string. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "stillframe/status.hpp"
#include "stillframe/types.hpp"

namespace stillframe::format {

struct ImageLayout {
  std::vector<Entry> entries;  // by offset; no holes, no overlaps
  std::uint64_t bytes = 0;

  [[nodiscard]] std::uint64_t chunk_count() const noexcept { return (bytes + kChunkBytes - 1) / kChunkBytes; }
  // The last chunk may be short.
  [[nodiscard]] std::uint32_t chunk_length(std::uint64_t chunk) const noexcept;
};

// product(shape) * width; nullopt when the extents do not fit 64 bits, also where another extent is 0.
[[nodiscard]] std::optional<std::uint64_t> entry_bytes(const Entry& entry) noexcept;

// Orders entries by descending element width, then as given, and sets offset and bytes (those given are ignored).
// So every element is aligned to its width and none crosses a chunk border. invalid_argument on a duplicate or
// oversized name, a shape that overflows, or a limit of types.hpp.
[[nodiscard]] Result<ImageLayout> lay_out(std::vector<Entry> entries);

// Accepts exactly what lay_out() could have made (offsets, sizes, order, limits); else corrupt with the entry's name.
[[nodiscard]] Result<ImageLayout> check_layout(std::vector<Entry> entries, std::uint64_t image_bytes);

// Index into `entries` of the first entry with bytes in the chunk, and one past the last.
struct EntryRange { std::size_t first = 0; std::size_t last = 0; };
[[nodiscard]] EntryRange entries_of_chunk(const ImageLayout& layout, std::uint64_t chunk) noexcept;

// Element widths along the chunk, merged where neighbours agree: what the codec needs.
[[nodiscard]] std::vector<ElementRun> element_runs(const ImageLayout& layout, std::uint64_t chunk);

}  // namespace stillframe::format
