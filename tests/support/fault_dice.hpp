// The choices that make one survivor of a power loss: all from one seed, so that the same seed gives the same survivor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace stillframe::test {

// The last step of splitmix64: every bit of the answer depends on every bit of `value`.
[[nodiscard]] constexpr std::uint64_t mix_bits(std::uint64_t value) noexcept {
  value = (value ^ (value >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  value = (value ^ (value >> 27U)) * 0x94D049BB133111EBULL;
  return value ^ (value >> 31U);
}

class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(mix_bits(seed + 0x9E3779B97F4A7C15ULL)) {}
  std::uint64_t next() noexcept { return mix_bits(state_ += 0x9E3779B97F4A7C15ULL); }
  // 0 … limit-1; `limit` is small and not 0.
  std::size_t below(std::size_t limit) noexcept { return static_cast<std::size_t>(next() % limit); }
  bool percent(std::size_t chance) noexcept { return below(100) < chance; }

 private:
  std::uint64_t state_;
};

class FaultDice {
 public:
  static constexpr std::uint64_t kOnlySynced = 0;  // the seed of the survivor that holds what was synced and no more
  static constexpr std::uint64_t kEverything = 1;  // of the one that lost nothing

  explicit FaultDice(std::uint64_t seed) noexcept : seed_(seed), random_(seed) {
    constexpr std::size_t kBiases = 3;
    kept_percent_ = 20 + 30 * random_.below(kBiases);
  }

  [[nodiscard]] bool is_drawn() const noexcept { return seed_ > kEverything; }
  // Whether a change that was not synced reached the disk.
  bool keeps() noexcept { return is_drawn() ? random_.percent(kept_percent_) : seed_ == kEverything; }
  // One of `versions` states in the order in which they came; the first is what was synced.
  std::size_t version(std::size_t versions) noexcept {
    if (!is_drawn()) return seed_ == kEverything ? versions - 1 : 0;
    return keeps() ? versions - 1 : random_.below(versions);
  }
  std::size_t below(std::size_t limit) noexcept { return random_.below(limit); }
  bool percent(std::size_t chance) noexcept { return is_drawn() && random_.percent(chance); }

  // Survivors of one disk with equal fingerprints are equal.
  void note(std::uint64_t choice) noexcept { fingerprint_ = mix_bits(fingerprint_ * 31 + choice + 1); }
  void note(std::string_view choice) noexcept {
    for (const char letter : choice) note(static_cast<unsigned char>(letter));
  }
  [[nodiscard]] std::uint64_t fingerprint() const noexcept { return fingerprint_; }

 private:
  std::uint64_t seed_;
  Random random_;
  std::size_t kept_percent_ = 0;
  std::uint64_t fingerprint_ = 0;
};

}  // namespace stillframe::test
