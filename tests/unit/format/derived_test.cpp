#include "format/derived.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/bytes.hpp"
#include "format/table.hpp"
#include "stillframe/types.hpp"

namespace stillframe::format {
namespace {

std::uint32_t bits_of(float value) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
float float_of(std::uint32_t bits) {
  float value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

std::uint16_t narrowed(DerivedRule rule, std::uint32_t f32) {
  std::array<std::byte, 4> source{};
  std::array<std::byte, 2> out{};
  base::store_le<std::uint32_t>(source, 0, f32);
  EXPECT_TRUE(apply_rule(rule, source, out).ok());
  return base::load_le<std::uint16_t>(out, 0);
}

// The nearest value with `mantissa_bits` and exponents from `lowest` to `highest`, ties to even, worked out in doubles:
// independent of the bit tricks under test.
double nearest(double value, int mantissa_bits, int lowest, int highest) {
  if (value == 0 || std::isinf(value)) return value;
  const int exponent = std::max(std::ilogb(value), lowest);
  const double unit = std::ldexp(1.0, exponent - mantissa_bits);
  const double rounded = std::nearbyint(value / unit) * unit;
  const bool beyond = std::fabs(rounded) >= std::ldexp(1.0, highest + 1);
  return beyond ? std::copysign(std::numeric_limits<double>::infinity(), value) : rounded;
}

double value_of_f16(std::uint16_t bits) {
  const int exponent = (bits >> 10U) & 31U;
  const int mantissa = bits & 1023U;
  const double sign = (bits & 0x8000U) != 0 ? -1.0 : 1.0;
  if (exponent == 31) return sign * (mantissa == 0 ? std::numeric_limits<double>::infinity() : std::nan(""));
  return sign * (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
}
double value_of_bf16(std::uint16_t bits) { return float_of(std::uint32_t{bits} << 16U); }

// Every exponent, with mantissas at, before and after every kind of tie, and pseudo-random ones.
std::vector<std::uint32_t> interesting_floats() {
  std::vector<std::uint32_t> mantissas{0, 1, 0x7FFFFF, 0x400000, 0x3FFFFF, 0x400001};
  for (unsigned bit = 0; bit < 23; ++bit) {
    for (const std::uint32_t kept : {0U, 1U << 20U, 0x2AAAAAU}) {
      const std::uint32_t tie = (kept & ~((2U << bit) - 1U)) | (1U << bit);
      for (const std::uint32_t mantissa : {tie, tie - 1, tie + 1, tie | (2U << bit)})
        mantissas.push_back(mantissa & 0x7FFFFF);
    }
  }
  std::uint32_t random = 12345;
  for (int i = 0; i < 200; ++i) mantissas.push_back((random = random * 1664525 + 1013904223) >> 9U);
  std::vector<std::uint32_t> floats;
  for (std::uint32_t sign_and_exponent = 0; sign_and_exponent < 512; ++sign_and_exponent) {
    for (const std::uint32_t mantissa : mantissas) floats.push_back((sign_and_exponent << 23U) | mantissa);
  }
  return floats;
}

TEST(DerivedRules, NarrowFloatsToTheNearestTiesToEven) {
  for (const std::uint32_t bits : interesting_floats()) {
    const double value = float_of(bits);
    const std::uint16_t bf16 = narrowed(DerivedRule::bf16_of_f32, bits);
    const std::uint16_t f16 = narrowed(DerivedRule::f16_of_f32, bits);
    if (std::isnan(value)) {
      ASSERT_EQ(bf16, 0x7FC0) << std::hex << bits;
      ASSERT_EQ(f16, 0x7E00) << std::hex << bits;
      continue;
    }
    ASSERT_EQ(value_of_bf16(bf16), nearest(value, 7, -126, 127)) << std::hex << bits;
    ASSERT_EQ(value_of_f16(f16), nearest(value, 10, -14, 15)) << std::hex << bits;
    ASSERT_EQ((bf16 >> 15U), bits >> 31U) << std::hex << bits;  // also of zeros
    ASSERT_EQ((f16 >> 15U), bits >> 31U) << std::hex << bits;
  }
}

TEST(DerivedRules, KnownValues) {
  EXPECT_EQ(narrowed(DerivedRule::f16_of_f32, bits_of(1.0F)), 0x3C00);
  EXPECT_EQ(narrowed(DerivedRule::f16_of_f32, bits_of(-2.5F)), 0xC100);
  EXPECT_EQ(narrowed(DerivedRule::f16_of_f32, bits_of(65504.0F)), 0x7BFF);
  EXPECT_EQ(narrowed(DerivedRule::f16_of_f32, bits_of(65520.0F)), 0x7C00);
  EXPECT_EQ(narrowed(DerivedRule::f16_of_f32, bits_of(5.9604645e-08F)), 0x0001);
  EXPECT_EQ(narrowed(DerivedRule::bf16_of_f32, bits_of(1.0F)), 0x3F80);
  EXPECT_EQ(narrowed(DerivedRule::bf16_of_f32, bits_of(3.1415927F)), 0x4049);
  EXPECT_EQ(narrowed(DerivedRule::bf16_of_f32, bits_of(3.4028235e38F)), 0x7F80);
}

TEST(DerivedRules, CopyAndWrongSizes) {
  const std::array<std::byte, 3> source{std::byte{1}, std::byte{2}, std::byte{3}};
  std::array<std::byte, 3> out{};
  ASSERT_TRUE(apply_rule(DerivedRule::copy, source, out).ok());
  EXPECT_EQ(out, source);
  EXPECT_EQ(apply_rule(DerivedRule::copy, source, std::span(out).first(2)).code(), Code::invalid_argument);
  EXPECT_EQ(apply_rule(DerivedRule::bf16_of_f32, source, std::span(out).first(2)).code(), Code::invalid_argument);
  EXPECT_EQ(apply_rule(DerivedRule::f16_of_f32, std::span(source).first(0), std::span(out).first(1)).code(),
            Code::invalid_argument);
  EXPECT_EQ(apply_rule(static_cast<DerivedRule>(3), source, out).code(), Code::invalid_argument);
}

constexpr std::uint64_t kImageBytes = 4096;

std::vector<DerivedPiece> small_pieces() {
  return {{0, 100, DerivedRule::copy}, {104, 50, DerivedRule::bf16_of_f32}, {3996, 50, DerivedRule::f16_of_f32}};
}

Code decoded(const std::vector<DerivedPiece>& pieces, std::uint64_t raw_bytes = 200) {
  return decode_derived(encode_derived(pieces), raw_bytes, kImageBytes).status().code();
}

TEST(DerivedPieces, ReadBackAsWritten) {
  const auto bytes = encode_derived(small_pieces());
  EXPECT_EQ(bytes.size(), 48U);
  const auto back = decode_derived(bytes, 200, kImageBytes);
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(*back, small_pieces());
}

TEST(DerivedPieces, WhatDoesNotFitIsRefused) {
  EXPECT_EQ(decoded(small_pieces(), 199), Code::corrupt);
  EXPECT_EQ(decoded(small_pieces(), 201), Code::corrupt);
  EXPECT_EQ(decoded({}, 0), Code::corrupt);
  EXPECT_EQ(decoded({{0, 0, DerivedRule::copy}}, 0), Code::corrupt);
  EXPECT_EQ(decoded({{4000, 97, DerivedRule::copy}}, 97), Code::corrupt);
  EXPECT_EQ(decoded({{0, 2050, DerivedRule::bf16_of_f32}}, 2050), Code::corrupt);
  EXPECT_EQ(decoded({{~0ULL, 2, DerivedRule::copy}}, 2), Code::corrupt);
  EXPECT_EQ(decoded({{~0ULL - 3, 0xFFFFFFFE, DerivedRule::f16_of_f32}}, 0xFFFFFFFE), Code::corrupt);
  EXPECT_EQ(decoded({{0, 3, DerivedRule::f16_of_f32}}, 3), Code::corrupt);
  EXPECT_EQ(decoded({{2, 2, DerivedRule::f16_of_f32}}, 2), Code::corrupt);
  EXPECT_EQ(decoded({{0, 2, static_cast<DerivedRule>(3)}}, 2), Code::unsupported);
  auto bytes = encode_derived(small_pieces());
  EXPECT_EQ(decode_derived(std::span(bytes).first(47), 200, kImageBytes).status().code(), Code::corrupt);
  for (const std::size_t at : {13U, 14U, 15U}) {
    auto changed = bytes;
    changed[at] = std::byte{1};
    EXPECT_EQ(decode_derived(changed, 200, kImageBytes).status().code(), Code::corrupt) << at;
  }
}

TEST(DerivedPieces, ASourceIsNeverDerivedItself) {
  ChunkTable table;
  table.image_bytes = 3 * kChunkBytes + 8;
  table.chunks.resize(4);
  table.chunks[1].location = LocationKind::derived;
  const auto check = [&](DerivedPiece piece) { return check_sources(std::span(&piece, 1), table).code(); };
  EXPECT_EQ(check({0, kChunkBytes, DerivedRule::copy}), Code::ok);
  EXPECT_EQ(check({2 * kChunkBytes, kChunkBytes + 8, DerivedRule::copy}), Code::ok);
  EXPECT_EQ(check({4, kChunkBytes, DerivedRule::copy}), Code::corrupt);
  EXPECT_EQ(check({2 * kChunkBytes - 1, 1, DerivedRule::copy}), Code::corrupt);
  EXPECT_EQ(check({0, kChunkBytes, DerivedRule::bf16_of_f32}), Code::corrupt);
  EXPECT_EQ(check({3 * kChunkBytes, 9, DerivedRule::copy}), Code::corrupt);
  EXPECT_EQ(check({~0ULL, 9, DerivedRule::copy}), Code::corrupt);
}

}  // namespace
}  // namespace stillframe::format
