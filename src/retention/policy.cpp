#include "retention/policy.hpp"

#include <algorithm>
#include <limits>

#include "retention/word_rules.hpp"

namespace stillframe::retention {
namespace {

constexpr std::uint64_t kMaxCount = 1'000'000;
constexpr std::uint64_t kMaxSeconds = 100ULL * 365 * 86'400;
constexpr std::uint64_t kMaxInteger = std::numeric_limits<std::int64_t>::max();  // as far as TOML counts
constexpr std::size_t kMaxBestRules = 16;
constexpr std::size_t kMaxSteps = 1000;
constexpr std::size_t kMaxMetricBytes = 256;
constexpr std::size_t kMaxQuotedBytes = 80;

std::string range_text(std::uint64_t least, std::uint64_t most) {
  return "from " + std::to_string(least) + " to " + std::to_string(most);
}

std::string expectation(WordType type, std::uint64_t least, std::uint64_t most) {
  switch (type) {
    case WordType::count:
      return "an integer " + range_text(least, most);
    case WordType::duration:
      return "seconds " + range_text(least, most) + ", as an integer or with s, m, h or d";
    case WordType::bytes:
      return "bytes " + range_text(least, most) + ", as an integer or with kB, MB, GB, TB, KiB, MiB, GiB or TiB";
    case WordType::best:
      return "a list of at most " + std::to_string(kMaxBestRules) +
             " different <metric>[:min|max[:<count>]], such as \"loss:min:1, accuracy:max:2\", with counts " +
             range_text(1, kMaxCount);
    case WordType::steps:
      return "a list of at most " + std::to_string(kMaxSteps) + " integers, such as \"1000, 2000\"";
  }
  return {};
}

template <auto Field>
WordRule number(std::string_view name, WordType type, std::uint64_t least, std::uint64_t most, std::string_view unit,
                std::string_view help) {
  WordRule rule;
  rule.word = {name, type, unit, help, expectation(type, least, most)};
  rule.least = least;
  rule.most = most;
  rule.get = [](const Policy& policy) -> std::uint64_t { return policy.*Field; };
  rule.set = [](Policy& policy, std::uint64_t value) {
    policy.*Field = static_cast<std::remove_reference_t<decltype(policy.*Field)>>(value);
  };
  return rule;
}

WordRule list(std::string_view name, WordType type, std::string_view unit, std::string_view help) {
  WordRule rule;
  rule.word = {name, type, unit, help, expectation(type, 0, 0)};
  return rule;
}

std::vector<WordRule> make_rules() {
  return {
      number<&Policy::keep_last>("keep_last", WordType::count, 1, kMaxCount, "checkpoints",
                                 "the newest so many checkpoints of the run stay"),
      list("keep_best", WordType::best, "checkpoints",
           "the best by a metric stay: <metric>[:min|max[:<count>]], several separated by commas; empty: off"),
      number<&Policy::keep_every_steps>(
          "keep_every_steps", WordType::count, 0, kMaxInteger, "steps",
          "the first checkpoint at or after each multiple of so many steps stays; 0: off"),
      number<&Policy::keep_every_seconds>("keep_every_seconds", WordType::duration, 0, kMaxSeconds, "seconds",
                                          "one checkpoint in every so many seconds stays; 0: off"),
      number<&Policy::keep_for_seconds>("keep_for_seconds", WordType::duration, 0, kMaxSeconds, "seconds",
                                        "every checkpoint of the last so many seconds stays; 0: off"),
      list("keep_steps", WordType::steps, "steps",
           "the checkpoints of these steps stay, separated by commas; empty: off"),
      number<&Policy::max_bytes>("max_bytes", WordType::bytes, 0, kMaxInteger, "bytes",
                                 "the whole store takes at most so many bytes; 0: off"),
      number<&Policy::min_free_bytes>("min_free_bytes", WordType::bytes, 0, kMaxInteger, "bytes",
                                      "so many bytes stay free on the store's file system; 0: none"),
      number<&Policy::min_verified>("min_verified", WordType::count, 1, kMaxCount, "checkpoints",
                                    "the newest so many verified checkpoints stay, whatever the limits say"),
  };
}

// Characters that part the fields where a rule is written as text, here and in addresses (@best:<metric>:min).
bool is_metric_name(const std::string& name) {
  const auto forbidden = [](char c) {
    return c == ',' || c == ':' || static_cast<unsigned char>(c) < 0x20 || c == '\x7f';
  };
  return !name.empty() && name.size() <= kMaxMetricBytes && name.front() != ' ' && name.back() != ' ' &&
         std::ranges::none_of(name, forbidden) && is_utf8(name);
}

}  // namespace

std::span<const WordRule> word_rules() {
  static const std::vector<WordRule> rules = make_rules();
  return rules;
}

const WordRule* find_rule(std::string_view word) {
  const auto rules = word_rules();
  const auto found = std::ranges::find(rules, word, [](const WordRule& rule) { return rule.word.name; });
  return found == rules.end() ? nullptr : &*found;
}

std::span<const Word> words() {
  static const std::vector<Word> all = [] {
    std::vector<Word> found;
    for (const WordRule& rule : word_rules()) found.push_back(rule.word);
    return found;
  }();
  return all;
}

std::optional<std::string> offence_of(const std::vector<BestRule>& rules) {
  if (rules.size() > kMaxBestRules) return std::to_string(rules.size()) + " rules";
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const BestRule& rule = rules[i];
    if (!is_metric_name(rule.metric)) {
      return "the metric " + in_quotes(rule.metric) + " (a name is 1 to " + std::to_string(kMaxMetricBytes) +
             " bytes of UTF-8 without ',', ':' and control characters)";
    }
    if (rule.count < 1 || rule.count > kMaxCount) return "the count " + std::to_string(rule.count);
    for (std::size_t j = 0; j < i; ++j) {
      if (rules[j].metric == rule.metric && rules[j].highest == rule.highest) {
        return in_quotes(rule.metric + (rule.highest ? ":max" : ":min")) + " twice";
      }
    }
  }
  return std::nullopt;
}

std::optional<std::string> offence_of(const std::vector<std::int64_t>& steps) {
  if (steps.size() > kMaxSteps) return std::to_string(steps.size()) + " steps";
  return std::nullopt;
}

Status refused(const Word& word, const std::string& found) {
  return {Code::invalid_argument, std::string(word.name) + ": expected " + word.expected + ", found " + found};
}

std::string in_quotes(std::string_view text) {
  std::string out(text.substr(0, kMaxQuotedBytes));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == '\x7f') c = '?';
  }
  return '"' + out + (text.size() > kMaxQuotedBytes ? "…\"" : "\"");
}

Status check(const Policy& policy) {
  for (const WordRule& rule : word_rules()) {
    if (rule.get != nullptr && !rule.accepts(rule.get(policy))) {
      return refused(rule.word, std::to_string(rule.get(policy)));
    }
  }
  if (const auto offence = offence_of(policy.keep_best)) return refused(find_rule("keep_best")->word, *offence);
  if (const auto offence = offence_of(policy.keep_steps)) return refused(find_rule("keep_steps")->word, *offence);
  return {};
}

}  // namespace stillframe::retention
