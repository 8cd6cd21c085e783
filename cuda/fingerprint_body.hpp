// The body of the fingerprint kernel: one number for the bytes of each listed range. Compiled for the device by
// fingerprint.cu, and for the host as its twin. Nothing but the standard library stands behind it.
//
// A range is read as little-endian words of 8 bytes, the last one filled up with zeros. Each word is mixed with its
// place in the range, and the fingerprint is the sum of all, modulo 2^64: so it is the same whoever adds which words in
// what order, and wherever the range lies. Two ranges of one length that differ have the same with a probability of
// about 2^-64. It finds accidents; it is no checksum against intent, and nothing that is stored.
//
// Work is handed out as that of the gather kernel: in grains of 512 bytes, and in tiles of grains to the warps.
#pragma once

#include <cstddef>
#include <cstdint>

#include "gather_body.hpp"

namespace stillframe::fingerprint {

inline constexpr unsigned kLanes = gather::kLanes;
inline constexpr std::uint64_t kWordBytes = 8;
inline constexpr std::uint64_t kGrainBytes = 512;
inline constexpr std::uint64_t kGrainWords = kGrainBytes / kWordBytes;
inline constexpr std::uint64_t kGrainsPerTile = 16;

// One range, as the list of a launch has it, and its sum, which is 0 before the launch.
struct Entry {
  std::uint64_t from = 0;
  std::uint64_t bytes = 0;
  std::uint64_t first_grain = 0;  // of the entries before it in the list: the sum of their grains
  std::uint64_t sum = 0;
};

// The finalizer of SplitMix64 (Steele, Lea, Flood 2014), over the word and its place.
SF_GATHER_BODY std::uint64_t mix(std::uint64_t word, std::uint64_t place) {
  std::uint64_t mixed = word + (place + 1) * 0x9E3779B97F4A7C15U;
  mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9U;
  mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBU;
  return mixed ^ (mixed >> 31);
}

SF_GATHER_BODY std::uint64_t grains_of(std::uint64_t bytes) { return (bytes + kGrainBytes - 1) / kGrainBytes; }

SF_GATHER_BODY std::uint64_t total_grains(const Entry* entries, std::uint64_t count) {
  return count == 0 ? 0 : entries[count - 1].first_grain + grains_of(entries[count - 1].bytes);
}

SF_GATHER_BODY std::uint64_t tile_count(const Entry* entries, std::uint64_t count) {
  return (total_grains(entries, count) + kGrainsPerTile - 1) / kGrainsPerTile;
}

// `bytes` of them, in loads of `width`, to which the address is aligned.
template <unsigned width>
SF_GATHER_BODY std::uint64_t load_word(std::uint64_t address, std::uint64_t bytes) {
  std::uint64_t word = 0;
  for (std::uint64_t at = 0; at < bytes; at += width) {
    word |= static_cast<std::uint64_t>(gather::load<width>(address + at)) << (8 * at);
  }
  return word;
}

// The share of one lane in the words from `first` on, before `past`.
template <unsigned width>
SF_GATHER_BODY std::uint64_t sum_words(std::uint64_t from, std::uint64_t first, std::uint64_t past, unsigned lane) {
  std::uint64_t sum = 0;
  for (std::uint64_t place = first + lane; place < past; place += kLanes) {
    sum += mix(load_word<width>(from + place * kWordBytes, kWordBytes), place);
  }
  return sum;
}

// The share of one lane in some grains of a range.
SF_GATHER_BODY std::uint64_t sum_grains(std::uint64_t from, std::uint64_t bytes, std::uint64_t first,
                                        std::uint64_t past, unsigned lane) {
  const std::uint64_t whole_words = bytes / kWordBytes;
  const std::uint64_t begin = first * kGrainWords;
  const std::uint64_t end = past * kGrainWords < whole_words ? past * kGrainWords : whole_words;
  const std::uint64_t rest = bytes % kWordBytes;
  const bool has_rest = rest != 0 && past == grains_of(bytes) && lane == 0;
  const std::uint64_t tail = has_rest ? mix(load_word<1>(from + whole_words * kWordBytes, rest), whole_words) : 0;
  if (from % 8 == 0) return tail + sum_words<8>(from, begin, end, lane);
  if (from % 4 == 0) return tail + sum_words<4>(from, begin, end, lane);
  if (from % 2 == 0) return tail + sum_words<2>(from, begin, end, lane);
  return tail + sum_words<1>(from, begin, end, lane);
}

// What of one tile belongs to one entry: the grains [first, past) of that entry.
struct Part {
  std::uint64_t entry = 0;
  std::uint64_t first = 0;
  std::uint64_t past = 0;
};

// The parts of one tile, entry by entry; the same for every lane.
class Parts {
 public:
  SF_GATHER_BODY Parts(const Entry* entries, std::uint64_t count, std::uint64_t tile)
      : entries_(entries), next_grain_(tile * kGrainsPerTile), next_entry_(entry_of_grain(count)) {
    const std::uint64_t end_of_list = total_grains(entries, count);
    end_ = next_grain_ + kGrainsPerTile < end_of_list ? next_grain_ + kGrainsPerTile : end_of_list;
  }
  // False when there is none left. A part of an entry without bytes is empty.
  SF_GATHER_BODY bool next(Part& part) {
    if (next_grain_ >= end_) return false;
    const std::uint64_t first_grain = entries_[next_entry_].first_grain;
    const std::uint64_t behind = first_grain + grains_of(entries_[next_entry_].bytes);
    const std::uint64_t stop = behind < end_ ? behind : end_;
    part.entry = next_entry_++;
    part.first = next_grain_ - first_grain;
    part.past = stop > next_grain_ ? stop - first_grain : part.first;
    next_grain_ = stop > next_grain_ ? stop : next_grain_;
    return true;
  }

 private:
  // The last one that begins at the grain or before.
  SF_GATHER_BODY std::uint64_t entry_of_grain(std::uint64_t count) const {
    std::uint64_t first = 0;
    std::uint64_t past = count;
    while (past - first > 1) {
      const std::uint64_t middle = first + (past - first) / 2;
      if (entries_[middle].first_grain <= next_grain_) {
        first = middle;
      } else {
        past = middle;
      }
    }
    return first;
  }

  const Entry* entries_;
  std::uint64_t next_grain_;
  std::uint64_t end_ = 0;
  std::uint64_t next_entry_;
};

// The host twin of the kernel.
inline void sum_all(Entry* entries, std::uint64_t count) {
  const std::uint64_t tiles = tile_count(entries, count);
  for (std::uint64_t tile = 0; tile < tiles; ++tile) {
    Parts parts(entries, count, tile);
    for (Part part; parts.next(part);) {
      Entry& entry = entries[part.entry];
      for (unsigned lane = 0; lane < kLanes; ++lane) {
        entry.sum += sum_grains(entry.from, entry.bytes, part.first, part.past, lane);
      }
    }
  }
}

// Of one range in host memory, in one pass: the same number.
inline std::uint64_t of_host_memory(const void* from, std::size_t bytes) {
  const auto* const begin = static_cast<const unsigned char*>(from);
  const std::uint64_t whole_words = bytes / kWordBytes;
  std::uint64_t sum = 0;
  for (std::uint64_t place = 0; place < whole_words; ++place) {
    std::uint64_t word = 0;
    __builtin_memcpy(&word, begin + place * kWordBytes, kWordBytes);
    sum += mix(word, place);
  }
  const std::uint64_t rest = bytes % kWordBytes;
  if (rest == 0) return sum;
  std::uint64_t last = 0;
  __builtin_memcpy(&last, begin + whole_words * kWordBytes, rest);
  return sum + mix(last, whole_words);
}

}  // namespace stillframe::fingerprint
