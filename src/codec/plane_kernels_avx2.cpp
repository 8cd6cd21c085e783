#include "codec/plane_kernels.hpp"
#include "codec/plane_loops.hpp"

#if defined(__x86_64__)

#include <immintrin.h>

// On functions, not on the file: an inline function of the standard library that were compiled for AVX2 here could be
// the one that every other file is linked with.
#define SF_AVX2 [[gnu::target("avx2")]]

namespace stillframe::codec {
namespace {

constexpr std::size_t kStep = 32;  // elements, so that each plane gets one register

SF_AVX2 inline __m256i load(const std::byte* from) noexcept {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
SF_AVX2 inline void store(std::byte* to, __m256i value) noexcept {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), value);
}

template <bool kRotate>
SF_AVX2 inline __m256i rotated_left16(__m256i x) noexcept {
  return kRotate ? _mm256_or_si256(_mm256_slli_epi16(x, 1), _mm256_srli_epi16(x, 15)) : x;
}
template <bool kRotate>
SF_AVX2 inline __m256i rotated_right16(__m256i x) noexcept {
  return kRotate ? _mm256_or_si256(_mm256_srli_epi16(x, 1), _mm256_slli_epi16(x, 15)) : x;
}
template <bool kRotate>
SF_AVX2 inline __m256i rotated_left32(__m256i x) noexcept {
  return kRotate ? _mm256_or_si256(_mm256_slli_epi32(x, 1), _mm256_srli_epi32(x, 31)) : x;
}
template <bool kRotate>
SF_AVX2 inline __m256i rotated_right32(__m256i x) noexcept {
  return kRotate ? _mm256_or_si256(_mm256_srli_epi32(x, 1), _mm256_slli_epi32(x, 31)) : x;
}

template <bool kRotate>
SF_AVX2 std::size_t split2(const std::byte* elements, std::size_t count, std::byte* const* planes) noexcept {
  const __m256i low_bytes = _mm256_set1_epi16(0x00FF);
  std::size_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    const __m256i a = rotated_left16<kRotate>(load(elements + 2 * i));
    const __m256i b = rotated_left16<kRotate>(load(elements + 2 * i + 32));
    const __m256i low = _mm256_packus_epi16(_mm256_and_si256(a, low_bytes), _mm256_and_si256(b, low_bytes));
    const __m256i high = _mm256_packus_epi16(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8));
    store(planes[0] + i, _mm256_permute4x64_epi64(low, 0xD8));
    store(planes[1] + i, _mm256_permute4x64_epi64(high, 0xD8));
  }
  return i;
}

template <bool kRotate>
SF_AVX2 std::size_t merge2(const std::byte* const* planes, std::size_t count, std::byte* elements) noexcept {
  std::size_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    const __m256i p0 = load(planes[0] + i);
    const __m256i p1 = load(planes[1] + i);
    const __m256i a = rotated_right16<kRotate>(_mm256_unpacklo_epi8(p0, p1));  // elements 0-7 and 16-23
    const __m256i b = rotated_right16<kRotate>(_mm256_unpackhi_epi8(p0, p1));  // 8-15 and 24-31
    store(elements + 2 * i, _mm256_permute2x128_si256(a, b, 0x20));
    store(elements + 2 * i + 32, _mm256_permute2x128_si256(a, b, 0x31));
  }
  return i;
}

// 8 elements: their 8 bytes of each plane, plane after plane.
template <bool kRotate>
SF_AVX2 inline __m256i load_sorted(const std::byte* from) noexcept {
  const __m256i by_byte = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,  //
                                           0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m256i by_plane = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  return _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(rotated_left32<kRotate>(load(from)), by_byte), by_plane);
}

template <bool kRotate>
SF_AVX2 std::size_t split4(const std::byte* elements, std::size_t count, std::byte* const* planes) noexcept {
  std::size_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    const __m256i a = load_sorted<kRotate>(elements + 4 * i);
    const __m256i b = load_sorted<kRotate>(elements + 4 * i + 32);
    const __m256i c = load_sorted<kRotate>(elements + 4 * i + 64);
    const __m256i d = load_sorted<kRotate>(elements + 4 * i + 96);
    const __m256i even_ab = _mm256_unpacklo_epi64(a, b);  // planes 0 and 2
    const __m256i odd_ab = _mm256_unpackhi_epi64(a, b);   // planes 1 and 3
    const __m256i even_cd = _mm256_unpacklo_epi64(c, d);
    const __m256i odd_cd = _mm256_unpackhi_epi64(c, d);
    store(planes[0] + i, _mm256_permute2x128_si256(even_ab, even_cd, 0x20));
    store(planes[1] + i, _mm256_permute2x128_si256(odd_ab, odd_cd, 0x20));
    store(planes[2] + i, _mm256_permute2x128_si256(even_ab, even_cd, 0x31));
    store(planes[3] + i, _mm256_permute2x128_si256(odd_ab, odd_cd, 0x31));
  }
  return i;
}

template <bool kRotate>
SF_AVX2 std::size_t merge4(const std::byte* const* planes, std::size_t count, std::byte* elements) noexcept {
  std::size_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    const __m256i p0 = load(planes[0] + i);
    const __m256i p1 = load(planes[1] + i);
    const __m256i p2 = load(planes[2] + i);
    const __m256i p3 = load(planes[3] + i);
    const __m256i low01 = _mm256_unpacklo_epi8(p0, p1);
    const __m256i high01 = _mm256_unpackhi_epi8(p0, p1);
    const __m256i low23 = _mm256_unpacklo_epi8(p2, p3);
    const __m256i high23 = _mm256_unpackhi_epi8(p2, p3);
    const __m256i a = rotated_right32<kRotate>(_mm256_unpacklo_epi16(low01, low23));    // elements 0-3 and 16-19
    const __m256i b = rotated_right32<kRotate>(_mm256_unpackhi_epi16(low01, low23));    // 4-7 and 20-23
    const __m256i c = rotated_right32<kRotate>(_mm256_unpacklo_epi16(high01, high23));  // 8-11 and 24-27
    const __m256i d = rotated_right32<kRotate>(_mm256_unpackhi_epi16(high01, high23));  // 12-15 and 28-31
    store(elements + 4 * i, _mm256_permute2x128_si256(a, b, 0x20));
    store(elements + 4 * i + 32, _mm256_permute2x128_si256(c, d, 0x20));
    store(elements + 4 * i + 64, _mm256_permute2x128_si256(a, b, 0x31));
    store(elements + 4 * i + 96, _mm256_permute2x128_si256(c, d, 0x31));
  }
  return i;
}

SF_AVX2 void split_halves(const std::byte* elements, std::size_t count, bool rotate,
                          std::byte* const* planes) noexcept {
  const std::size_t done = rotate ? split2<true>(elements, count, planes) : split2<false>(elements, count, planes);
  split_from<std::uint16_t, 1>(done, elements, count, rotate, planes);
}
SF_AVX2 void merge_halves(const std::byte* const* planes, std::size_t count, bool rotate,
                          std::byte* elements) noexcept {
  const std::size_t done = rotate ? merge2<true>(planes, count, elements) : merge2<false>(planes, count, elements);
  merge_from<std::uint16_t, 1>(done, planes, count, rotate, elements);
}
SF_AVX2 void split_singles(const std::byte* elements, std::size_t count, bool rotate,
                           std::byte* const* planes) noexcept {
  const std::size_t done = rotate ? split4<true>(elements, count, planes) : split4<false>(elements, count, planes);
  split_from<std::uint32_t, 1>(done, elements, count, rotate, planes);
}
SF_AVX2 void merge_singles(const std::byte* const* planes, std::size_t count, bool rotate,
                           std::byte* elements) noexcept {
  const std::size_t done = rotate ? merge4<true>(planes, count, elements) : merge4<false>(planes, count, elements);
  merge_from<std::uint32_t, 1>(done, planes, count, rotate, elements);
}
template <std::size_t kWords>
SF_AVX2 void split_longs(const std::byte* elements, std::size_t count, bool rotate, std::byte* const* planes) noexcept {
  split_from<std::uint64_t, kWords>(0, elements, count, rotate, planes);
}
template <std::size_t kWords>
SF_AVX2 void merge_longs(const std::byte* const* planes, std::size_t count, bool rotate, std::byte* elements) noexcept {
  merge_from<std::uint64_t, kWords>(0, planes, count, rotate, elements);
}

}  // namespace

const PlaneKernels* avx2_kernels() noexcept {
  static const PlaneKernels kernels{
      "avx2",
      {plain_kernels().split[0], split_halves, split_singles, split_longs<1>, split_longs<2>},
      {plain_kernels().merge[0], merge_halves, merge_singles, merge_longs<1>, merge_longs<2>}};
  return __builtin_cpu_supports("avx2") ? &kernels : nullptr;
}

}  // namespace stillframe::codec

#else

namespace stillframe::codec {
const PlaneKernels* avx2_kernels() noexcept { return nullptr; }
}  // namespace stillframe::codec

#endif
