// The ways of storing one byte plane in codec `planes`; docs/format-v2.md gives the bytes. A new way is one new file,
// and one row of the table in plane_method.cpp. Private to this folder. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace stillframe::codec {

class Context;

// Ids stand in files and never change meaning.
enum class MethodId : std::uint8_t { raw = 0, lz4 = 1, constant = 2, literals = 3, nibbles = 4 };
// Added to a method's id in files: the plane's bytes are differences.
inline constexpr std::uint8_t kDifferences = 16;

struct PlaneMethod {
  MethodId id;
  std::string_view name;
  // The bytes written to the start of `out`; 0 when the plane cannot be stored so, or would not fit. The plane has at
  // least one byte; `out` has half as many again, and 64 more. Of the context, uses the states alone.
  std::size_t (*encode)(std::span<const std::byte> plane, std::span<std::byte> out, Context& context) noexcept;
  // Fills `plane`, at least one byte, or says that the stored bytes, which may be hostile, are no plane of that length.
  bool (*decode)(std::span<const std::byte> stored, std::span<std::byte> plane, Context& context) noexcept;
};

// Null for raw, whose bytes are just the plane, and for an id that is not known.
[[nodiscard]] const PlaneMethod* find_method(MethodId id) noexcept;

// What stands in files: a method's id, with or without kDifferences.
[[nodiscard]] constexpr MethodId method_id(std::uint8_t method) noexcept {
  return static_cast<MethodId>(method & ~unsigned{kDifferences});
}
[[nodiscard]] constexpr bool has_differences(std::uint8_t method) noexcept { return (method & kDifferences) != 0; }
[[nodiscard]] bool is_method(std::uint8_t method) noexcept;

[[nodiscard]] const PlaneMethod& lz4_method() noexcept;
[[nodiscard]] const PlaneMethod& constant_method() noexcept;
[[nodiscard]] const PlaneMethod& literals_method() noexcept;
[[nodiscard]] const PlaneMethod& nibbles_method() noexcept;

// The first of the 15 neighbouring byte values, modulo 256, that hold most of a histogram; and how many are outside.
struct NibbleWindow {
  std::uint8_t base = 0;
  std::uint32_t escapes = 0;
};
[[nodiscard]] NibbleWindow best_window(std::span<const std::uint32_t, 256> histogram) noexcept;

}  // namespace stillframe::codec
