// Words from text: flags of both programs, and strings in TOML.
#include <array>
#include <charconv>
#include <utility>

#include "base/bytes.hpp"
#include "retention/word_rules.hpp"

namespace stillframe::retention {
namespace {

using Suffix = std::pair<std::string_view, std::uint64_t>;
constexpr std::array<Suffix, 5> kSeconds{{{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86'400}}};
constexpr std::array<Suffix, 10> kBytes{{{"", 1},
                                         {"B", 1},
                                         {"kB", 1'000},
                                         {"MB", 1'000'000},
                                         {"GB", 1'000'000'000},
                                         {"TB", 1'000'000'000'000},
                                         {"KiB", 1ULL << 10},
                                         {"MiB", 1ULL << 20},
                                         {"GiB", 1ULL << 30},
                                         {"TiB", 1ULL << 40}}};
constexpr std::array<Suffix, 1> kPlain{{{"", 1}}};
constexpr std::string_view kBlanks = " \t";

std::string_view trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

template <typename Integer>
std::optional<Integer> integer_of(std::string_view text) {
  Integer value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::span<const Suffix> suffixes_of(WordType type) {
  if (type == WordType::duration) return kSeconds;
  if (type == WordType::bytes) return kBytes;
  return kPlain;
}

std::optional<std::uint64_t> number_of(WordType type, std::string_view text) {
  const auto digits = text.find_first_not_of("0123456789");
  const std::string_view suffix = digits == std::string_view::npos ? "" : trimmed(text.substr(digits));
  const auto value = integer_of<std::uint64_t>(text.substr(0, digits));
  if (!value) return std::nullopt;
  for (const auto& [name, unit] : suffixes_of(type)) {
    if (name == suffix) return base::checked_mul(*value, unit);
  }
  return std::nullopt;
}

// The parts between separators, without blanks around them.
std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto end = text.find(separator);
    parts.push_back(trimmed(text.substr(0, end)));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::optional<BestRule> best_rule_of(std::string_view text) {
  const auto fields = split(text, ':');
  if (fields.size() > 3) return std::nullopt;
  BestRule rule;
  rule.metric = fields[0];
  if (fields.size() > 1) {
    if (fields[1] != "min" && fields[1] != "max") return std::nullopt;
    rule.highest = fields[1] == "max";
  }
  if (fields.size() > 2) {
    const auto count = integer_of<std::uint32_t>(fields[2]);
    if (!count) return std::nullopt;
    rule.count = *count;
  }
  return rule;
}

std::optional<std::int64_t> step_of(std::string_view text) { return integer_of<std::int64_t>(text); }

// Replaces `list` when every part of the text is what `parse` takes, and offence_of() finds nothing in them.
template <typename T>
Status set_list(const Word& word, std::string_view text, std::optional<T> (*parse)(std::string_view),
                std::vector<T>& list) {
  std::vector<T> found;
  if (!trimmed(text).empty()) {
    for (const std::string_view part : split(text, ',')) {
      std::optional<T> one = parse(part);
      if (!one) return refused(word, in_quotes(part));
      found.push_back(*std::move(one));
    }
  }
  if (const auto offence = offence_of(found)) return refused(word, *offence);
  list = std::move(found);
  return {};
}

}  // namespace

Status set_word(Policy& policy, std::string_view word, std::string_view text) {
  const WordRule* rule = find_rule(word);
  if (rule == nullptr)
    return {Code::invalid_argument, std::string(word) + ": expected a known word, found an unknown one"};
  if (rule->word.type == WordType::best) return set_list(rule->word, text, best_rule_of, policy.keep_best);
  if (rule->word.type == WordType::steps) return set_list(rule->word, text, step_of, policy.keep_steps);
  const std::string_view given = trimmed(text);
  const auto value = number_of(rule->word.type, given);
  if (!value || !rule->accepts(*value)) {
    return refused(rule->word, integer_of<std::int64_t>(given) ? std::string(given) : in_quotes(text));
  }
  rule->set(policy, *value);
  return {};
}

}  // namespace stillframe::retention
