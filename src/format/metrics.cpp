#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "format/manifest.hpp"
#include "format/manifest_fields.hpp"
#include "format/manifest_seal.hpp"

namespace stillframe::format {
namespace {

// A decimal number, or nan, inf, -inf. Beyond the range of a double it becomes infinite or zero.
double number_of(const std::string& text) noexcept { return std::strtod(text.c_str(), nullptr); }

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
