// Bytes to encode: what training leaves, and what it does not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace stillframe::codec {

using Bytes = std::vector<std::byte>;

inline std::uint32_t u32(std::size_t value) { return static_cast<std::uint32_t>(value); }

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint32_t next() {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<std::uint32_t>(state_ >> 33U);
  }
  std::uint32_t below(std::uint32_t limit) { return next() % limit; }
  // The sum of twelve uniforms: near enough to a normal distribution.
  float normal() {
    float sum = -6;
    for (int i = 0; i < 12; ++i) sum += static_cast<float>(next()) / 2147483648.0F;
    return sum;
  }

 private:
  std::uint64_t state_;
};

inline Bytes noise(std::size_t bytes, std::uint64_t seed) {
  Random random(seed);
  Bytes data(bytes);
  for (std::byte& byte : data) byte = static_cast<std::byte>(random.next() >> 8U);
  return data;
}

// Like trained weights: small normal values, one in eight exactly zero.
inline Bytes weights(std::size_t bytes, std::uint64_t seed) {
  Random random(seed);
  Bytes data(bytes);
  for (std::size_t at = 0; at + 4 <= bytes; at += 4) {
    const float value = random.below(8) == 0 ? 0.0F : 0.02F * random.normal();
    std::memcpy(data.data() + at, &value, sizeof value);
  }
  return data;
}

// Like a second moment: positive, of many sizes, neighbours alike.
inline Bytes moments(std::size_t bytes, std::uint64_t seed) {
  Random random(seed);
  Bytes data(bytes);
  float scale = 1e-6F;
  for (std::size_t at = 0; at + 4 <= bytes; at += 4) {
    if (at % 256 == 0) scale = 1e-9F * static_cast<float>(1U << random.below(24));
    const float value = scale * (1.0F + static_cast<float>(random.below(1000)) / 1000.0F);
    std::memcpy(data.data() + at, &value, sizeof value);
  }
  return data;
}

}  // namespace stillframe::codec
