#include <algorithm>
#include <array>
#include <limits>

#include "format/json.hpp"

namespace stillframe::format {
namespace {

constexpr std::size_t kColumns = 110;

void append_integer(std::string& out, const JsonInteger& value) {
  if (value.negative) out += '-';
  out += std::to_string(value.magnitude);
}

bool is_container(const JsonValue& value) noexcept {
  return value.get_if<JsonArray>() != nullptr || value.get_if<JsonObject>() != nullptr;
}

void append_scalar(std::string& out, const JsonValue& value) {
  if (const auto* boolean = value.get_if<bool>()) {
    out += *boolean ? "true" : "false";
  } else if (const auto* integer = value.get_if<JsonInteger>()) {
    append_integer(out, *integer);
  } else if (const auto* number = value.get_if<JsonFloat>()) {
    out += number->text;
  } else if (const auto* text = value.get_if<std::string>()) {
    append_json_string(out, *text);
  } else {
    out += "null";
  }
}

// Stops, and returns false, once `out` is longer than `limit`: deciding whether a value fits a line costs one line.
bool append_line(std::string& out, const JsonValue& value, std::size_t limit) {
  if (const auto* array = value.get_if<JsonArray>()) {
    out += '[';
    for (std::size_t i = 0; i < array->size() && out.size() <= limit; ++i) {
      if (i != 0) out += ", ";
      if (!append_line(out, (*array)[i], limit)) return false;
    }
    out += ']';
  } else if (const auto* object = value.get_if<JsonObject>()) {
    out += '{';
    for (std::size_t i = 0; i < object->size() && out.size() <= limit; ++i) {
      if (i != 0) out += ", ";
      append_json_string(out, (*object)[i].key);
      out += ": ";
      if (!append_line(out, (*object)[i].value, limit)) return false;
    }
    out += '}';
  } else {
    append_scalar(out, value);
  }
  return out.size() <= limit;
}

void start_line(std::string& out, std::size_t indent) {
  out += '\n';
  out.append(indent, ' ');
}

std::size_t column(const std::string& out) noexcept {
  const std::size_t newline = out.rfind('\n');
  return newline == std::string::npos ? out.size() : out.size() - newline - 1;
}

void append_filled(std::string& out, const JsonArray& scalars, std::size_t indent) {
  out += '[';
  start_line(out, indent + 1);
  std::size_t line_start = out.size();
  std::string item;
  for (std::size_t i = 0; i < scalars.size(); ++i) {
    item.clear();
    append_scalar(item, scalars[i]);
    if (i != 0) {
      out += ',';
      if (indent + 1 + out.size() - line_start + 2 + item.size() > kColumns) {
        start_line(out, indent + 1);
        line_start = out.size();
      } else {
        out += ' ';
      }
    }
    out += item;
  }
  start_line(out, indent);
  out += ']';
}

void append_escape(std::string& out, char c) {
  constexpr std::string_view kHex = "0123456789abcdef";
  const auto byte = static_cast<unsigned char>(c);
  out += '\\';
  switch (c) {
    case '\n':
      out += 'n';
      break;
    case '\r':
      out += 'r';
      break;
    case '\t':
      out += 't';
      break;
    case '"':
    case '\\':
      out += c;
      break;
    default:
      out += "u00";
      out += kHex[byte >> 4U];
      out += kHex[byte & 15U];
  }
}

}  // namespace

void append_json(std::string& out, const JsonValue& value) {
  append_line(out, value, std::numeric_limits<std::size_t>::max());
}

void append_json_pretty(std::string& out, const JsonValue& value, std::size_t indent) {
  const std::size_t start = out.size();
  const std::size_t used = std::min(column(out), kColumns);
  if (!is_container(value)) return append_scalar(out, value);
  if (append_line(out, value, start + (kColumns - used))) return;
  out.resize(start);

  if (const auto* array = value.get_if<JsonArray>()) {
    if (std::none_of(array->begin(), array->end(), is_container)) return append_filled(out, *array, indent);
    out += '[';
    for (std::size_t i = 0; i < array->size(); ++i) {
      if (i != 0) out += ',';
      start_line(out, indent + 1);
      append_json_pretty(out, (*array)[i], indent + 1);
    }
    start_line(out, indent);
    out += ']';
    return;
  }
  const auto& object = *value.get_if<JsonObject>();
  out += '{';
  for (std::size_t i = 0; i < object.size(); ++i) {
    if (i != 0) out += ',';
    start_line(out, indent + 1);
    append_json_string(out, object[i].key);
    out += ": ";
    append_json_pretty(out, object[i].value, indent + 1);
  }
  start_line(out, indent);
  out += '}';
}

void append_json_string(std::string& out, std::string_view utf8) {
  out += '"';
  const auto is_special = [](char c) { return c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20; };
  for (auto from = utf8.begin(); from != utf8.end();) {
    const auto special = std::find_if(from, utf8.end(), is_special);
    out.append(from, special);
    if (special == utf8.end()) break;
    append_escape(out, *special);
    from = special + 1;
  }
  out += '"';
}

bool is_utf8(std::string_view text) noexcept {
  std::size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80   ? 1
                               : lead < 0xC2 ? 0
                               : lead < 0xE0 ? 2
                               : lead < 0xF0 ? 3
                               : lead < 0xF5 ? 4
                                             : 0;
    if (length == 0 || length > text.size() - i) return false;
    std::uint32_t point = length == 1 ? lead : lead & (0x7FU >> length);
    for (std::size_t k = 1; k < length; ++k) {
      const auto byte = static_cast<unsigned char>(text[i + k]);
      if ((byte & 0xC0U) != 0x80U) return false;
      point = (point << 6U) | (byte & 0x3FU);
    }
    constexpr std::array<std::uint32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
    if (point < kSmallest[length] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) return false;
    i += length;
  }
  return true;
}

}  // namespace stillframe::format
