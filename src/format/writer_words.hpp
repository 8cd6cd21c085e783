// What the member `writer` of a manifest says: the program, and behind it at which level it encoded and whether what
// came from GPUs was checked there. The format has no member of its own for these (docs/format.md), and a reader takes
// any text. Pure.
#pragma once

#include <string>
#include <string_view>

namespace stillframe::format {

// "stillframe 0.1.0", "stillframe 0.1.0, level fast, checked against the device". An empty level is not said: nothing
// was encoded.
[[nodiscard]] std::string writer_words(std::string_view program, std::string_view level, bool checked);
[[nodiscard]] bool says_checked(std::string_view writer) noexcept;
// Empty when none is said.
[[nodiscard]] std::string_view said_level(std::string_view writer) noexcept;

}  // namespace stillframe::format
