// The body of the gather kernel: listed ranges of memory are copied, each to its place. Compiled for the device by
// gather.cu, and for the host as its twin. Nothing but the standard library stands behind it.
//
// Work is counted in grains of 512 bytes, what the 32 lanes of a warp move at once in words of 16 bytes, and is handed
// out in tiles of grains: a large range is shared by many warps, and one warp takes many small ranges.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#define SF_GATHER_BODY __host__ __device__ inline
#else
#define SF_GATHER_BODY inline
#endif

namespace stillframe::gather {

inline constexpr unsigned kLanes = 32;
inline constexpr std::uint64_t kGrainBytes = 512;
inline constexpr std::uint64_t kGrainsPerTile = 16;

// One range, as the list of a launch has it. Targets overlap neither one another nor a source.
struct Entry {
  std::uint64_t to = 0;
  std::uint64_t from = 0;
  std::uint64_t bytes = 0;
  std::uint64_t first_grain = 0;  // of the entries before it in the list: the sum of their grains
};

// The widest word that both addresses can be aligned to: 16, 8, 4, 2 or 1 bytes.
SF_GATHER_BODY std::uint64_t word_bytes(const Entry& entry) {
  const std::uint64_t differs = (entry.to ^ entry.from) | 16;
  return differs & (~differs + 1);
}

// Grains are counted from the word in which the range begins, so that words never straddle two of them.
SF_GATHER_BODY std::uint64_t lead_bytes(const Entry& entry) { return entry.to & (word_bytes(entry) - 1); }

SF_GATHER_BODY std::uint64_t grains_of(const Entry& entry) {
  return entry.bytes == 0 ? 0 : (lead_bytes(entry) + entry.bytes + kGrainBytes - 1) / kGrainBytes;
}

SF_GATHER_BODY std::uint64_t total_grains(const Entry* entries, std::uint64_t count) {
  if (count == 0) return 0;
  return entries[count - 1].first_grain + grains_of(entries[count - 1]) - entries[0].first_grain;
}

SF_GATHER_BODY std::uint64_t tile_count(const Entry* entries, std::uint64_t count) {
  return (total_grains(entries, count) + kGrainsPerTile - 1) / kGrainsPerTile;
}

// One load and one store of the device each.
template <unsigned width>
struct Words;
template <>
struct Words<1> {
  using Word = std::uint8_t;
};
template <>
struct Words<2> {
  using Word = std::uint16_t;
};
template <>
struct Words<4> {
  using Word = std::uint32_t;
};
template <>
struct Words<8> {
  using Word = std::uint64_t;
};
template <>
struct Words<16> {
  struct alignas(16) Word {
    unsigned char bytes[16];
  };
};
template <unsigned width>
using Word = typename Words<width>::Word;

template <unsigned width>
SF_GATHER_BODY Word<width> load(std::uint64_t address) {
  Word<width> word;
  __builtin_memcpy(&word, __builtin_assume_aligned(reinterpret_cast<const void*>(address), width), width);
  return word;
}

template <unsigned width>
SF_GATHER_BODY void store(std::uint64_t address, Word<width> word) {
  __builtin_memcpy(__builtin_assume_aligned(reinterpret_cast<void*>(address), width), &word, width);
}

// Four words of a lane are under way at once: the memory is far.
template <unsigned width>
SF_GATHER_BODY void copy_words(std::uint64_t to, std::uint64_t from, std::uint64_t words, unsigned lane) {
  constexpr std::uint64_t kStride = std::uint64_t{kLanes} * width;
  std::uint64_t word = lane;
  for (; word + 3 * kLanes < words; word += 4 * kLanes) {
    const std::uint64_t source = from + word * width;
    const std::uint64_t target = to + word * width;
    const Word<width> first = load<width>(source);
    const Word<width> second = load<width>(source + kStride);
    const Word<width> third = load<width>(source + 2 * kStride);
    const Word<width> fourth = load<width>(source + 3 * kStride);
    store<width>(target, first);
    store<width>(target + kStride, second);
    store<width>(target + 2 * kStride, third);
    store<width>(target + 3 * kStride, fourth);
  }
  for (; word < words; word += kLanes) store<width>(to + word * width, load<width>(from + word * width));
}

// What of the range lies between two bytes counted from the word in which it begins: words in the middle, bytes at the
// edges.
template <unsigned width>
SF_GATHER_BODY void copy_between(const Entry& entry, std::uint64_t begin, std::uint64_t end, unsigned lane) {
  const std::uint64_t lead = lead_bytes(entry);
  const std::uint64_t to = entry.to - lead;
  const std::uint64_t from = entry.from - lead;
  if (begin < lead) begin = lead;
  if (end > lead + entry.bytes) end = lead + entry.bytes;
  if (begin >= end) return;
  std::uint64_t first_word = (begin + width - 1) / width * width;
  std::uint64_t last_word = end / width * width;
  if (first_word > last_word) first_word = last_word = end;
  copy_words<1>(to + begin, from + begin, first_word - begin, lane);
  copy_words<width>(to + first_word, from + first_word, (last_word - first_word) / width, lane);
  copy_words<1>(to + last_word, from + last_word, end - last_word, lane);
}

SF_GATHER_BODY void copy_grains(const Entry& entry, std::uint64_t first, std::uint64_t past, unsigned lane) {
  const std::uint64_t begin = first * kGrainBytes;
  const std::uint64_t end = past * kGrainBytes;
  switch (word_bytes(entry)) {
    case 16:
      return copy_between<16>(entry, begin, end, lane);
    case 8:
      return copy_between<8>(entry, begin, end, lane);
    case 4:
      return copy_between<4>(entry, begin, end, lane);
    case 2:
      return copy_between<2>(entry, begin, end, lane);
    default:
      return copy_between<1>(entry, begin, end, lane);
  }
}

// The entry with that grain: the last one that begins at it or before. Entries without bytes have none.
SF_GATHER_BODY std::uint64_t entry_of_grain(const Entry* entries, std::uint64_t count, std::uint64_t grain) {
  std::uint64_t first = 0;
  std::uint64_t past = count;
  while (past - first > 1) {
    const std::uint64_t middle = first + (past - first) / 2;
    if (entries[middle].first_grain <= grain) {
      first = middle;
    } else {
      past = middle;
    }
  }
  return first;
}

// The share of one lane in one tile of the list.
SF_GATHER_BODY void copy_tile(const Entry* entries, std::uint64_t count, std::uint64_t tile, unsigned lane) {
  std::uint64_t grain = entries[0].first_grain + tile * kGrainsPerTile;
  const std::uint64_t end_of_list = entries[0].first_grain + total_grains(entries, count);
  const std::uint64_t end = grain + kGrainsPerTile < end_of_list ? grain + kGrainsPerTile : end_of_list;
  for (std::uint64_t at = entry_of_grain(entries, count, grain); grain < end; ++at) {
    const Entry entry = entries[at];
    const std::uint64_t behind = entry.first_grain + grains_of(entry);
    const std::uint64_t stop = behind < end ? behind : end;
    if (stop > grain) copy_grains(entry, grain - entry.first_grain, stop - entry.first_grain, lane);
    grain = stop > grain ? stop : grain;
  }
}

// The host twin of the kernel.
inline void copy_all(const Entry* entries, std::uint64_t count) {
  const std::uint64_t tiles = tile_count(entries, count);
  for (std::uint64_t tile = 0; tile < tiles; ++tile) {
    for (unsigned lane = 0; lane < kLanes; ++lane) copy_tile(entries, count, tile, lane);
  }
}

}  // namespace stillframe::gather
