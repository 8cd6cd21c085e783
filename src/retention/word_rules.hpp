// What each word of a policy accepts and where its value goes: the one list behind check(), text and JSON. Private to
// this folder. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "retention/policy.hpp"

namespace stillframe::retention {

struct WordRule {
  Word word;
  // Of the numbers; a list has its own checks below, and no get() and set().
  std::uint64_t least = 0;
  std::uint64_t most = 0;
  std::uint64_t (*get)(const Policy&) = nullptr;
  void (*set)(Policy&, std::uint64_t) = nullptr;

  [[nodiscard]] bool accepts(std::uint64_t value) const noexcept { return value >= least && value <= most; }
};

[[nodiscard]] std::span<const WordRule> word_rules();
[[nodiscard]] const WordRule* find_rule(std::string_view word);

// What of the list is not accepted, quoted for an error; nullopt when all of it is.
[[nodiscard]] std::optional<std::string> offence_of(const std::vector<BestRule>& rules);
[[nodiscard]] std::optional<std::string> offence_of(const std::vector<std::int64_t>& steps);

// "<word>: expected <what the word expects>, found <found>"
[[nodiscard]] Status refused(const Word& word, const std::string& found);
// In quotation marks, cut to a length that fits a line, without control characters.
[[nodiscard]] std::string in_quotes(std::string_view text);
[[nodiscard]] bool is_utf8(const std::string& text);

}  // namespace stillframe::retention
