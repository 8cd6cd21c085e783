#include "interop/tensor_diff.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <limits>
#include <vector>

#include "interop/small_float.hpp"

namespace stillframe::interop {
namespace {

template <typename T>
TensorDifference diff(DType dtype, const std::vector<T>& before, const std::vector<T>& after) {
  TensorDifference total;
  add_difference(dtype, std::as_bytes(std::span(before)), std::as_bytes(std::span(after)), total);
  return total;
}

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(TensorDiff, EqualTensorsHaveNoDifference) {
  const auto same = diff<float>(DType::f32, {1, kNan, kInf, -0.0F}, {1, kNan, kInf, -0.0F});
  EXPECT_EQ(same.elements, 4U);
  EXPECT_EQ(same.changed, 0U);
  EXPECT_EQ(same.left_out, 0U);
  EXPECT_EQ(same.max_difference, 0);
  EXPECT_EQ(same.rms_difference(), 0);
}

TEST(TensorDiff, AnEmptyTensorIsEqual) { EXPECT_EQ(diff<float>(DType::f32, {}, {}).rms_difference(), 0); }

TEST(TensorDiff, ShareMaxAndRmsCountEveryElement) {
  const auto d = diff<float>(DType::f32, {1, 2, 3, 4}, {1, 5, 3, 0});
  EXPECT_EQ(d.changed, 2U);
  EXPECT_EQ(d.max_difference, 4);
  EXPECT_DOUBLE_EQ(d.rms_difference(), std::sqrt((9.0 + 16.0) / 4));
}

TEST(TensorDiff, RangesAddUp) {
  TensorDifference total;
  const std::vector<std::int32_t> before{0, 0, 0}, after{1, 0, -7};
  for (std::size_t i = 0; i < before.size(); ++i) {
    add_difference(DType::i32, std::as_bytes(std::span(before).subspan(i, 1)),
                   std::as_bytes(std::span(after).subspan(i, 1)), total);
  }
  EXPECT_EQ(total.elements, 3U);
  EXPECT_EQ(total.changed, 2U);
  EXPECT_EQ(total.max_difference, 7);
  EXPECT_DOUBLE_EQ(total.rms_difference(), std::sqrt(50.0 / 3));
}

TEST(TensorDiff, ChangedIsByBits) {
  const auto zeros = diff<float>(DType::f32, {0.0F}, {-0.0F});
  EXPECT_EQ(zeros.changed, 1U);
  EXPECT_EQ(zeros.max_difference, 0);
}

TEST(TensorDiff, WhatIsNotFiniteIsLeftOutOfMaxAndRmsAndCounted) {
  const auto d = diff<float>(DType::f32, {1, kNan, kInf, 1, 1}, {kNan, 2, -kInf, kInf, 3});
  EXPECT_EQ(d.changed, 5U);
  EXPECT_EQ(d.left_out, 4U);
  EXPECT_EQ(d.nan_before, 1U);
  EXPECT_EQ(d.nan_after, 1U);
  EXPECT_EQ(d.max_difference, 2);
  EXPECT_DOUBLE_EQ(d.rms_difference(), 2.0);
}

TEST(TensorDiff, NothingButNansHasNoDifferenceThatIsANumber) {
  const auto d = diff<double>(DType::f64, {1.0, 2.0}, {std::nan(""), std::nan("")});
  EXPECT_EQ(d.left_out, 2U);
  EXPECT_EQ(d.max_difference, 0);
  EXPECT_EQ(d.rms_difference(), 0);
}

TEST(TensorDiff, IntegersDoNotOverflow) {
  constexpr auto kLow = std::numeric_limits<std::int64_t>::min();
  constexpr auto kHigh = std::numeric_limits<std::int64_t>::max();
  EXPECT_DOUBLE_EQ(diff<std::int64_t>(DType::i64, {kLow}, {kHigh}).max_difference, 18446744073709551615.0);
  EXPECT_DOUBLE_EQ(diff<std::int64_t>(DType::i64, {kHigh}, {kLow}).rms_difference(), 18446744073709551615.0);
  EXPECT_EQ(diff<std::int8_t>(DType::i8, {-128}, {127}).max_difference, 255);
  EXPECT_EQ(diff<std::int16_t>(DType::i16, {-32768}, {32767}).max_difference, 65535);
  EXPECT_EQ(diff<std::int32_t>(DType::i32, {std::numeric_limits<std::int32_t>::min()},
                               {std::numeric_limits<std::int32_t>::max()})
                .max_difference,
            4294967295.0);
  EXPECT_EQ(diff<std::uint8_t>(DType::u8, {255}, {0}).max_difference, 255);
  EXPECT_EQ(diff<std::uint16_t>(DType::u16, {1}, {3}).max_difference, 2);
  EXPECT_EQ(diff<std::uint32_t>(DType::u32, {0}, {4294967295U}).max_difference, 4294967295.0);
  EXPECT_EQ(diff<std::uint64_t>(DType::u64, {0}, {3}).max_difference, 3);
}

// Neighbours that a double cannot tell apart still differ by one.
TEST(TensorDiff, WideIntegersAreSubtractedExactly) {
  EXPECT_EQ(diff<std::uint64_t>(DType::u64, {(1ULL << 60) + 1}, {1ULL << 60}).max_difference, 1);
}

TEST(TensorDiff, BooleansCountAsZeroAndOne) {
  const auto d = diff<std::uint8_t>(DType::boolean, {0, 1, 1, 0}, {1, 1, 0, 0});
  EXPECT_EQ(d.changed, 2U);
  EXPECT_EQ(d.max_difference, 1);
  EXPECT_DOUBLE_EQ(d.rms_difference(), std::sqrt(0.5));
}

TEST(TensorDiff, DoublesAtTheirLimitsStayNumbers) {
  constexpr double kHigh = std::numeric_limits<double>::max();
  const auto d = diff<double>(DType::f64, {-kHigh, 0}, {kHigh, 1e200});
  EXPECT_EQ(d.left_out, 0U);
  EXPECT_EQ(d.max_difference, kHigh);
  std::vector<double> low(9, -kHigh), mixed(9, -kHigh);
  mixed[4] = kHigh;
  EXPECT_DOUBLE_EQ(diff<double>(DType::f64, low, mixed).rms_difference(), kHigh / 3 * 2);
  EXPECT_DOUBLE_EQ(diff<double>(DType::f64, {0}, {1e200}).rms_difference(), 1e200);
}

TEST(TensorDiff, FloatsAtTheirLimitsAreExact) {
  constexpr float kHigh = std::numeric_limits<float>::max();
  EXPECT_DOUBLE_EQ(diff<float>(DType::f32, {-kHigh}, {kHigh}).max_difference, 2.0 * kHigh);
}

TEST(TensorDiff, AComplexNumberIsOneElement) {
  using C = std::complex<float>;
  const auto d = diff<C>(DType::c64, {C(0, 0), C(1, 1)}, {C(3, 4), C(1, 1)});
  EXPECT_EQ(d.elements, 2U);
  EXPECT_EQ(d.changed, 1U);
  EXPECT_DOUBLE_EQ(d.max_difference, 5);
  EXPECT_DOUBLE_EQ(d.rms_difference(), std::sqrt(12.5));
  const auto half_nan = diff<C>(DType::c64, {C(0, 0)}, {C(1, kNan)});
  EXPECT_EQ(half_nan.nan_after, 1U);
  EXPECT_EQ(half_nan.left_out, 1U);
  using Z = std::complex<double>;
  EXPECT_DOUBLE_EQ(diff<Z>(DType::c128, {Z(1, 0)}, {Z(0, 0)}).max_difference, 1);
}

TEST(TensorDiff, Bfloat16HasTheRangeOfFloat) {
  const auto d = diff<std::uint16_t>(DType::bf16, {0x3f80, 0x3f80, 0x7f80}, {0xbf80, 0x7fc0, 0x7f80});  // 1->-1, 1->NaN
  EXPECT_EQ(d.changed, 2U);
  EXPECT_EQ(d.max_difference, 2);
  EXPECT_EQ(d.nan_after, 1U);
  EXPECT_DOUBLE_EQ(d.rms_difference(), std::sqrt(2.0));
}

TEST(TensorDiff, HalfHasItsSubnormals) {
  EXPECT_DOUBLE_EQ(diff<std::uint16_t>(DType::f16, {0x0000}, {0x0001}).max_difference, std::ldexp(1.0, -24));
  EXPECT_EQ(diff<std::uint16_t>(DType::f16, {0xfbff}, {0x7bff}).max_difference, 2 * 65504.0);
  EXPECT_EQ(diff<std::uint16_t>(DType::f16, {0x7c00}, {0x7e00}).nan_after, 1U);
}

// Values of the definitions: OCP 8-bit floating point (E5M2, E4M3), the "fnuz" variants, and the scale type E8M0.
TEST(SmallFloat, PatternsStandForTheirValues) {
  const auto value = [](DType dtype, std::size_t bits) { return small_float_values(dtype)[bits]; };
  EXPECT_EQ(value(DType::f8_e4m3fn, 0x7e), 448.0F);
  EXPECT_TRUE(std::isnan(value(DType::f8_e4m3fn, 0x7f)));
  EXPECT_TRUE(std::isnan(value(DType::f8_e4m3fn, 0xff)));
  EXPECT_EQ(value(DType::f8_e4m3fn, 0x01), std::ldexp(1.0F, -9));
  EXPECT_EQ(value(DType::f8_e4m3fn, 0xb8), -1.0F);
  EXPECT_EQ(value(DType::f8_e5m2, 0x7b), 57344.0F);
  EXPECT_EQ(value(DType::f8_e5m2, 0xfc), -kInf);
  EXPECT_TRUE(std::isnan(value(DType::f8_e5m2, 0x7d)));
  EXPECT_EQ(value(DType::f8_e4m3fnuz, 0x7f), 240.0F);
  EXPECT_TRUE(std::isnan(value(DType::f8_e4m3fnuz, 0x80)));
  EXPECT_EQ(value(DType::f8_e4m3fnuz, 0x01), std::ldexp(1.0F, -10));
  EXPECT_EQ(value(DType::f8_e5m2fnuz, 0x7f), 57344.0F);
  EXPECT_TRUE(std::isnan(value(DType::f8_e5m2fnuz, 0x80)));
  EXPECT_EQ(value(DType::f8_e5m2fnuz, 0x01), std::ldexp(1.0F, -17));
  EXPECT_EQ(value(DType::f8_e8m0, 127), 1.0F);
  EXPECT_EQ(value(DType::f8_e8m0, 0), std::ldexp(1.0F, -127));
  EXPECT_TRUE(std::isnan(value(DType::f8_e8m0, 255)));
  EXPECT_EQ(value(DType::f16, 0x3c01), 1.0F + std::ldexp(1.0F, -10));
  EXPECT_TRUE(small_float_values(DType::f32).empty());
}

TEST(TensorDiff, EightBitFloatsAreCompared) {
  EXPECT_EQ(diff<std::uint8_t>(DType::f8_e4m3fn, {0x38}, {0xb8}).max_difference, 2);
  EXPECT_EQ(diff<std::uint8_t>(DType::f8_e5m2, {0x3c}, {0x7c}).left_out, 1U);
  EXPECT_EQ(diff<std::uint8_t>(DType::f8_e4m3fnuz, {0x00}, {0x80}).nan_after, 1U);
  EXPECT_EQ(diff<std::uint8_t>(DType::f8_e5m2fnuz, {0x40}, {0x44}).max_difference, 1);
  EXPECT_EQ(diff<std::uint8_t>(DType::f8_e8m0, {127}, {129}).max_difference, 3);
}

}  // namespace
}  // namespace stillframe::interop
