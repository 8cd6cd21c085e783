// How far two tensors of one dtype and shape are apart, element by element. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "stillframe/types.hpp"

namespace stillframe::interop {

// An element is changed when its bits are: -0.0 is not 0.0, and two NaNs may differ. A complex number is one element,
// and its difference the distance in the plane. BOOL counts as 0 and 1.
struct TensorDifference {
  std::uint64_t elements = 0;
  std::uint64_t changed = 0;
  // Changed ones that are NaN or infinite on either side: they have no difference that could be averaged, and stand in
  // neither of the two figures below.
  std::uint64_t left_out = 0;
  std::uint64_t nan_before = 0;  // changed ones that are NaN (in either part) in the first tensor
  std::uint64_t nan_after = 0;   // the same, in the second
  double max_difference = 0;     // of absolute value; at most the largest double
  long double squares = 0;

  // Over all elements but those left out; an element that did not change counts with 0.
  [[nodiscard]] double rms_difference() const noexcept;
};

// Takes the elements of two ranges of one length, a multiple of the dtype's width, into `total`.
void add_difference(DType dtype, std::span<const std::byte> before, std::span<const std::byte> after,
                    TensorDifference& total);

}  // namespace stillframe::interop
