#include "format/manifest_fields.hpp"

#include <algorithm>

#include "format/manifest_seal.hpp"

namespace stillframe::format {

Result<Fields> Fields::of(const JsonValue& value, std::initializer_list<std::string_view> known) {
  const auto* object = value.get_if<JsonObject>();
  if (object == nullptr) return wrong("expected an object");
  for (const JsonMember& member : *object) {
    if (std::find(known.begin(), known.end(), member.key) == known.end()) {
      return wrong("the member \"" + member.key.substr(0, 200) + "\" is not known in version 1");
    }
  }
  return Fields(*object);
}

Result<const JsonValue*> Fields::value(std::string_view key) const {
  for (const JsonMember& member : *object_) {
    if (member.key == key) return &member.value;
  }
  return wrong("\"" + std::string(key) + "\" is missing");
}

Result<std::string> Fields::string(std::string_view key) const {
  SF_ASSIGN(const std::string* text, typed<std::string>(key, "a string"));
  return *text;
}

Result<bool> Fields::boolean(std::string_view key) const {
  SF_ASSIGN(const bool* value, typed<bool>(key, "true or false"));
  return *value;
}

Result<std::uint64_t> Fields::number(std::string_view key, std::uint64_t limit) const {
  SF_ASSIGN(const JsonInteger* integer, typed<JsonInteger>(key, "an unsigned integer"));
  if (integer->negative || integer->magnitude > limit) {
    return wrong("\"" + std::string(key) + "\": expected an unsigned integer of at most " + std::to_string(limit));
  }
  return integer->magnitude;
}

Result<std::string> Fields::label(std::string_view key) const {
  SF_ASSIGN(std::string text, string(key));
  const bool control =
      std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; });
  if (text.empty() || text.size() > kMaxLabelBytes || control) {
    return wrong("\"" + std::string(key) + "\": expected 1 to 256 bytes of text without control characters");
  }
  return text;
}

Result<std::string> Fields::hex(std::string_view key, std::size_t digits) const {
  SF_ASSIGN(std::string text, string(key));
  if (text.size() != digits || !is_lower_hex(text)) {
    return wrong("\"" + std::string(key) + "\": expected " + std::to_string(digits) + " lower-case hex digits");
  }
  return text;
}

}  // namespace stillframe::format
