#include "base/bytes.hpp"

#include <array>
#include <cstdio>

namespace stillframe::base {

std::string human_bytes(std::uint64_t bytes) {
  constexpr std::array kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text.data();
}

std::string shortened(std::string_view utf8, std::size_t limit_bytes) {
  if (utf8.size() <= limit_bytes) return std::string(utf8);
  const auto inside_a_character = [&](std::size_t at) {
    return (static_cast<unsigned char>(utf8[at]) & 0xC0U) == 0x80U;
  };
  std::size_t end = limit_bytes;
  while (end > 0 && inside_a_character(end)) --end;
  return std::string(utf8.substr(0, end)) + "…";
}

}  // namespace stillframe::base
