// Four bits a byte for planes of which nearly all bytes are among 15 neighbours, as exponents are. No entropy coder: as
// fast as memory nearly, in any language, on a GPU too.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "codec/context.hpp"
#include "codec/plane_method.hpp"

namespace stillframe::codec {
namespace {

constexpr std::uint8_t kEscape = 15;
constexpr std::size_t kSampleStep = 61;  // no power of two, in which tensors repeat themselves
constexpr std::size_t kSampled = 4096;
constexpr std::size_t kBlock = 16;

std::size_t nibble_bytes(std::size_t plane_bytes) noexcept { return plane_bytes / 2 + plane_bytes % 2; }

std::uint8_t choose_base(std::span<const std::byte> plane) noexcept {
  std::array<std::uint32_t, 256> histogram{};
  const std::size_t step = std::min(kSampleStep, plane.size() / kSampled + 1);
  for (std::size_t i = 0; i < plane.size(); i += step) ++histogram[std::to_integer<std::size_t>(plane[i])];
  return best_window(histogram).base;
}

std::uint8_t nibble_of(std::byte value, std::uint8_t base) noexcept {
  return std::min(static_cast<std::uint8_t>(std::to_integer<std::uint8_t>(value) - base), kEscape);
}

// Bit i: byte i of the block is 15 or more above `base`, modulo 256.
std::uint32_t escapes_of_block(const std::byte* block, std::uint8_t base) noexcept {
#if defined(__SSE2__)
  const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block));
  const __m128i above = _mm_sub_epi8(values, _mm_set1_epi8(static_cast<char>(base)));
  const __m128i escaped = _mm_cmpeq_epi8(_mm_max_epu8(above, _mm_set1_epi8(kEscape)), above);
  return static_cast<std::uint32_t>(_mm_movemask_epi8(escaped));
#else
  std::uint32_t mask = 0;
  for (unsigned i = 0; i < kBlock; ++i) mask |= (nibble_of(block[i], base) == kEscape ? 1U : 0U) << i;
  return mask;
#endif
}

// Calls `visit` with the place of each escape, in order, until it returns false; whether it never did.
template <typename Visit>
bool for_each_escape(std::span<const std::byte> plane, std::uint8_t base, Visit&& visit) noexcept {
  std::size_t at = 0;
  for (; at + kBlock <= plane.size(); at += kBlock) {
    for (std::uint32_t mask = escapes_of_block(plane.data() + at, base); mask != 0; mask &= mask - 1) {
      if (!visit(at + static_cast<std::size_t>(std::countr_zero(mask)))) return false;
    }
  }
  for (; at < plane.size(); ++at) {
    if (nibble_of(plane[at], base) == kEscape && !visit(at)) return false;
  }
  return true;
}

std::size_t count_escapes(std::span<const std::byte> plane, std::uint8_t base) noexcept {
  std::size_t count = 0;
  std::size_t at = 0;
  for (; at + kBlock <= plane.size(); at += kBlock) {
    count += static_cast<std::size_t>(std::popcount(escapes_of_block(plane.data() + at, base)));
  }
  for (; at < plane.size(); ++at) count += nibble_of(plane[at], base) == kEscape ? 1U : 0U;
  return count;
}

std::size_t encode_nibbles(std::span<const std::byte> plane, std::span<std::byte> out, Context& /*context*/) noexcept {
  const std::uint8_t base = choose_base(plane);
  const std::size_t half = nibble_bytes(plane.size());
  const std::size_t escapes = count_escapes(plane, base);
  if (1 + escapes + half > out.size()) return 0;
  out[0] = std::byte{base};
  std::byte* const nibbles = out.data() + 1 + escapes;
  const std::size_t pairs = plane.size() - half;
  const std::byte* const upper = plane.data() + half;
  for (std::size_t i = 0; i < pairs; ++i) {
    const std::uint8_t high = nibble_of(upper[i], base);
    nibbles[i] = static_cast<std::byte>(nibble_of(plane[i], base) | static_cast<std::uint8_t>(high << 4U));
  }
  if (pairs < half) nibbles[pairs] = static_cast<std::byte>(nibble_of(plane[pairs], base));
  std::byte* next = out.data() + 1;
  const auto keep = [&next, &plane](std::size_t at) {
    *next++ = plane[at];
    return true;
  };
  return for_each_escape(plane, base, keep) ? 1 + escapes + half : 0;
}

bool decode_nibbles(std::span<const std::byte> stored, std::span<std::byte> plane, Context& /*context*/) noexcept {
  const std::size_t half = nibble_bytes(plane.size());
  if (stored.size() < 1 + half) return false;
  const auto base = std::to_integer<std::uint8_t>(stored[0]);
  const auto escapes = stored.subspan(1, stored.size() - 1 - half);
  const std::byte* const nibbles = stored.data() + 1 + escapes.size();
  const std::size_t pairs = plane.size() - half;
  if (pairs < half && nibbles[pairs] > std::byte{kEscape}) return false;
  const auto value_of = [base](unsigned nibble) { return static_cast<std::byte>(base + nibble); };
  std::byte* const upper = plane.data() + half;
  for (std::size_t i = 0; i < half; ++i) plane[i] = value_of(std::to_integer<unsigned>(nibbles[i] & std::byte{0x0F}));
  for (std::size_t i = 0; i < pairs; ++i) upper[i] = value_of(std::to_integer<unsigned>(nibbles[i] >> 4));
  // What is 15 above the base now is an escape's place.
  std::size_t used = 0;
  const auto fill = [&](std::size_t at) {
    if (used == escapes.size()) return false;
    plane[at] = escapes[used++];
    return true;
  };
  return for_each_escape(plane, base, fill) && used == escapes.size();
}

}  // namespace

NibbleWindow best_window(std::span<const std::uint32_t, 256> histogram) noexcept {
  std::uint32_t total = 0;
  std::uint32_t inside = 0;
  for (std::size_t i = 0; i < histogram.size(); ++i) {
    total += histogram[i];
    if (i < kEscape) inside += histogram[i];
  }
  NibbleWindow best{0, total - inside};
  for (std::size_t base = 1; base < histogram.size(); ++base) {
    inside += histogram[(base + kEscape - 1) % histogram.size()] - histogram[base - 1];
    if (total - inside < best.escapes) best = {static_cast<std::uint8_t>(base), total - inside};
  }
  return best;
}

const PlaneMethod& nibbles_method() noexcept {
  static constexpr PlaneMethod kMethod{MethodId::nibbles, "nibbles", encode_nibbles, decode_nibbles};
  return kMethod;
}

}  // namespace stillframe::codec
