// The state tree over parsed JSON: what tree.hpp and the manifest share. Private to this folder. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "format/image.hpp"
#include "format/json.hpp"
#include "format/tree.hpp"
#include "stillframe/status.hpp"

namespace stillframe::format {

// A node of the tree takes up to three JSON levels: {"$dict": [[key, value]]}.
inline constexpr std::size_t kMaxTreeJsonDepth = 3 * kMaxTreeDepth + 4;

[[nodiscard]] Status check_tree_value(const JsonValue& root, const ImageLayout& layout);

// Leaves of the tree, written as docs/format.md, "State tree", says.
[[nodiscard]] bool is_plain_int(const JsonValue& value) noexcept;
[[nodiscard]] bool is_plain_float(const JsonValue& value) noexcept;
[[nodiscard]] bool is_big_int(std::string_view decimal) noexcept;                              // {"$int": …}
[[nodiscard]] bool is_special_float(std::string_view text) noexcept;                           // {"$float": …}
[[nodiscard]] bool is_lower_hex(std::string_view text) noexcept;                               // also when empty
[[nodiscard]] std::optional<std::size_t> base64_bytes(std::string_view text) noexcept;         // nullopt: malformed
[[nodiscard]] std::optional<std::uint32_t> numpy_item_bytes(std::string_view dtype) noexcept;  // "<f4" is 4

}  // namespace stillframe::format
