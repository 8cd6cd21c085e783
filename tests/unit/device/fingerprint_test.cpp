// What a fingerprint tells apart.
#include <algorithm>
#include <random>
#include <set>

#include "device/device.hpp"
#include "unit/device/cuda_fixture.hpp"

namespace stillframe::device {
namespace {

Bytes random_bytes(std::size_t bytes, unsigned seed) {
  std::mt19937 dice(seed);
  Bytes made(bytes);
  for (std::byte& byte : made) byte = static_cast<std::byte>(dice());
  return made;
}

TEST(Fingerprint, EveryBitCountsAtEveryPlace) {
  Bytes bytes = random_bytes(203, 1);
  const std::uint64_t before = fingerprint_of(bytes);
  for (std::byte& byte : bytes) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      byte ^= static_cast<std::byte>(1U << bit);
      EXPECT_NE(fingerprint_of(bytes), before);
      byte ^= static_cast<std::byte>(1U << bit);
    }
  }
  EXPECT_EQ(fingerprint_of(bytes), before);
}

TEST(Fingerprint, TheSameWordsInAnotherOrderAreOtherBytes) {
  constexpr std::ptrdiff_t kWord = 8;
  const Bytes bytes = random_bytes(4096, 2);
  for (std::ptrdiff_t first = 0; first + 2 * kWord <= 4096; first += kWord) {
    Bytes swapped = bytes;
    std::swap_ranges(swapped.begin() + first, swapped.begin() + first + kWord, swapped.begin() + first + kWord);
    EXPECT_NE(fingerprint_of(swapped), fingerprint_of(bytes));
  }
}

TEST(Fingerprint, ConstantBytesOfEveryValueDiffer) {
  std::set<std::uint64_t> seen;
  for (int value = 0; value < 256; ++value) seen.insert(fingerprint_of(Bytes(5000, static_cast<std::byte>(value))));
  EXPECT_EQ(seen.size(), 256U);
}

TEST(Fingerprint, OfNothingIsZero) { EXPECT_EQ(fingerprint_of({}), 0U); }

}  // namespace
}  // namespace stillframe::device
