#include "codec/planes.hpp"

#include <utility>

namespace stillframe::codec {
namespace {

// Elements of `kWords` little-endian words each; takes byte `byte` of word `word`.
template <typename Word, std::size_t kWords>
void extract(const std::byte* elements, std::size_t word, std::size_t byte, std::byte* plane,
             std::size_t count) noexcept {
  const std::size_t shift = 8 * byte;
  for (std::size_t i = 0; i < count; ++i) {
    Word value;
    std::memcpy(&value, elements + (i * kWords + word) * sizeof(Word), sizeof value);
    plane[i] = static_cast<std::byte>(value >> shift);
  }
}

template <typename Word, std::size_t kWords, std::size_t... kBytes>
void merge(const std::byte* const* planes, std::byte* elements, std::size_t count,
           std::index_sequence<kBytes...> /*bytes*/) noexcept {
  for (std::size_t word = 0; word < kWords; ++word) {
    const std::byte* const sources[] = {planes[word * sizeof(Word) + kBytes]...};
    for (std::size_t i = 0; i < count; ++i) {
      const auto value = static_cast<Word>((... | (static_cast<Word>(sources[kBytes][i]) << (8 * kBytes))));
      std::memcpy(elements + (i * kWords + word) * sizeof(Word), &value, sizeof value);
    }
  }
}

template <typename Word, std::size_t kWords>
void merge(const std::byte* const* planes, std::span<std::byte> elements) noexcept {
  merge<Word, kWords>(planes, elements.data(), elements.size() / (sizeof(Word) * kWords),
                      std::make_index_sequence<sizeof(Word)>{});
}

}  // namespace

void extract_plane(std::span<const std::byte> elements, std::size_t width, std::size_t plane_index,
                   std::span<std::byte> plane) noexcept {
  const std::size_t count = plane.size();
  switch (width) {
    case 1:
      std::memcpy(plane.data(), elements.data(), count);
      break;
    case 2:
      extract<std::uint16_t, 1>(elements.data(), 0, plane_index, plane.data(), count);
      break;
    case 4:
      extract<std::uint32_t, 1>(elements.data(), 0, plane_index, plane.data(), count);
      break;
    case 8:
      extract<std::uint64_t, 1>(elements.data(), 0, plane_index, plane.data(), count);
      break;
    default:
      extract<std::uint64_t, 2>(elements.data(), plane_index / 8, plane_index % 8, plane.data(), count);
      break;
  }
}

void merge_planes(const std::byte* const* planes, std::size_t width, std::span<std::byte> elements) noexcept {
  switch (width) {
    case 1:
      std::memcpy(elements.data(), planes[0], elements.size());
      break;
    case 2:
      merge<std::uint16_t, 1>(planes, elements);
      break;
    case 4:
      merge<std::uint32_t, 1>(planes, elements);
      break;
    case 8:
      merge<std::uint64_t, 1>(planes, elements);
      break;
    default:
      merge<std::uint64_t, 2>(planes, elements);
      break;
  }
}

}  // namespace stillframe::codec
