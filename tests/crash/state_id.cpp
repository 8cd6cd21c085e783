#include "crash/state_id.hpp"

#include <charconv>
#include <optional>

namespace stillframe::test {
namespace {

std::optional<std::uint64_t> number_of(std::string_view text) {
  std::uint64_t number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return number;
}

// Splits off what stands before the next `separator`.
std::string_view take(std::string_view& rest, char separator) {
  const std::size_t at = rest.find(separator);
  const std::string_view part = rest.substr(0, at);
  rest = at == std::string_view::npos ? std::string_view() : rest.substr(at + 1);
  return part;
}

std::optional<std::vector<std::uint64_t>> numbers_of(std::string_view text) {
  std::vector<std::uint64_t> numbers;
  do {
    const auto number = number_of(take(text, '.'));
    if (!number) return std::nullopt;
    numbers.push_back(*number);
  } while (!text.empty());
  return numbers;
}

}  // namespace

std::string to_string(const StateId& id) {
  std::string changes;
  std::string survivors;
  for (const Crash& crash : id.crashes) {
    if (!changes.empty()) changes += '.';
    if (!survivors.empty()) survivors += '.';
    changes += std::to_string(crash.n);
    survivors += std::to_string(crash.survivor);
  }
  return id.scenario + ":n=" + changes + ":survivor=" + survivors + ":seed=" + std::to_string(id.seed);
}

Result<StateId> parse_state_id(std::string_view text) {
  const Status unreadable(Code::invalid_argument, "'" + std::string(text) +
                                                      "' names no state; expected something like "
                                                      "commit:n=17:survivor=3:seed=1");
  StateId id;
  id.scenario = take(text, ':');
  std::optional<std::vector<std::uint64_t>> changes;
  std::optional<std::vector<std::uint64_t>> survivors;
  std::optional<std::uint64_t> seed;
  while (!text.empty()) {
    std::string_view value = take(text, ':');
    const std::string_view key = take(value, '=');
    if (key == "n") {
      changes = numbers_of(value);
    } else if (key == "survivor") {
      survivors = numbers_of(value);
    } else if (key == "seed") {
      seed = number_of(value);
    } else {
      return unreadable;
    }
  }
  if (!changes || !survivors || !seed || changes->size() != survivors->size()) return unreadable;
  id.seed = *seed;
  for (std::size_t i = 0; i < changes->size(); ++i) id.crashes.push_back({(*changes)[i], (*survivors)[i]});
  return id;
}

}  // namespace stillframe::test
