// Codecs of one chunk. Pure, thread-safe, no state but what the caller hands in. docs/format.md, "Encoded chunk", and
// docs/format-v2.md give the bytes. A new codec is one new file, and one row of the table in codec.cpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "stillframe/status.hpp"
#include "stillframe/types.hpp"

namespace stillframe::codec {

class Context;

// Ids stand in files and never change meaning.
enum class CodecId : std::uint8_t {
  raw = 0,         // the stored bytes are the raw bytes
  planes_lz4 = 1,  // per run of one element width: byte planes, each raw or LZ4
  planes = 2,      // byte planes, each by the method that suits it; format version 2
};

// How much work for fewer bytes.
enum class Level : std::uint8_t {
  raw = 0,       // none
  fast = 1,      // exponents in four bits, LZ4 for runs of equal bytes
  standard = 2,  // Huffman codes for what is worth it, LZ4 for runs of equal bytes
};

[[nodiscard]] std::string_view codec_name(std::uint8_t id) noexcept;  // "unknown" for an id of the future
[[nodiscard]] std::string_view level_name(Level level) noexcept;      // "raw", "fast", "default"
[[nodiscard]] std::optional<Level> level_from_name(std::string_view name) noexcept;

// An upper bound of stored bytes for `raw_bytes` (at most kChunkBytes) with any codec.
[[nodiscard]] std::size_t encoded_bound(std::size_t raw_bytes) noexcept;

struct Encoded {
  CodecId codec = CodecId::raw;
  std::size_t bytes = 0;  // valid bytes at the start of `out`
};

inline constexpr std::size_t kMostPlanes = 16;

// How one run was stored. `methods` are for encode() alone.
struct RunDecision {
  std::uint8_t element_bytes = 0;
  bool rotated = false;
  std::array<std::uint8_t, kMostPlanes> methods{};
  friend bool operator==(const RunDecision&, const RunDecision&) = default;
};

// How a chunk was stored, for the same chunk of the checkpoint after it, whose sample would say the same. What is
// handed in decides speed and size, never whether the bytes come back. Empty as it is made; plain, to be copied and
// kept.
struct Decisions {
  static constexpr std::size_t kRuns = 4;  // of the chunk's first; chunks of more are rare, and cost a sample each
  Level level = Level::raw;
  std::uint8_t known_runs = 0;
  std::uint8_t uses = 0;  // since the last sample; all of them when the chunk was not what the decisions say
  std::array<RunDecision, kRuns> runs{};
  friend bool operator==(const Decisions&, const Decisions&) = default;
};
// So often the decisions of one sample are used before another is taken.
inline constexpr std::uint8_t kUsesOfASample = 8;

// Encodes `raw` into `out` (at least encoded_bound(raw.size()) bytes, not overlapping). Falls back to CodecId::raw when
// the result would not be smaller than 97 % of the raw bytes. invalid_argument when the runs do not fit `raw`.
[[nodiscard]] Result<Encoded> encode(CodecId wanted, std::span<const std::byte> raw, std::span<const ElementRun> runs,
                                     std::span<std::byte> out);

// The same with the codec of a level: `raw` or `planes`. Takes no memory. `decisions` are followed where they fit, and
// are those of this chunk afterwards.
[[nodiscard]] Result<Encoded> encode(Level level, std::span<const std::byte> raw, std::span<const ElementRun> runs,
                                     std::span<std::byte> out, Decisions& decisions, Context& context);

// Decodes exactly raw.size() bytes. The stored bytes may be hostile: corrupt when they are not a valid encoding of that
// length, unsupported for an unknown id; never reads or writes outside the spans. `raw` is unspecified after an error.
// A codec that needs a context makes it where there is none, in the last one for the calls to come (no_space where that
// fails).
[[nodiscard]] Status decode(std::uint8_t codec, std::span<const std::byte> stored, std::span<std::byte> raw);
[[nodiscard]] Status decode(std::uint8_t codec, std::span<const std::byte> stored, std::span<std::byte> raw,
                            Context& context);
[[nodiscard]] Status decode(std::uint8_t codec, std::span<const std::byte> stored, std::span<std::byte> raw,
                            std::optional<Context>& context);

// The same into the context: valid until it is used again. Of codec raw these are the stored bytes themselves. For a
// writer that checks what it has encoded.
[[nodiscard]] Result<std::span<const std::byte>> decode_within(std::uint8_t codec, std::span<const std::byte> stored,
                                                               std::size_t raw_bytes, Context& context);

}  // namespace stillframe::codec
