// Byte planes: plane p of elements of `width` bytes is byte p of every element, in order. Loops simple enough for the
// compiler to vectorise. Private to this folder. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace stillframe::codec {

inline constexpr std::size_t kMaxWidth = 16;

[[nodiscard]] constexpr bool is_element_width(std::size_t width) noexcept {
  return width == 1 || width == 2 || width == 4 || width == 8 || width == 16;
}

// Copies one plane out of `elements`, which hold plane.size() elements of `width` bytes.
void extract_plane(std::span<const std::byte> elements, std::size_t width, std::size_t plane_index,
                   std::span<std::byte> plane) noexcept;

// The inverse for all planes at once: `planes[0 … width)` hold elements.size() / width bytes each.
void merge_planes(const std::byte* const* planes, std::size_t width, std::span<std::byte> elements) noexcept;

}  // namespace stillframe::codec
