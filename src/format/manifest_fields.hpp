// Checked access to the members of a JSON object: says which member is missing, ill-typed or out of range. Private to
// this folder. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "format/json.hpp"
#include "stillframe/status.hpp"

namespace stillframe::format {

[[nodiscard]] inline Status wrong(std::string what) { return {Code::corrupt, std::move(what)}; }

class Fields {
 public:
  // corrupt when it is no object or has a member that is not in `known`.
  [[nodiscard]] static Result<Fields> of(const JsonValue& value, std::initializer_list<std::string_view> known);

  // Of an object whose members were checked already.
  [[nodiscard]] static Fields of(const JsonObject& object) noexcept { return Fields(object); }

  [[nodiscard]] Result<const JsonValue*> value(std::string_view key) const;
  template <typename T>
  [[nodiscard]] Result<const T*> typed(std::string_view key, std::string_view expected) const {
    SF_ASSIGN(const JsonValue* found, value(key));
    if (const T* wanted = found->get_if<T>()) return wanted;
    return wrong("\"" + std::string(key) + "\": expected " + std::string(expected));
  }
  [[nodiscard]] Result<std::string> string(std::string_view key) const;
  [[nodiscard]] Result<bool> boolean(std::string_view key) const;
  [[nodiscard]] Result<std::uint64_t> number(std::string_view key, std::uint64_t limit) const;
  // 1 to 256 bytes of text without control characters.
  [[nodiscard]] Result<std::string> label(std::string_view key) const;
  [[nodiscard]] Result<std::string> hex(std::string_view key, std::size_t digits) const;

 private:
  explicit Fields(const JsonObject& object) noexcept : object_(&object) {}
  const JsonObject* object_;
};

}  // namespace stillframe::format
