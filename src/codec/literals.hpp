// Literals frames: frames of Zstandard that hold Huffman-coded bytes and no sequences; docs/format-v2.md gives the
// bytes. The one place that knows libzstd. Private to this folder. Pure.
#pragma once

#include <cstddef>
#include <span>

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace stillframe::codec {

// Null where the library that was loaded refuses what a literals frame needs, and without memory.
[[nodiscard]] ZSTD_CCtx_s* make_literals_encoder() noexcept;
// Null without memory.
[[nodiscard]] ZSTD_DCtx_s* make_literals_decoder() noexcept;
void free_literals_encoder(ZSTD_CCtx_s* encoder) noexcept;
void free_literals_decoder(ZSTD_DCtx_s* decoder) noexcept;

// Whether `frame` is framed as a literals frame of `bytes` bytes. Its codes may still be wrong: libzstd refuses some of
// those, but not a stream that does not end with its bytes. What it makes of that is for the chunk's hash to refuse.
[[nodiscard]] bool is_literals_frame(std::span<const std::byte> frame, std::size_t bytes) noexcept;

}  // namespace stillframe::codec
