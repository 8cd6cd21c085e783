#include "interop/small_float.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace stillframe::interop {
namespace {

// What the patterns stand for that would be the largest numbers, or the negative zero.
enum class Specials : std::uint8_t {
  ieee,      // exponent all ones: infinity (mantissa zero) or NaN
  nan_only,  // "fn": all ones is NaN, there is no infinity
  one_nan,   // "fnuz": the negative zero's pattern is the only NaN, there is no infinity
};

struct Layout {
  int exponent_bits;
  int mantissa_bits;
  int bias;
  Specials specials;
};

float value_of(std::uint32_t bits, const Layout& layout) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const std::uint32_t mantissa_mask = (1U << layout.mantissa_bits) - 1;
  const std::uint32_t exponent_mask = (1U << layout.exponent_bits) - 1;
  const std::uint32_t mantissa = bits & mantissa_mask;
  const std::uint32_t exponent = (bits >> layout.mantissa_bits) & exponent_mask;
  const bool negative = (bits >> (layout.mantissa_bits + layout.exponent_bits)) != 0;
  if (layout.specials == Specials::one_nan && negative && exponent == 0 && mantissa == 0) return kNan;
  if (layout.specials == Specials::nan_only && exponent == exponent_mask && mantissa == mantissa_mask) return kNan;
  float size = 0;
  if (layout.specials == Specials::ieee && exponent == exponent_mask) {
    size = mantissa == 0 ? std::numeric_limits<float>::infinity() : kNan;
  } else {
    const std::uint32_t whole = exponent == 0 ? mantissa : mantissa | (mantissa_mask + 1);
    size = std::ldexp(static_cast<float>(whole),
                      static_cast<int>(exponent == 0 ? 1 : exponent) - layout.bias - layout.mantissa_bits);
  }
  return negative ? -size : size;
}

std::vector<float> values_of(const Layout& layout) {
  std::vector<float> values(std::size_t{1} << (1 + layout.exponent_bits + layout.mantissa_bits));
  for (std::uint32_t bits = 0; bits < values.size(); ++bits) values[bits] = value_of(bits, layout);
  return values;
}

// E8M0: powers of two from 2^-127 on, no sign, no zero; the last pattern is NaN.
std::vector<float> powers_of_two() {
  std::vector<float> values(256);
  for (int bits = 0; bits < 255; ++bits) values[static_cast<std::size_t>(bits)] = std::ldexp(1.0F, bits - 127);
  values[255] = std::numeric_limits<float>::quiet_NaN();
  return values;
}

}  // namespace

std::span<const float> small_float_values(DType dtype) {
  switch (dtype) {
    case DType::f16: {
      static const std::vector<float> values = values_of({5, 10, 15, Specials::ieee});
      return values;
    }
    case DType::f8_e5m2: {
      static const std::vector<float> values = values_of({5, 2, 15, Specials::ieee});
      return values;
    }
    case DType::f8_e4m3fn: {
      static const std::vector<float> values = values_of({4, 3, 7, Specials::nan_only});
      return values;
    }
    case DType::f8_e4m3fnuz: {
      static const std::vector<float> values = values_of({4, 3, 8, Specials::one_nan});
      return values;
    }
    case DType::f8_e5m2fnuz: {
      static const std::vector<float> values = values_of({5, 2, 16, Specials::one_nan});
      return values;
    }
    case DType::f8_e8m0: {
      static const std::vector<float> values = powers_of_two();
      return values;
    }
    default:
      return {};
  }
}

}  // namespace stillframe::interop
