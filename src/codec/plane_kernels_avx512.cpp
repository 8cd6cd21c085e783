#include "codec/plane_kernels.hpp"
#include "codec/plane_loops.hpp"

#if defined(__x86_64__)

#include <immintrin.h>

#include <array>

#define SF_AVX512 [[gnu::target("avx512f,avx512bw,avx512vbmi")]]

namespace stillframe::codec {
namespace {

constexpr std::size_t kStep = 64;  // elements, so that each plane gets one register
using Order = std::array<std::uint8_t, 64>;

// Byte p of the elements of one register side by side, plane after plane.
constexpr Order planes_of(std::size_t width) {
  Order order{};
  for (std::size_t i = 0; i < order.size(); ++i) {
    const std::size_t per_plane = order.size() / width;
    order[i] = static_cast<std::uint8_t>(i % per_plane * width + i / per_plane);
  }
  return order;
}
constexpr Order inverse(const Order& order) {
  Order back{};
  for (std::size_t i = 0; i < order.size(); ++i) back[order[i]] = static_cast<std::uint8_t>(i);
  return back;
}
alignas(64) constexpr Order kPlanesOf2 = planes_of(2);
alignas(64) constexpr Order kElementsOf2 = inverse(kPlanesOf2);
alignas(64) constexpr Order kPlanesOf4 = planes_of(4);
alignas(64) constexpr Order kElementsOf4 = inverse(kPlanesOf4);

SF_AVX512 inline __m512i load(const void* from) noexcept { return _mm512_loadu_si512(from); }
SF_AVX512 inline void store(std::byte* to, __m512i value) noexcept { _mm512_storeu_si512(to, value); }

template <bool kRotate>
SF_AVX512 inline __m512i sorted2(__m512i x, __m512i order) noexcept {
  if (kRotate) x = _mm512_or_si512(_mm512_slli_epi16(x, 1), _mm512_srli_epi16(x, 15));
  return _mm512_permutexvar_epi8(order, x);
}
template <bool kRotate>
SF_AVX512 inline __m512i joined2(__m512i halves, __m512i order) noexcept {
  const __m512i x = _mm512_permutexvar_epi8(order, halves);
  return kRotate ? _mm512_or_si512(_mm512_srli_epi16(x, 1), _mm512_slli_epi16(x, 15)) : x;
}

template <bool kRotate>
SF_AVX512 std::size_t split2(const std::byte* elements, std::size_t count, std::byte* const* planes) noexcept {
  const __m512i order = load(kPlanesOf2.data());
  std::size_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    const __m512i a = sorted2<kRotate>(load(elements + 2 * i), order);
    const __m512i b = sorted2<kRotate>(load(elements + 2 * i + 64), order);
    store(planes[0] + i, _mm512_shuffle_i64x2(a, b, 0x44));
    store(planes[1] + i, _mm512_shuffle_i64x2(a, b, 0xEE));
  }
  return i;
}

template <bool kRotate>
SF_AVX512 std::size_t merge2(const std::byte* const* planes, std::size_t count, std::byte* elements) noexcept {
  const __m512i order = load(kElementsOf2.data());
  std::size_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    const __m512i p0 = load(planes[0] + i);
    const __m512i p1 = load(planes[1] + i);
    store(elements + 2 * i, joined2<kRotate>(_mm512_shuffle_i64x2(p0, p1, 0x44), order));
    store(elements + 2 * i + 64, joined2<kRotate>(_mm512_shuffle_i64x2(p0, p1, 0xEE), order));
  }
  return i;
}

// Lane j of register i becomes lane i of register j.
SF_AVX512 inline void transpose_lanes(__m512i (&x)[4]) noexcept {
  const __m512i low01 = _mm512_shuffle_i32x4(x[0], x[1], 0x44);
  const __m512i high01 = _mm512_shuffle_i32x4(x[0], x[1], 0xEE);
  const __m512i low23 = _mm512_shuffle_i32x4(x[2], x[3], 0x44);
  const __m512i high23 = _mm512_shuffle_i32x4(x[2], x[3], 0xEE);
  x[0] = _mm512_shuffle_i32x4(low01, low23, 0x88);
  x[1] = _mm512_shuffle_i32x4(low01, low23, 0xDD);
  x[2] = _mm512_shuffle_i32x4(high01, high23, 0x88);
  x[3] = _mm512_shuffle_i32x4(high01, high23, 0xDD);
}

template <bool kRotate>
SF_AVX512 std::size_t split4(const std::byte* elements, std::size_t count, std::byte* const* planes) noexcept {
  const __m512i order = load(kPlanesOf4.data());
  std::size_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    __m512i x[4];
    for (std::size_t k = 0; k < 4; ++k) {
      x[k] = load(elements + 4 * i + 64 * k);
      if (kRotate) x[k] = _mm512_rol_epi32(x[k], 1);
      x[k] = _mm512_permutexvar_epi8(order, x[k]);
    }
    transpose_lanes(x);
    for (std::size_t k = 0; k < 4; ++k) store(planes[k] + i, x[k]);
  }
  return i;
}

template <bool kRotate>
SF_AVX512 std::size_t merge4(const std::byte* const* planes, std::size_t count, std::byte* elements) noexcept {
  const __m512i order = load(kElementsOf4.data());
  std::size_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    __m512i x[4];
    for (std::size_t k = 0; k < 4; ++k) x[k] = load(planes[k] + i);
    transpose_lanes(x);
    for (std::size_t k = 0; k < 4; ++k) {
      x[k] = _mm512_permutexvar_epi8(order, x[k]);
      if (kRotate) x[k] = _mm512_ror_epi32(x[k], 1);
      store(elements + 4 * i + 64 * k, x[k]);
    }
  }
  return i;
}

SF_AVX512 void split_halves(const std::byte* elements, std::size_t count, bool rotate,
                            std::byte* const* planes) noexcept {
  const std::size_t done = rotate ? split2<true>(elements, count, planes) : split2<false>(elements, count, planes);
  split_from<std::uint16_t, 1>(done, elements, count, rotate, planes);
}
SF_AVX512 void merge_halves(const std::byte* const* planes, std::size_t count, bool rotate,
                            std::byte* elements) noexcept {
  const std::size_t done = rotate ? merge2<true>(planes, count, elements) : merge2<false>(planes, count, elements);
  merge_from<std::uint16_t, 1>(done, planes, count, rotate, elements);
}
SF_AVX512 void split_singles(const std::byte* elements, std::size_t count, bool rotate,
                             std::byte* const* planes) noexcept {
  const std::size_t done = rotate ? split4<true>(elements, count, planes) : split4<false>(elements, count, planes);
  split_from<std::uint32_t, 1>(done, elements, count, rotate, planes);
}
SF_AVX512 void merge_singles(const std::byte* const* planes, std::size_t count, bool rotate,
                             std::byte* elements) noexcept {
  const std::size_t done = rotate ? merge4<true>(planes, count, elements) : merge4<false>(planes, count, elements);
  merge_from<std::uint32_t, 1>(done, planes, count, rotate, elements);
}

}  // namespace

const PlaneKernels* avx512_kernels() noexcept {
  const PlaneKernels* const narrower = avx2_kernels();
  const bool there = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                     __builtin_cpu_supports("avx512vbmi") && narrower != nullptr;
  if (!there) return nullptr;
  static const PlaneKernels kernels{
      "avx512",
      {narrower->split[0], split_halves, split_singles, narrower->split[3], narrower->split[4]},
      {narrower->merge[0], merge_halves, merge_singles, narrower->merge[3], narrower->merge[4]}};
  return &kernels;
}

}  // namespace stillframe::codec

#else

namespace stillframe::codec {
const PlaneKernels* avx512_kernels() noexcept { return nullptr; }
}  // namespace stillframe::codec

#endif
