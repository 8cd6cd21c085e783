// Cutting elements into byte planes and joining them again, in the versions that processors have. All give the same
// bytes; tests compare them. Private to this folder. Pure.
#pragma once

#include <cstddef>
#include <span>

namespace stillframe::codec {

// Plane p gets byte p of each of `count` elements; with `rotate`, of the element rotated left by one bit. Planes have
// `count` bytes each and overlap nothing. `rotate` only for elements of 2, 4 and 8 bytes.
using SplitPlanes = void (*)(const std::byte* elements, std::size_t count, bool rotate,
                             std::byte* const* planes) noexcept;
// The inverse.
using MergePlanes = void (*)(const std::byte* const* planes, std::size_t count, bool rotate,
                             std::byte* elements) noexcept;

inline constexpr std::size_t kWidths = 5;  // 1, 2, 4, 8 and 16 bytes

struct PlaneKernels {
  const char* name;
  SplitPlanes split[kWidths];
  MergePlanes merge[kWidths];
};

[[nodiscard]] constexpr std::size_t width_index(std::size_t width) noexcept {
  return width == 1 ? 0 : width == 2 ? 1 : width == 4 ? 2 : width == 8 ? 3 : 4;
}
[[nodiscard]] constexpr bool can_rotate(std::size_t width) noexcept { return width == 2 || width == 4 || width == 8; }

// In C++ alone; runs everywhere.
[[nodiscard]] const PlaneKernels& plain_kernels() noexcept;
// Null on a processor, or in a build, without it.
[[nodiscard]] const PlaneKernels* avx2_kernels() noexcept;
[[nodiscard]] const PlaneKernels* avx512_kernels() noexcept;
// The fastest that this processor has.
[[nodiscard]] const PlaneKernels& best_kernels() noexcept;

}  // namespace stillframe::codec
