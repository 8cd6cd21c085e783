// What encoding and decoding a manifest share. Private to this folder. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "format/json.hpp"
#include "format/manifest.hpp"
#include "format/tree_check.hpp"

namespace stillframe::format {

inline constexpr std::string_view kFormatName = "stillframe";
inline constexpr std::uint32_t kMaxWorldSize = 1'000'000;
inline constexpr std::size_t kMaxLabelBytes = 256;  // group, writer
// The manifest, its ranks, a rank, its tree.
inline constexpr std::size_t kMaxManifestJsonDepth = 3 + kMaxTreeJsonDepth;

inline constexpr std::uint64_t kTableBlockBytes = 64;

// "\n \"seal\": {\"xxh128\": \"…\", \"crc32\": \"…\"}\n}\n", the end of a manifest. XXH3-128 is over every byte before it,
// CRC-32 over every byte before its own digits: so it alone finds any damage.
inline constexpr std::size_t kSealBytes = 80;
void append_seal(std::string& text);
[[nodiscard]] bool has_right_seal(std::string_view text);
// Ends with a seal of this form, whether it is right or not.
[[nodiscard]] bool has_seal(std::string_view text) noexcept;

[[nodiscard]] std::string known_versions();  // "versions 1 to 2"
// What is said of a version beyond this build's; `version` in decimal.
[[nodiscard]] Status later_version(std::string_view version);

[[nodiscard]] std::string crc32_hex(std::uint32_t crc);

// What the head says of the ranks together; nullopt when it does not fit 64 bits.
struct Sums {
  std::uint64_t raw_bytes = 0;
  std::uint64_t stored_bytes = 0;
};
[[nodiscard]] std::optional<Sums> sums_of(std::span<const RankManifest> ranks) noexcept;

// One of `ranks`, in the manifest of `sequence`.
[[nodiscard]] Result<RankManifest> decode_rank(const JsonValue& value, std::uint64_t sequence);
// The canonical text of `metrics`.
[[nodiscard]] Result<std::string> decode_metrics(const JsonValue& value);

}  // namespace stillframe::format
