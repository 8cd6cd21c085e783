#include <algorithm>
#include <charconv>

#include "format/tree_check.hpp"

namespace stillframe::format {
namespace {

// Beyond it a double, and so many a JSON reader, no longer tells integers apart.
constexpr std::uint64_t kPlainIntEnd = 1ULL << 53;

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

int base64_digit(char c) noexcept {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const std::size_t at = kAlphabet.find(c);
  return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

}  // namespace

bool is_plain_int(const JsonValue& value) noexcept {
  const auto* integer = value.get_if<JsonInteger>();
  return integer != nullptr && integer->magnitude < kPlainIntEnd;
}

bool is_plain_float(const JsonValue& value) noexcept {
  const auto* number = value.get_if<JsonFloat>();
  return number != nullptr && number->text.find_first_of(".eE") != std::string::npos;
}

bool is_big_int(std::string_view decimal) noexcept {
  if (!decimal.empty() && decimal.front() == '-') decimal.remove_prefix(1);
  if (decimal.empty() || decimal.front() == '0' || !std::all_of(decimal.begin(), decimal.end(), is_digit)) return false;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(decimal.data(), decimal.data() + decimal.size(), value);
  return error == std::errc::result_out_of_range || value >= kPlainIntEnd;
}

bool is_special_float(std::string_view text) noexcept {
  if (text == "nan" || text == "inf" || text == "-inf") return true;
  constexpr std::string_view kBits = "bits:";
  if (text.substr(0, kBits.size()) != kBits) return false;
  text.remove_prefix(kBits.size());
  std::uint64_t bits = 0;
  if (text.size() != 16 || !is_lower_hex(text)) return false;
  std::from_chars(text.data(), text.data() + text.size(), bits, 16);
  constexpr std::uint64_t kExponent = 0x7ff0'0000'0000'0000, kMantissa = 0x000f'ffff'ffff'ffff;
  constexpr std::uint64_t kUsualNan = 0x7ff8'0000'0000'0000;
  return (bits & kExponent) == kExponent && (bits & kMantissa) != 0 && bits != kUsualNan;
}

bool is_lower_hex(std::string_view text) noexcept {
  return std::all_of(text.begin(), text.end(), [](char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); });
}

std::optional<std::size_t> base64_bytes(std::string_view text) noexcept {
  if (text.size() % 4 != 0) return std::nullopt;
  if (text.empty()) return 0;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  const std::string_view digits = text.substr(0, text.size() - padding);
  if (!std::all_of(digits.begin(), digits.end(), [](char c) { return base64_digit(c) >= 0; })) return std::nullopt;
  const unsigned unused_bits = padding == 2 ? 15U : padding == 1 ? 3U : 0U;
  if ((static_cast<unsigned>(base64_digit(digits.back())) & unused_bits) != 0) return std::nullopt;
  return text.size() / 4 * 3 - padding;
}

std::optional<std::uint32_t> numpy_item_bytes(std::string_view dtype) noexcept {
  constexpr std::string_view kOneByte[] = {"|b1", "|i1", "|u1"};
  if (std::find(std::begin(kOneByte), std::end(kOneByte), dtype) != std::end(kOneByte)) return 1;
  if (dtype.empty() || (dtype.front() != '<' && dtype.front() != '>')) return std::nullopt;
  const std::string_view kind = dtype.substr(1);
  if (kind == "i2" || kind == "u2" || kind == "f2") return 2;
  if (kind == "i4" || kind == "u4" || kind == "f4") return 4;
  if (kind == "i8" || kind == "u8" || kind == "f8" || kind == "c8") return 8;
  if (kind == "c16") return 16;
  return std::nullopt;
}

}  // namespace stillframe::format
