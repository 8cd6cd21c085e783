// Codecs of one chunk. Pure, thread-safe, no state. docs/format.md, "Encoded chunk", gives the bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "stillframe/status.hpp"
#include "stillframe/types.hpp"

namespace stillframe::codec {

// Ids stand in files and never change meaning.
enum class CodecId : std::uint8_t {
  raw = 0,         // the stored bytes are the raw bytes
  planes_lz4 = 1,  // per run of one element width: byte planes, each raw or LZ4
};

[[nodiscard]] std::string_view codec_name(std::uint8_t id) noexcept;  // "unknown" for an id of the future

// An upper bound of stored bytes for `raw_bytes` (at most kChunkBytes) with any codec.
[[nodiscard]] std::size_t encoded_bound(std::size_t raw_bytes) noexcept;

struct Encoded {
  CodecId codec = CodecId::raw;
  std::size_t bytes = 0;  // valid bytes at the start of `out`
};

// Encodes `raw` into `out` (at least encoded_bound(raw.size()) bytes, not overlapping). Falls back to CodecId::raw when
// the result would not be smaller than 97 % of the raw bytes. invalid_argument when the runs do not fit `raw`.
[[nodiscard]] Result<Encoded> encode(CodecId wanted, std::span<const std::byte> raw, std::span<const ElementRun> runs,
                                     std::span<std::byte> out);

// Decodes exactly raw.size() bytes. The stored bytes may be hostile: corrupt when they are not a valid encoding of that
// length, unsupported for an unknown id; never reads or writes outside the spans. `raw` is unspecified after an error.
[[nodiscard]] Status decode(std::uint8_t codec, std::span<const std::byte> stored, std::span<std::byte> raw);

}  // namespace stillframe::codec
