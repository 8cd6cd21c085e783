// The policy as it travels: from Python over the C ABI, and from the trainer to the daemon.
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "retention/word_rules.hpp"

namespace stillframe::retention {
namespace {

using Json = nlohmann::ordered_json;  // members in the order of words()

constexpr std::size_t kMaxTextBytes = 64 * 1024;
constexpr int kMaxDepth = 3;  // the members of a best rule, in the list, in the policy

Json json_of(const std::vector<BestRule>& rules) {
  Json list = Json::array();
  for (const BestRule& rule : rules) {
    list.push_back({{"metric", rule.metric}, {"mode", rule.highest ? "max" : "min"}, {"count", rule.count}});
  }
  return list;
}

// Parses, and refuses what the library would pass over in silence: a member given twice, and all after a zero byte.
// What is nested deeper than a policy is never built: walking it would take a stack as deep.
std::optional<Json> parse_strictly(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) return std::nullopt;
  bool doubled = false;
  bool deep = false;
  std::vector<std::set<std::string>> open_objects;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    deep = deep || depth > kMaxDepth;
    if (deep) return false;
    if (event == Json::parse_event_t::object_start) open_objects.emplace_back();
    if (event == Json::parse_event_t::object_end) open_objects.pop_back();
    if (event == Json::parse_event_t::key) doubled |= !open_objects.back().insert(value.get<std::string>()).second;
    return true;
  };
  Json parsed = Json::parse(text, watch, /*allow_exceptions=*/false);
  if (parsed.is_discarded() || doubled || deep) return std::nullopt;
  return parsed;
}

std::string found_text(const Json& value) {
  if (value.is_number_integer()) return value.dump();
  if (value.is_structured()) return std::string("a value of type ") + value.type_name();
  return in_quotes(value.is_string() ? value.get<std::string>() : value.dump());
}

std::optional<BestRule> best_rule_of(const Json& value) {
  if (!value.is_object() || value.size() != 3) return std::nullopt;
  const auto metric = value.find("metric");
  const auto mode = value.find("mode");
  const auto count = value.find("count");
  if (metric == value.end() || mode == value.end() || count == value.end()) return std::nullopt;
  if (!metric->is_string() || !count->is_number_unsigned() || (*mode != "min" && *mode != "max")) return std::nullopt;
  if (count->get<std::uint64_t>() > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
  return BestRule{metric->get<std::string>(), *mode == "max", count->get<std::uint32_t>()};
}

std::optional<std::int64_t> step_of(const Json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() &&
      value.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) {
    return std::nullopt;
  }
  return value.get<std::int64_t>();
}

template <typename T>
Status read_list(const Word& word, const Json& value, std::optional<T> (*parse)(const Json&), std::vector<T>& list) {
  if (!value.is_array()) return refused(word, found_text(value));
  for (const Json& item : value) {
    std::optional<T> one = parse(item);
    if (!one) return refused(word, in_quotes(item.dump()));
    list.push_back(*std::move(one));
  }
  const auto offence = offence_of(list);
  return offence ? refused(word, *offence) : Status();
}

Status read_word(Policy& policy, const WordRule& rule, const Json& value) {
  if (rule.word.type == WordType::best) return read_list(rule.word, value, best_rule_of, policy.keep_best);
  if (rule.word.type == WordType::steps) return read_list(rule.word, value, step_of, policy.keep_steps);
  if (!value.is_number_unsigned() || !rule.accepts(value.get<std::uint64_t>())) {
    return refused(rule.word, found_text(value));
  }
  rule.set(policy, value.get<std::uint64_t>());
  return {};
}

}  // namespace

bool is_utf8(const std::string& text) {
  try {
    return !Json(text).dump().empty();
  } catch (const Json::exception&) {
    return false;
  }
}

std::string policy_to_json(const Policy& policy) {
  Json json = Json::object();
  for (const WordRule& rule : word_rules()) {
    Json& value = json[std::string(rule.word.name)];
    if (rule.word.type == WordType::best) {
      value = json_of(policy.keep_best);
    } else if (rule.word.type == WordType::steps) {
      value = policy.keep_steps;
    } else {
      value = rule.get(policy);
    }
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<Policy> policy_from_json(std::string_view text) {
  const auto unusable = [](const std::string& why) {
    return Status(Code::invalid_argument, "the retention policy is refused: " + why);
  };
  if (text.size() > kMaxTextBytes) return unusable("it has more than " + std::to_string(kMaxTextBytes) + " bytes");
  const auto json = parse_strictly(text);
  if (!json || !json->is_object()) {
    return unusable("it is not one JSON object in which every word stands once: " + in_quotes(text));
  }
  Policy policy;
  for (const auto& [word, value] : json->items()) {
    const WordRule* rule = find_rule(word);
    if (rule == nullptr) return unusable("expected a known word, found " + in_quotes(word));
    if (const Status read = read_word(policy, *rule, value); !read.ok()) return unusable(read.message());
  }
  return policy;
}

}  // namespace stillframe::retention
