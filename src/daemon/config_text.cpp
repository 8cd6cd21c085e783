#include "daemon/config_text.hpp"

#include <algorithm>

namespace stillframe::daemon {
namespace {

constexpr std::size_t kLongQuotes = 3;

bool is_letter_beyond_ascii(char c) noexcept { return static_cast<unsigned char>(c) >= 0x80; }

// What a backslash stands before, also at the end of its line: the parser looks at it as it does outside of strings.
std::optional<std::size_t> letter_behind_backslash(std::string_view toml, std::size_t at) noexcept {
  const std::size_t next = toml.find_first_not_of(" \t\r\n", at + 1);
  if (next == std::string_view::npos || !is_letter_beyond_ascii(toml[next])) return std::nullopt;
  return next;
}

// Behind the string that begins at `at`, or at a letter in it that is misplaced. One that is not ended on its line ends
// there: the parser stops at it as well.
std::size_t end_of_string(std::string_view toml, std::size_t at) noexcept {
  const char quote = toml[at];
  const bool escapes = quote == '"';
  const std::string_view quotes = toml.substr(at, kLongQuotes);
  const bool many_lines =
      quotes.size() == kLongQuotes && std::ranges::all_of(quotes, [&](char c) { return c == quote; });
  const std::size_t length = many_lines ? kLongQuotes : 1;
  for (std::size_t i = at + length; i < toml.size(); ++i) {
    if (escapes && toml[i] == '\\') {
      if (const auto letter = letter_behind_backslash(toml, i)) return *letter;
      ++i;
    } else if (!many_lines && toml[i] == '\n') {
      return i;
    } else if (toml.substr(i, length) == quotes.substr(0, length)) {
      return i + length;
    }
  }
  return toml.size();
}

// Inside of another token a quote begins no string: the parser reads on as it was, until it refuses the token.
bool begins_a_token(std::string_view toml, std::size_t at) noexcept {
  constexpr std::string_view kBefore = " \t\r\n=[{,.";
  return at == 0 || kBefore.find(toml[at - 1]) != std::string_view::npos;
}

}  // namespace

std::optional<std::uint32_t> line_of_misplaced_letter(std::string_view toml) noexcept {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  std::size_t at = toml.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
  while (at < toml.size()) {
    const char c = toml[at];
    if ((c == '"' || c == '\'') && begins_a_token(toml, at)) {
      at = end_of_string(toml, at);
    } else if (c == '#') {
      at = std::min(toml.find('\n', at), toml.size());
    } else if (is_letter_beyond_ascii(c)) {
      return static_cast<std::uint32_t>(1 + std::ranges::count(toml.substr(0, at), '\n'));
    } else {
      ++at;
    }
  }
  return std::nullopt;
}

}  // namespace stillframe::daemon
