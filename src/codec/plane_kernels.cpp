#include "codec/plane_kernels.hpp"

#include <cstring>

#include "codec/plane_loops.hpp"

namespace stillframe::codec {
namespace {

void split_bytes(const std::byte* elements, std::size_t count, bool /*rotate*/, std::byte* const* planes) noexcept {
  if (count != 0) std::memcpy(planes[0], elements, count);
}
void merge_bytes(const std::byte* const* planes, std::size_t count, bool /*rotate*/, std::byte* elements) noexcept {
  if (count != 0) std::memcpy(elements, planes[0], count);
}

template <typename Word, std::size_t kWords>
void split_words(const std::byte* elements, std::size_t count, bool rotate, std::byte* const* planes) noexcept {
  split_from<Word, kWords>(0, elements, count, rotate, planes);
}
template <typename Word, std::size_t kWords>
void merge_words(const std::byte* const* planes, std::size_t count, bool rotate, std::byte* elements) noexcept {
  merge_from<Word, kWords>(0, planes, count, rotate, elements);
}

}  // namespace

const PlaneKernels& plain_kernels() noexcept {
  static constexpr PlaneKernels kPlain{"plain",
                                       {split_bytes, split_words<std::uint16_t, 1>, split_words<std::uint32_t, 1>,
                                        split_words<std::uint64_t, 1>, split_words<std::uint64_t, 2>},
                                       {merge_bytes, merge_words<std::uint16_t, 1>, merge_words<std::uint32_t, 1>,
                                        merge_words<std::uint64_t, 1>, merge_words<std::uint64_t, 2>}};
  return kPlain;
}

const PlaneKernels& best_kernels() noexcept {
  static const PlaneKernels& best = []() -> const PlaneKernels& {
    if (const PlaneKernels* const kernels = avx512_kernels()) return *kernels;
    if (const PlaneKernels* const kernels = avx2_kernels()) return *kernels;
    return plain_kernels();
  }();
  return best;
}

}  // namespace stillframe::codec
