// What toml++ must not be given: it is undefined there. Private to this folder. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace stillframe::daemon {

// The line of the first byte beyond ASCII that stands outside of strings and comments, or behind a backslash in a string
// (at the end of its line as well). There toml++ 3.3 (is_non_ascii_horizontal_whitespace) runs into code that it declares
// unreachable.
[[nodiscard]] std::optional<std::uint32_t> line_of_misplaced_letter(std::string_view toml) noexcept;

}  // namespace stillframe::daemon
