// Planes in loops that a compiler can vectorise, inlined into whatever function calls them: so each is compiled once
// for each processor that the caller is meant for. Private to this folder. Pure.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace stillframe::codec {

// Elements of `kWords` words; `first` is where a vectorised caller has stopped.
template <typename Word, std::size_t kWords>
[[gnu::always_inline]] inline void split_from(std::size_t first, const std::byte* elements, std::size_t count,
                                              bool rotate, std::byte* const* planes) noexcept {
  for (std::size_t word = 0; word < kWords; ++word) {
    for (std::size_t byte = 0; byte < sizeof(Word); ++byte) {
      std::byte* const plane = planes[word * sizeof(Word) + byte];
      for (std::size_t i = first; i < count; ++i) {
        Word value;
        std::memcpy(&value, elements + (i * kWords + word) * sizeof(Word), sizeof value);
        if (rotate) value = std::rotl(value, 1);
        plane[i] = static_cast<std::byte>(value >> (8 * byte));
      }
    }
  }
}

template <typename Word, std::size_t kWords>
[[gnu::always_inline]] inline void merge_from(std::size_t first, const std::byte* const* planes, std::size_t count,
                                              bool rotate, std::byte* elements) noexcept {
  for (std::size_t word = 0; word < kWords; ++word) {
    const std::byte* const* const sources = planes + word * sizeof(Word);
    for (std::size_t i = first; i < count; ++i) {
      Word value = 0;
      for (std::size_t byte = 0; byte < sizeof(Word); ++byte) {
        value = static_cast<Word>(value | static_cast<Word>(static_cast<Word>(sources[byte][i]) << (8 * byte)));
      }
      if (rotate) value = std::rotr(value, 1);
      std::memcpy(elements + (i * kWords + word) * sizeof(Word), &value, sizeof value);
    }
  }
}

}  // namespace stillframe::codec
