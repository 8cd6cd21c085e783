#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>

#include "format/manifest.hpp"
#include "format/manifest_fields.hpp"
#include "format/manifest_seal.hpp"

namespace stillframe::format {
namespace {

// Whether a decimal number that no double holds is too large, not too small.
bool is_beyond_one(std::string_view text) noexcept {
  if (text.starts_with('-')) text.remove_prefix(1);
  const std::size_t mark = std::min(text.find_first_of("eE"), text.size());
  const std::string_view mantissa = text.substr(0, mark);
  std::string_view exponent_text = text.substr(std::min(mark + 1, text.size()));
  if (exponent_text.starts_with('+')) exponent_text.remove_prefix(1);
  std::int64_t exponent = 0;
  const char* end = exponent_text.data() + exponent_text.size();
  if (std::from_chars(exponent_text.data(), end, exponent).ec == std::errc::result_out_of_range) {
    return !exponent_text.starts_with('-');
  }
  // The place of the first digit that counts: 1 for 5.0, 3 for 500, 0 for 0.5, -2 for 0.005.
  const std::size_t point = std::min(mantissa.find('.'), mantissa.size());
  const std::size_t first = std::min(mantissa.find_first_of("123456789"), mantissa.size());
  const auto place = static_cast<std::int64_t>(point) - static_cast<std::int64_t>(first) + (first > point ? 1 : 0);
  return exponent > -place;
}

// A decimal number, or nan, inf, -inf. Beyond the range of a double it becomes infinite or zero. Whatever the process's
// locale: a decimal comma would read 0.25 as 0.
double number_of(std::string_view text) noexcept {
  double value = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc::result_out_of_range) return value;
  const double magnitude = is_beyond_one(text) ? std::numeric_limits<double>::infinity() : 0.0;
  return text.starts_with('-') ? -magnitude : magnitude;
}

double special_float(const std::string& text) noexcept {
  constexpr std::string_view kBits = "bits:";
  if (!text.starts_with(kBits)) return number_of(text);
  std::uint64_t bits = 0;
  std::from_chars(text.data() + kBits.size(), text.data() + text.size(), bits, 16);
  double value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

std::optional<double> as_number(const JsonValue& value) {
  if (const auto* integer = value.get_if<JsonInteger>()) {
    const auto magnitude = static_cast<double>(integer->magnitude);
    return integer->negative ? -magnitude : magnitude;
  }
  if (const auto* number = value.get_if<JsonFloat>()) return number_of(number->text);
  const auto* node = value.get_if<JsonObject>();
  const auto* text = node != nullptr && node->size() == 1 ? node->front().value.get_if<std::string>() : nullptr;
  if (text == nullptr) return std::nullopt;
  if (node->front().key == "$float" && is_special_float(*text)) return special_float(*text);
  if (node->front().key == "$int" && is_big_int(*text)) return number_of(*text);
  return std::nullopt;
}

}  // namespace

Result<std::string> decode_metrics(const JsonValue& value) {
  const auto* object = value.get_if<JsonObject>();
  if (object == nullptr) return wrong("metrics: expected an object");
  for (const JsonMember& metric : *object) {
    const auto bad = [&] {
      return wrong("metrics, \"" + metric.key.substr(0, 200) +
                   "\": expected a number, string, boolean, null, {\"$float\": …} or {\"$int\": …}");
    };
    if (metric.value.get_if<JsonArray>() != nullptr) return bad();
    const auto* node = metric.value.get_if<JsonObject>();
    if (node == nullptr) continue;
    const auto* text = node->size() == 1 ? node->front().value.get_if<std::string>() : nullptr;
    if (text == nullptr) return bad();
    const std::string& kind = node->front().key;
    if (!(kind == "$float" && is_special_float(*text)) && !(kind == "$int" && is_big_int(*text))) return bad();
  }
  std::string text;
  append_json(text, value);
  if (text.size() > kMaxMetricsBytes) {
    return wrong("metrics: more than the limit of " + std::to_string(kMaxMetricsBytes) + " bytes");
  }
  return text;
}

Status check_metrics(std::string_view metrics_json) {
  const auto value = parse_json(metrics_json, kMaxTreeJsonDepth);
  const Status status = value.ok() ? decode_metrics(*value).status() : value.status().with_context("metrics");
  return status.ok() ? status : Status(Code::invalid_argument, status.message());
}

std::map<std::string, double> metric_numbers(std::string_view metrics_json) {
  std::map<std::string, double> numbers;
  const auto value = parse_json(metrics_json, kMaxTreeJsonDepth);
  const auto* object = value.ok() ? value->get_if<JsonObject>() : nullptr;
  if (object == nullptr) return numbers;
  for (const JsonMember& metric : *object) {
    if (const auto number = as_number(metric.value)) numbers.emplace(metric.key, *number);
  }
  return numbers;
}

std::optional<double> metric_number(std::string_view metrics_json, std::string_view name) {
  const auto numbers = metric_numbers(metrics_json);
  const auto found = numbers.find(std::string(name));
  return found == numbers.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace stillframe::format
