// What encoding and decoding need beside their input and output, made once and used for any number of chunks: two
// buffers of a chunk and the states of LZ4 and libzstd, about 3 MiB. One thread at a time; two contexts share nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "stillframe/status.hpp"
#include "stillframe/types.hpp"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace stillframe::codec {

// Of the library that was loaded, which need not be the one that was linked: "1.5.4".
[[nodiscard]] std::string zstd_version();

class Context {
 public:
  // no_space when there is no memory for it; unsupported when the libzstd of this process makes no decoder. An encoder is
  // no condition: without one, planes that want it stay raw.
  [[nodiscard]] static Result<Context> create();

  // Each kChunkBytes long; what is in them means nothing between two calls of this folder's functions.
  [[nodiscard]] std::span<std::byte> planes() const noexcept { return {planes_.get(), kChunkBytes}; }
  [[nodiscard]] std::span<std::byte> second() const noexcept { return {second_.get(), kChunkBytes}; }
  [[nodiscard]] void* lz4_state() const noexcept { return lz4_.get(); }
  [[nodiscard]] bool encodes_literals() const noexcept { return encoder_ != nullptr; }
  [[nodiscard]] ZSTD_CCtx_s* zstd_encoder() const noexcept { return encoder_.get(); }
  [[nodiscard]] ZSTD_DCtx_s* zstd_decoder() const noexcept { return decoder_.get(); }

 private:
  Context() = default;
  struct Free {
    void operator()(ZSTD_CCtx_s* encoder) const noexcept;
    void operator()(ZSTD_DCtx_s* decoder) const noexcept;
  };

  std::unique_ptr<std::byte[]> planes_;
  std::unique_ptr<std::byte[]> second_;
  std::unique_ptr<std::uint64_t[]> lz4_;  // LZ4 wants it aligned to 8 bytes
  std::unique_ptr<ZSTD_CCtx_s, Free> encoder_;
  std::unique_ptr<ZSTD_DCtx_s, Free> decoder_;
};

}  // namespace stillframe::codec
