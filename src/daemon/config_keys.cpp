#include "daemon/config_keys.hpp"

#include <algorithm>
#include <charconv>
#include <concepts>
#include <numeric>

#include "daemon/admission.hpp"
#include "stillframe/types.hpp"

namespace stillframe::daemon {
namespace {

constexpr std::uint64_t kDaySeconds = 86'400;
constexpr std::uint64_t kYearSeconds = 365 * kDaySeconds;
constexpr std::uint64_t kMostSteps = 1'000'000'000'000;
constexpr std::size_t kMaxSocketPathBytes = 107;  // sockaddr_un, without its closing zero

struct Range {
  std::uint64_t least = 0;
  std::uint64_t most = 0;
  bool or_zero = false;
};

ConfigKey make_key(const std::string& name, const std::string& type, const std::string& description) {
  std::string flag = "--" + name;
  std::ranges::replace(flag, '.', '-');
  std::ranges::replace(flag, '_', '-');
  return {name, flag, type, description};
}

// `field` gives the place in a Config; its type takes every value of the range.
template <typename Field>
KeyRule integer_key(const std::string& name, const Range& range, Field field, const std::string& description) {
  KeyRule rule;
  rule.key = make_key(name, "integer", description);
  rule.expected = "an integer from " + std::to_string(range.least) + " to " + std::to_string(range.most) +
                  (range.or_zero ? ", or 0" : "");
  rule.set_integer = [range, field](Config& config, std::uint64_t value) {
    const bool inside = value >= range.least && value <= range.most;
    if (!inside && !(range.or_zero && value == 0)) return false;
    auto& place = field(config);
    place = static_cast<std::remove_reference_t<decltype(place)>>(value);
    return true;
  };
  return rule;
}

KeyRule string_key(const std::string& name, const std::string& expected,
                   std::function<bool(Config&, const std::string&)> set, const std::string& description) {
  KeyRule rule;
  rule.key = make_key(name, "string", description);
  rule.expected = expected;
  rule.set_string = std::move(set);
  return rule;
}

// Absolute, because a detached daemon works from the root directory; a zero byte would cut the path short.
bool is_absolute_or_empty(const std::string& path) {
  return path.empty() || (path.front() == '/' && path.find('\0') == std::string::npos);
}

KeyRule path_key(const std::string& name, std::string Config::*field, const std::string& description) {
  return string_key(
      name, "an absolute path, or an empty string",
      [field](Config& config, const std::string& value) {
        if (!is_absolute_or_empty(value)) return false;
        config.*field = value;
        return true;
      },
      description);
}

bool set_socket(Config& config, const std::string& value) {
  if (!is_absolute_or_empty(value) || value.size() > kMaxSocketPathBytes) return false;
  config.socket = value;
  return true;
}

bool set_level(Config& config, const std::string& value) {
  const auto level = codec::level_from_name(value);
  if (level) config.level = *level;
  return level.has_value();
}

bool set_log_level(Config& config, const std::string& value) {
  const auto level = base::log_level_from_name(value);
  if (level) config.log_level = *level;
  return level.has_value();
}

// The words of retention check themselves: the section has the very words of Python and the command line.
KeyRule retention_key(const retention::Word& word) {
  KeyRule rule;
  const std::string name(word.name);
  const bool plain = word.type == retention::WordType::count;
  rule.key = make_key("retention." + name, plain ? "integer" : "string", std::string(word.help));
  rule.expected = word.expected;
  rule.set_text = [name](Config& config, const std::string& text) -> Status {
    const Status set = retention::set_word(config.retention, name, text);
    return set.ok() ? set : Status(set.code(), set.message().substr(name.size() + 2));
  };
  return rule;
}

KeyRule uids_key() {
  KeyRule rule;
  rule.key = make_key("daemon.allowed_uids", "string",
                      "user ids served besides the daemon's own and 0, which always are: \"1000, 1001\"; the socket's directory "
                      "must let them in");
  rule.expected = expected_uids();
  rule.set_text = [](Config& config, const std::string& text) { return parse_uids(text, config.allowed_uids); };
  return rule;
}

std::vector<KeyRule> make_rules() {
  std::vector<KeyRule> rules;
  rules.push_back(string_key("daemon.socket", "an absolute path of at most 107 bytes", set_socket,
                             "path of the Unix socket to serve (required: here or as a flag)"));
  rules.push_back(integer_key(
      "daemon.idle_exit_seconds", {0, kYearSeconds}, [](Config & c) -> auto& { return c.idle_exit_seconds; },
      "leave after so many seconds without a client or work; 0: never"));
  rules.push_back(integer_key(
      "daemon.shutdown_deadline_seconds", {1, kDaySeconds},
      [](Config & c) -> auto& { return c.shutdown_deadline_seconds; },
      "a graceful stop finishes what is captured within so many seconds"));
  rules.push_back(integer_key(
      "daemon.max_clients", {1, 4096}, [](Config & c) -> auto& { return c.max_clients; },
      "connections served at once; more are refused"));
  rules.push_back(uids_key());
  rules.push_back(path_key("daemon.private_store", &Config::private_store,
                           "serve only this store (its real path); empty: every store"));
  rules.push_back(integer_key(
      "arena.budget_bytes", {kChunkBytes, kMaxImageBytes, true}, [](Config & c) -> auto& { return c.budget_bytes; },
      "host memory of all clients together, in bytes; 0: half of what is available at start"));
  rules.push_back(integer_key(
      "arena.hot_restore_seconds", {0, kDaySeconds}, [](Config & c) -> auto& { return c.hot_restore_seconds; },
      "the newest image of a killed trainer stays in memory so long for the next one; 0: only until it is durable"));
  rules.push_back(integer_key(
      "persist.encoder_threads", {0, 256}, [](Config & c) -> auto& { return c.encoder_threads; },
      "threads that encode chunks; 0: one per core, at most 8"));
  rules.push_back(string_key("persist.level", "\"raw\", \"fast\" or \"default\"", set_level,
                             "how much work for fewer bytes: raw, fast or default"));
  rules.push_back(integer_key(
      "persist.every_steps", {0, kMostSteps}, [](Config & c) -> auto& { return c.persist_every_steps; },
      "only the first snapshot at or after each multiple of so many steps goes to the store; 0: not counted"));
  rules.push_back(integer_key(
      "persist.every_seconds", {0, kYearSeconds}, [](Config & c) -> auto& { return c.persist_every_seconds; },
      "a snapshot goes to the store so many seconds after the last one that did; 0: not counted"));
  rules.push_back(integer_key(
      "persist.group_deadline_seconds", {1, kDaySeconds}, [](Config & c) -> auto& { return c.group_deadline_seconds; },
      "ranks of a group seal the same step within so many seconds, else none is kept"));
  for (const retention::Word& word : retention::words()) rules.push_back(retention_key(word));
  rules.push_back(integer_key(
      "scrub.bytes_per_second", {1024, kMaxImageBytes, true}, [](Config & c) -> auto& { return c.scrub_bytes_per_second; },
      "checkpoints are re-read in the background at this rate at most, in bytes per second; 0: not at all"));
  rules.push_back(integer_key(
      "scrub.every_seconds", {0, 10 * kYearSeconds}, [](Config & c) -> auto& { return c.scrub_every_seconds; },
      "a verified checkpoint is re-read when it was verified so many seconds ago; 0: never again"));
  rules.push_back(string_key("log.level", "\"debug\", \"info\", \"warn\", \"error\" or \"off\"", set_log_level,
                             "least severe event that is logged: debug, info, warn, error or off"));
  rules.push_back(path_key("log.path", &Config::log_path, "log file, appended to; empty: standard error"));
  return rules;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

const std::vector<KeyRule>& key_rules() {
  static const std::vector<KeyRule> rules = make_rules();
  return rules;
}

const std::vector<ConfigKey>& config_keys() {
  static const std::vector<ConfigKey> keys = [] {
    std::vector<ConfigKey> result;
    for (const KeyRule& rule : key_rules()) result.push_back(rule.key);
    return result;
  }();
  return keys;
}

std::string nearest(std::string_view text, const std::vector<std::string>& candidates) {
  // Far longer names than any key are not looked at: the distance costs the product of the lengths.
  if (text.size() > 128) return {};
  std::string best;
  std::size_t best_distance = 0;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(text, candidate);
    const std::size_t limit = std::max<std::size_t>(2, std::max(candidate.size(), text.size()) / 3);
    if (distance > limit || (!best.empty() && distance >= best_distance)) continue;
    best = candidate;
    best_distance = distance;
  }
  return best;
}

std::string suggested_key(std::string_view name) {
  std::vector<std::string> names;
  for (const KeyRule& known : key_rules()) names.push_back(known.key.name);
  return nearest(name, names);
}

Status set_config_key(Config& config, const std::string& name, const std::string& value) {
  const auto& rules = key_rules();
  const auto rule = std::ranges::find(rules, name, [](const KeyRule& r) { return r.key.name; });
  if (rule == rules.end()) {
    const std::string suggested = suggested_key(name);
    return {Code::invalid_argument, name + ": expected a known key, found an unknown one" +
                                        (suggested.empty() ? "" : "; did you mean " + suggested + "?")};
  }
  bool taken = false;
  if (rule->set_text) {
    const Status set = rule->set_text(config, value);
    return set.ok() ? set : Status(set.code(), rule->key.flag + ": " + set.message());
  }
  if (rule->set_string) {
    taken = rule->set_string(config, value);
  } else {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    const bool whole = error == std::errc{} && end == value.data() + value.size();
    taken = whole && rule->set_integer(config, number);
  }
  if (taken) return {};
  return {Code::invalid_argument, rule->key.flag + ": expected " + rule->expected + ", found \"" + value + "\""};
}

}  // namespace stillframe::daemon
