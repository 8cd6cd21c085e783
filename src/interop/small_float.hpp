// The values of floating-point numbers of 8 and 16 bits that C++ has no type for. Pure.
#pragma once

#include <span>

#include "stillframe/types.hpp"

namespace stillframe::interop {

// The value of every bit pattern, by the pattern as an unsigned number: 256 or 65536 of them; empty for a dtype that is
// no float of 8 bits and not F16. Every value fits a float exactly. Made at the first call and kept for the process.
[[nodiscard]] std::span<const float> small_float_values(DType dtype);

}  // namespace stillframe::interop
