#include "format/names.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>

#include "stillframe/types.hpp"

namespace stillframe::format {
namespace {

constexpr std::size_t kMinDigits = 6;
constexpr std::string_view kStepWord = "-step";
constexpr std::string_view kLockPrefix = "run-";
constexpr std::string_view kLockSuffix = ".lock";
constexpr std::string_view kBestWord = "best";
constexpr std::string_view kBeforeNanWord = "before-nan";
constexpr std::size_t kMaxMetricNameBytes = 256;

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
bool all_digits(std::string_view text) noexcept { return std::all_of(text.begin(), text.end(), is_digit); }

std::string padded(std::uint64_t value, std::size_t digits) {
  std::string text = std::to_string(value);
  if (text.size() < digits) text.insert(0, digits - text.size(), '0');
  return text;
}

// nullopt unless padded(value, kMinDigits) would write `text`.
std::optional<std::uint64_t> parse_padded(std::string_view text) {
  if (text.size() < kMinDigits || !all_digits(text)) return std::nullopt;
  if (text.size() > kMinDigits && text.front() == '0') return std::nullopt;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::int64_t> parse_step(std::string_view text) {
  const bool negative = !text.empty() && text.front() == '-';
  const auto magnitude = parse_padded(negative ? text.substr(1) : text);
  if (!magnitude) return std::nullopt;
  constexpr std::uint64_t kLowest = 1ULL << 63;
  if (negative) {
    if (*magnitude == 0 || *magnitude > kLowest) return std::nullopt;
    return static_cast<std::int64_t>(0 - *magnitude);
  }
  if (*magnitude >= kLowest) return std::nullopt;
  return static_cast<std::int64_t>(*magnitude);
}

unsigned number(std::string_view digits) noexcept {
  unsigned value = 0;
  for (const char c : digits) value = value * 10 + static_cast<unsigned>(c - '0');
  return value;
}

// "20261122T123005Z", a real date and time.
bool is_utc_compact(std::string_view text) {
  if (text.size() != 16 || text[8] != 'T' || text[15] != 'Z') return false;
  if (!all_digits(text.substr(0, 8)) || !all_digits(text.substr(9, 6))) return false;
  const std::chrono::year_month_day date{std::chrono::year(static_cast<int>(number(text.substr(0, 4)))),
                                         std::chrono::month(number(text.substr(4, 2))),
                                         std::chrono::day(number(text.substr(6, 2)))};
  return date.ok() && number(text.substr(9, 2)) < 24 && number(text.substr(11, 2)) < 60 &&
         number(text.substr(13, 2)) < 60;
}

std::optional<std::string_view> without_suffix(std::string_view text, std::string_view suffix) {
  if (text.size() <= suffix.size() || text.substr(text.size() - suffix.size()) != suffix) return std::nullopt;
  return text.substr(0, text.size() - suffix.size());
}

bool is_run_name_char(char c) noexcept {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
}

std::string rank_file(std::uint32_t rank, std::string_view suffix) {
  return "rank-" + padded(rank, 5) + std::string(suffix);
}

// What stands behind "@best:", <metric>[:min|max]. False: it is not that.
bool parse_best(std::string_view text, Address& address) {
  const std::size_t colon = text.find(':');
  const std::string_view metric = text.substr(0, colon);
  const bool control =
      std::any_of(metric.begin(), metric.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; });
  if (metric.empty() || metric.size() > kMaxMetricNameBytes || control) return false;
  const std::string_view direction = colon == std::string_view::npos ? "min" : text.substr(colon + 1);
  if (direction != "min" && direction != "max") return false;
  address.metric = metric;
  address.highest = direction == "max";
  return true;
}

bool parse_selector(std::string_view text, Address& address) {
  if (text == "latest") return true;
  address.select = Select::best;
  if (text == kBestWord) return true;
  if (text.starts_with(kBestWord) && text.substr(kBestWord.size()).starts_with(':')) {
    return parse_best(text.substr(kBestWord.size() + 1), address);
  }
  address.select = Select::before_nan;
  if (text == kBeforeNanWord) return true;
  address.select = Select::step;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), address.step);
  return error == std::errc() && end == text.data() + text.size();
}

// Where '@' begins the selector, and ':' the run; npos: there is none.
struct Marks {
  std::size_t colon = std::string_view::npos;
  std::size_t at = std::string_view::npos;
};
Marks find_marks(std::string_view text) {
  Marks marks;
  const std::size_t last_slash = text.rfind('/');
  marks.at = text.find('@', last_slash == std::string_view::npos ? 0 : last_slash + 1);
  if (marks.at == std::string_view::npos) marks.at = text.rfind("@best:");
  const std::string_view before = text.substr(0, marks.at);
  const std::size_t slash = before.rfind('/');
  marks.colon = before.find(':', slash == std::string_view::npos ? 0 : slash + 1);
  return marks;
}

}  // namespace

std::string to_string(const CheckpointName& name) {
  const bool negative = name.step < 0;
  const auto bits = static_cast<std::uint64_t>(name.step);
  std::string text = padded(name.sequence, kMinDigits);
  text += kStepWord;
  if (negative) text += '-';
  return text + padded(negative ? 0 - bits : bits, kMinDigits) + "-" + name.utc;
}

std::optional<CheckpointName> parse_checkpoint_name(std::string_view text) {
  const std::size_t word = text.find(kStepWord);
  const std::size_t last_dash = text.rfind('-');
  if (word == std::string_view::npos || last_dash <= word + kStepWord.size()) return std::nullopt;
  const auto sequence = parse_padded(text.substr(0, word));
  const auto step = parse_step(text.substr(word + kStepWord.size(), last_dash - word - kStepWord.size()));
  const std::string_view utc = text.substr(last_dash + 1);
  if (!sequence || !step || !is_utc_compact(utc)) return std::nullopt;
  return CheckpointName{*sequence, *step, std::string(utc)};
}

std::string partial_name(std::string_view name, std::string_view run) {
  return std::string(name) + "." + std::string(run) + std::string(kPartialSuffix);
}

std::optional<PartialName> parse_partial_name(std::string_view text) {
  const auto stem = without_suffix(text, kPartialSuffix);
  if (!stem) return std::nullopt;
  const std::size_t dot = stem->find('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view name = stem->substr(0, dot);
  const std::string_view run = stem->substr(dot + 1);
  if (!parse_checkpoint_name(name) || !check_run_name(run).ok()) return std::nullopt;
  return PartialName{std::string(name), std::string(run)};
}

std::string removing_name(std::string_view name) { return std::string(name) + std::string(kRemovingSuffix); }

std::optional<std::string> parse_removing_name(std::string_view text) {
  const auto name = without_suffix(text, kRemovingSuffix);
  if (!name || !parse_checkpoint_name(*name)) return std::nullopt;
  return std::string(*name);
}

std::string run_lock_file(std::string_view run) {
  return std::string(kLockPrefix) + std::string(run) + std::string(kLockSuffix);
}
std::string data_file(std::uint32_t rank) { return rank_file(rank, ".data"); }
std::string safetensors_file(std::uint32_t rank) { return rank_file(rank, ".safetensors"); }
std::string table_file(std::uint32_t rank) { return rank_file(rank, ".table"); }
std::string shared_file(std::uint32_t rank, std::uint32_t index) {
  return rank_file(rank, ".shared-" + std::to_string(index) + ".data");
}

Status check_run_name(std::string_view run) {
  const std::string rule = "; a run name is 1 to " + std::to_string(kMaxRunNameBytes) + " of A-Z a-z 0-9 _ -";
  if (run.empty()) return {Code::invalid_argument, "the run name is empty" + rule};
  if (run.size() > kMaxRunNameBytes) {
    return {Code::invalid_argument, "the run name has " + std::to_string(run.size()) + " characters" + rule};
  }
  const auto bad = std::find_if_not(run.begin(), run.end(), is_run_name_char);
  if (bad != run.end()) {
    return {Code::invalid_argument,
            "the run name holds an unusable character at position " + std::to_string(bad - run.begin() + 1) + rule};
  }
  return {};
}

Result<Address> parse_address(std::string_view text) {
  const auto wrong = [&](const std::string& what) {
    return Status(Code::invalid_argument,
                  "address \"" + std::string(text.substr(0, 400)) + "\": " + what +
                      "; expected <store>[:<run>][@latest|@<step>|@best[:<metric>[:min|max]]|@before-nan]");
  };
  if (text.find('\0') != std::string_view::npos) return wrong("it holds a NUL character");
  const auto [colon, at] = find_marks(text);
  if (at != std::string_view::npos && text.find('@', at + 1) != std::string_view::npos) {
    return wrong("'@<selector>' must come last; end a store path that holds '@' or ':' with '/'");
  }

  Address address;
  address.store = text.substr(0, std::min({colon, at, text.size()}));
  if (address.store.empty()) return wrong("the store's path is missing");
  if (colon != std::string_view::npos) {
    const std::string_view run = text.substr(colon + 1, at == std::string_view::npos ? at : at - colon - 1);
    if (const Status status = check_run_name(run); !status.ok()) return wrong(status.message());
    address.run = run;
  }
  if (at != std::string_view::npos) {
    const std::string_view selector = text.substr(at + 1);
    if (!parse_selector(selector, address)) {
      return wrong("'" + std::string(selector.substr(0, 80)) + "' selects no checkpoint");
    }
  }
  return address;
}

std::string to_string(const Address& address) {
  std::string text = address.store;
  const std::size_t slash = text.rfind('/');
  if (text.find_first_of(":@", slash == std::string::npos ? 0 : slash + 1) != std::string::npos) text += '/';
  if (!address.run.empty()) text += ":" + address.run;
  text += '@';
  switch (address.select) {
    case Select::latest:
      return text + "latest";
    case Select::step:
      return text + std::to_string(address.step);
    case Select::best:
      return text + std::string(kBestWord) + ":" + address.metric + (address.highest ? ":max" : ":min");
    case Select::before_nan:
      return text + std::string(kBeforeNanWord);
  }
  return text;
}

}  // namespace stillframe::format
