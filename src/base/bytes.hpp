// Little-endian fields, hex, and views over bytes. Pure.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace stillframe::base {

static_assert(std::endian::native == std::endian::little, "Stillframe's files and shared memory are little-endian");

[[nodiscard]] inline std::span<const std::byte> as_bytes(std::string_view text) noexcept {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
[[nodiscard]] inline std::string_view as_text(std::span<const std::byte> bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The caller has checked that the field lies inside `bytes`.
template <std::unsigned_integral T>
[[nodiscard]] T load_le(std::span<const std::byte> bytes, std::size_t offset) noexcept {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}
template <std::unsigned_integral T>
void store_le(std::span<std::byte> bytes, std::size_t offset, T value) noexcept {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

// The longest beginning of at most `most_bytes` that cuts no character in two.
[[nodiscard]] inline std::string_view utf8_prefix(std::string_view utf8, std::size_t most_bytes) noexcept {
  if (utf8.size() <= most_bytes) return utf8;
  while (most_bytes > 0 && (static_cast<unsigned char>(utf8[most_bytes]) & 0xC0U) == 0x80U) --most_bytes;
  return utf8.substr(0, most_bytes);
}

// nullopt on overflow.
[[nodiscard]] inline std::optional<std::uint64_t> checked_mul(std::uint64_t a, std::uint64_t b) noexcept {
  std::uint64_t product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}
[[nodiscard]] inline std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) noexcept {
  std::uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}
[[nodiscard]] constexpr std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) noexcept {
  return a / b + (a % b != 0);
}

// "12.5 MiB"
[[nodiscard]] std::string human_bytes(std::uint64_t bytes);

// The text, or as many whole characters from its start as `limit_bytes` hold and an ellipsis behind them.
[[nodiscard]] std::string shortened(std::string_view utf8, std::size_t limit_bytes);

}  // namespace stillframe::base
