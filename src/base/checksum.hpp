// Checksums as the format names them (docs/format.md): XXH3-128, CRC-32 (zip polynomial), CRC-32C (Castagnoli).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace stillframe::base {

// XXH3-128, seed 0, in canonical (big-endian) byte order, so that hex() is what `xxhsum -H2` prints.
struct Hash128 {
  std::array<std::uint8_t, 16> bytes{};
  friend bool operator==(const Hash128&, const Hash128&) = default;
  [[nodiscard]] std::string hex() const;
  [[nodiscard]] static std::optional<Hash128> from_hex(std::string_view text) noexcept;
};

[[nodiscard]] Hash128 xxh128(std::span<const std::byte> data) noexcept;
[[nodiscard]] std::uint32_t crc32(std::span<const std::byte> data) noexcept;   // as zlib's crc32(0, …)
[[nodiscard]] std::uint32_t crc32c(std::span<const std::byte> data) noexcept;  // RFC 3720

// xxh128() and crc32() of bytes that come in pieces. Not thread-safe.
class PiecewiseHash {
 public:
  PiecewiseHash();
  ~PiecewiseHash();
  PiecewiseHash(const PiecewiseHash&) = delete;
  PiecewiseHash& operator=(const PiecewiseHash&) = delete;

  void add(std::span<const std::byte> piece) noexcept;
  // Of all that was added so far.
  [[nodiscard]] Hash128 xxh128() const noexcept;
  [[nodiscard]] std::uint32_t crc32() const noexcept { return crc32_; }

 private:
  struct State;
  std::unique_ptr<State> state_;
  std::uint32_t crc32_ = 0;
};

}  // namespace stillframe::base
