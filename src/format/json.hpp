// JSON as the format uses it: member order kept, duplicate keys refused, floats kept as they were written, nesting and
// number of values limited. Private to this folder. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "stillframe/status.hpp"

namespace stillframe::format {

// Values of one text, all levels together.
inline constexpr std::size_t kMaxJsonValues = 16'777'216;

struct JsonInteger {
  bool negative = false;  // false for 0
  std::uint64_t magnitude = 0;
};
// Finite. The text stands in for the number, so that nothing is lost or changed between reading and writing.
struct JsonFloat {
  std::string text;
};

struct JsonValue;
struct JsonMember;
using JsonArray = std::vector<JsonValue>;
using JsonObject = std::vector<JsonMember>;

struct JsonValue {
  std::variant<std::monostate, bool, JsonInteger, JsonFloat, std::string, JsonArray, JsonObject> data;

  template <typename T>
  [[nodiscard]] const T* get_if() const noexcept {
    return std::get_if<T>(&data);
  }
};

struct JsonMember {
  std::string key;
  JsonValue value;
};

// corrupt with the byte position unless `text` is one JSON text in UTF-8 with at most `max_depth` levels of arrays and
// objects. An integer that needs more than 64 bits becomes a JsonFloat without '.', 'e' or 'E'. With a `stop_key`, the
// text is read up to that key of the outermost object, and the result holds the members before it.
[[nodiscard]] Result<JsonValue> parse_json(std::string_view text, std::size_t max_depth,
                                           std::string_view stop_key = {});

// One line, ", " and ": " between the parts. What parse_json() accepts is written back the same but for white space,
// escapes and a negative zero integer.
void append_json(std::string& out, const JsonValue& value);
// As above when it fits the rest of a line of 110 columns; else broken over lines, nested levels indented by one space,
// with arrays of scalars filled. `indent` is that of the line on which the value starts.
void append_json_pretty(std::string& out, const JsonValue& value, std::size_t indent);
void append_json_string(std::string& out, std::string_view utf8);

[[nodiscard]] bool is_utf8(std::string_view text) noexcept;

}  // namespace stillframe::format
