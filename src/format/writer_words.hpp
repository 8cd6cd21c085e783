// What the member `writer` of a manifest says: the program, and behind it whether what came from GPUs was checked
// there. Version 1 has no member of its own for it (docs/format.md), and a reader takes any text. Pure.
#pragma once

#include <string>
#include <string_view>

namespace stillframe::format {

// "stillframe 0.1.0", or "stillframe 0.1.0, checked against the device".
[[nodiscard]] std::string writer_words(std::string_view program, bool checked);
[[nodiscard]] bool says_checked(std::string_view writer) noexcept;

}  // namespace stillframe::format
