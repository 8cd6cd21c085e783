#include "interop/tensor_diff.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <complex>
#include <cstring>
#include <limits>

#include "interop/small_float.hpp"

namespace stillframe::interop {
namespace {

// Differences of the widest types overflow a double, and so do squares of theirs.
static_assert(std::numeric_limits<long double>::max_exponent > 2 * std::numeric_limits<double>::max_exponent);

template <typename Number>
bool is_nan(const Number& value) {
  if constexpr (std::is_integral_v<Number>) return false;
  if constexpr (std::is_floating_point_v<Number>) return std::isnan(value);
  if constexpr (!std::is_arithmetic_v<Number>) return std::isnan(value.real()) || std::isnan(value.imag());
}

template <typename Number>
bool is_finite(const Number& value) {
  if constexpr (std::is_integral_v<Number>) return true;
  if constexpr (std::is_floating_point_v<Number>) return std::isfinite(value);
  if constexpr (!std::is_arithmetic_v<Number>) return std::isfinite(value.real()) && std::isfinite(value.imag());
}

// Exact, or the nearest of the result type.
template <typename Number>
auto distance(const Number& a, const Number& b) {
  if constexpr (std::is_integral_v<Number>) {
    using Unsigned = std::make_unsigned_t<Number>;
    const auto low = static_cast<Unsigned>(std::min(a, b));
    const auto high = static_cast<Unsigned>(std::max(a, b));
    return static_cast<double>(static_cast<Unsigned>(high - low));
  } else if constexpr (std::is_same_v<Number, float>) {
    return std::abs(static_cast<double>(b) - static_cast<double>(a));
  } else if constexpr (std::is_same_v<Number, double>) {
    return std::abs(static_cast<long double>(b) - static_cast<long double>(a));
  } else if constexpr (std::is_same_v<Number, std::complex<float>>) {
    return std::abs(std::complex<double>(b) - std::complex<double>(a));
  } else {
    return std::abs(std::complex<long double>(b) - std::complex<long double>(a));
  }
}

double to_double(long double value) {
  return static_cast<double>(std::min(value, static_cast<long double>(std::numeric_limits<double>::max())));
}

// `Stored` is what lies in memory; `value_of` makes a number of it.
template <typename Stored, typename ValueOf>
void add(std::span<const std::byte> before, std::span<const std::byte> after, TensorDifference& total,
         ValueOf value_of) {
  using Number = decltype(value_of(Stored{}));
  using Wide = decltype(distance(Number{}, Number{}));
  Wide largest = 0;
  Wide squares = 0;
  const std::size_t count = before.size() / sizeof(Stored);
  for (std::size_t i = 0; i < count; ++i) {
    const std::byte* const a = before.data() + i * sizeof(Stored);
    const std::byte* const b = after.data() + i * sizeof(Stored);
    if (std::memcmp(a, b, sizeof(Stored)) == 0) continue;
    Stored stored_a, stored_b;
    std::memcpy(&stored_a, a, sizeof stored_a);
    std::memcpy(&stored_b, b, sizeof stored_b);
    const Number x = value_of(stored_a);
    const Number y = value_of(stored_b);
    ++total.changed;
    if (is_finite(x) && is_finite(y)) {
      const Wide apart = distance(x, y);
      largest = std::max(largest, apart);
      squares += apart * apart;
    } else {
      ++total.left_out;
      total.nan_before += is_nan(x) ? 1U : 0U;
      total.nan_after += is_nan(y) ? 1U : 0U;
    }
  }
  total.elements += count;
  total.max_difference = std::max(total.max_difference, to_double(largest));
  total.squares += squares;
}

template <typename Number>
void add_as_stored(std::span<const std::byte> before, std::span<const std::byte> after, TensorDifference& total) {
  add<Number>(before, after, total, [](const Number& value) { return value; });
}

template <typename Stored>
void add_from_table(DType dtype, std::span<const std::byte> before, std::span<const std::byte> after,
                    TensorDifference& total) {
  const std::span<const float> values = small_float_values(dtype);
  add<Stored>(before, after, total, [values](Stored bits) { return values[bits]; });
}

}  // namespace

double TensorDifference::rms_difference() const noexcept {
  const std::uint64_t counted = elements - left_out;
  return counted == 0 ? 0.0 : to_double(std::sqrt(squares / static_cast<long double>(counted)));
}

void add_difference(DType dtype, std::span<const std::byte> before, std::span<const std::byte> after,
                    TensorDifference& total) {
  switch (dtype) {
    case DType::boolean:
      return add<std::uint8_t>(before, after, total, [](std::uint8_t v) { return std::uint8_t{v != 0}; });
    case DType::u8:
      return add_as_stored<std::uint8_t>(before, after, total);
    case DType::i8:
      return add_as_stored<std::int8_t>(before, after, total);
    case DType::f8_e5m2:
    case DType::f8_e4m3fn:
    case DType::f8_e8m0:
    case DType::f8_e4m3fnuz:
    case DType::f8_e5m2fnuz:
      return add_from_table<std::uint8_t>(dtype, before, after, total);
    case DType::i16:
      return add_as_stored<std::int16_t>(before, after, total);
    case DType::u16:
      return add_as_stored<std::uint16_t>(before, after, total);
    case DType::f16:
      return add_from_table<std::uint16_t>(dtype, before, after, total);
    case DType::bf16:
      return add<std::uint16_t>(before, after, total, [](std::uint16_t bits) {
        return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
      });
    case DType::i32:
      return add_as_stored<std::int32_t>(before, after, total);
    case DType::u32:
      return add_as_stored<std::uint32_t>(before, after, total);
    case DType::f32:
      return add_as_stored<float>(before, after, total);
    case DType::c64:
      return add_as_stored<std::complex<float>>(before, after, total);
    case DType::f64:
      return add_as_stored<double>(before, after, total);
    case DType::i64:
      return add_as_stored<std::int64_t>(before, after, total);
    case DType::u64:
      return add_as_stored<std::uint64_t>(before, after, total);
    case DType::c128:
      return add_as_stored<std::complex<double>>(before, after, total);
  }
}

}  // namespace stillframe::interop
