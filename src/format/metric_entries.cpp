#include "format/metric_entries.hpp"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include "format/json.hpp"
#include "format/manifest.hpp"

namespace stillframe::format {
namespace {

constexpr std::string_view kReference = "$entry";
constexpr std::size_t kDepth = 4;
constexpr std::size_t kMostReferences = 1024;
constexpr std::int64_t kExactInt = std::int64_t{1} << 53;

Status wrong(const std::string& metric, const std::string& what) {
  return {Code::corrupt, "metrics, \"" + metric.substr(0, 200) + "\": " + what};
}

// The name of the entry; null for any other value.
const std::string* reference_of(const JsonValue& value) noexcept {
  const auto* node = value.get_if<JsonObject>();
  const bool is_one = node != nullptr && node->size() == 1 && node->front().key == kReference;
  return is_one ? node->front().value.get_if<std::string>() : nullptr;
}

using EntriesByName = std::unordered_map<std::string_view, const Entry*>;

// Those that are named, found in one pass over all that there are.
EntriesByName referenced(const JsonObject& metrics, const ImageLayout& layout) {
  std::unordered_set<std::string_view> names;
  for (const JsonMember& metric : metrics) {
    if (const std::string* name = reference_of(metric.value)) names.insert(*name);
  }
  EntriesByName found;
  for (const Entry& entry : layout.entries) {
    if (names.contains(entry.name)) found.emplace(entry.name, &entry);
  }
  return found;
}

bool is_number(DType dtype) noexcept {
  switch (dtype) {
    case DType::f16:
    case DType::bf16:
    case DType::f32:
    case DType::f64:
    case DType::u8:
    case DType::u16:
    case DType::u32:
    case DType::u64:
    case DType::i8:
    case DType::i16:
    case DType::i32:
    case DType::i64:
      return true;
    default:
      return false;
  }
}

double f16_value(std::uint16_t bits) noexcept {
  const int exponent = (bits >> 10) & 0x1F;
  const int mantissa = bits & 0x3FF;
  double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(mantissa + 1024, exponent - 25);
  if (exponent == 0x1F) {
    magnitude = mantissa == 0 ? std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  }
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

JsonValue node_of(double number) {
  if (!std::isfinite(number)) {
    return {JsonObject{{"$float", {std::string(std::isnan(number) ? "nan" : number > 0 ? "inf" : "-inf")}}}};
  }
  std::array<char, 32> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  std::string text(digits.data(), end);
  // Else it would be read as an integer.
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return {JsonFloat{std::move(text)}};
}

template <typename Integer>
JsonValue node_of_integer(Integer number) {
  const bool negative = number < 0;
  const auto magnitude = negative ? 0 - static_cast<std::uint64_t>(number) : static_cast<std::uint64_t>(number);
  if (magnitude < kExactInt) return {JsonInteger{negative, magnitude}};
  return {JsonObject{{"$int", {std::to_string(number)}}}};
}

JsonValue node_of(DType dtype, const MetricElement& element) {
  const auto as = [&]<typename T>(T value) {
    std::memcpy(&value, element.data(), sizeof value);
    return value;
  };
  switch (dtype) {
    case DType::f16:
      return node_of(f16_value(as(std::uint16_t{})));
    case DType::bf16:
      return node_of(double{std::bit_cast<float>(std::uint32_t{as(std::uint16_t{})} << 16U)});
    case DType::f32:
      return node_of(double{as(float{})});
    case DType::f64:
      return node_of(as(double{}));
    case DType::u8:
      return node_of_integer(as(std::uint8_t{}));
    case DType::u16:
      return node_of_integer(as(std::uint16_t{}));
    case DType::u32:
      return node_of_integer(as(std::uint32_t{}));
    case DType::u64:
      return node_of_integer(as(std::uint64_t{}));
    case DType::i8:
      return node_of_integer(as(std::int8_t{}));
    case DType::i16:
      return node_of_integer(as(std::int16_t{}));
    case DType::i32:
      return node_of_integer(as(std::int32_t{}));
    default:
      return node_of_integer(as(std::int64_t{}));
  }
}

}  // namespace

Result<std::vector<MetricEntry>> metric_entries(std::string_view metrics_json, const ImageLayout& layout) {
  std::vector<MetricEntry> found;
  // Most snapshots have none, and their text is judged where the manifest is made.
  if (metrics_json.find(kReference) == std::string_view::npos) return found;
  if (metrics_json.size() > kMaxMetricsBytes) {
    return Status(Code::corrupt, "metrics: more than the limit of " + std::to_string(kMaxMetricsBytes) + " bytes");
  }
  SF_ASSIGN(const JsonValue value, parse_json(metrics_json, kDepth));
  const auto* object = value.get_if<JsonObject>();
  if (object == nullptr) return found;
  const EntriesByName entries = referenced(*object, layout);
  for (const JsonMember& metric : *object) {
    const std::string* name = reference_of(metric.value);
    if (name == nullptr) continue;
    if (found.size() == kMostReferences) {
      return wrong(metric.key, "more than " + std::to_string(kMostReferences) + " metrics are entries of the snapshot");
    }
    const auto at = entries.find(*name);
    if (at == entries.end()) return wrong(metric.key, "the snapshot has no entry '" + name->substr(0, 200) + "'");
    const Entry* const entry = at->second;
    const bool is_whole = entry->offset / kChunkBytes == (entry->offset + dtype_bytes(entry->dtype) - 1) / kChunkBytes;
    if (!is_number(entry->dtype) || entry->bytes != dtype_bytes(entry->dtype) || !is_whole) {
      return wrong(metric.key, "entry '" + name->substr(0, 200) + "' is not one number");
    }
    found.push_back({entry->offset, entry->dtype});
  }
  return found;
}

Result<std::string> with_numbers(std::string metrics_json, std::span<const MetricEntry> entries,
                                 std::span<const MetricElement> elements) {
  if (entries.empty()) return metrics_json;
  SF_ASSIGN(JsonValue value, parse_json(metrics_json, kDepth));
  auto* object = std::get_if<JsonObject>(&value.data);
  std::size_t filled = 0;
  for (std::size_t i = 0; object != nullptr && i < object->size(); ++i) {
    JsonValue& metric = (*object)[i].value;
    if (reference_of(metric) == nullptr) continue;
    if (filled == std::min(entries.size(), elements.size())) return wrong((*object)[i].key, "its number is missing");
    metric = node_of(entries[filled].dtype, elements[filled]);
    ++filled;
  }
  std::string text;
  append_json(text, value);
  return text;
}

}  // namespace stillframe::format
