#include "codec/context.hpp"

#include <lz4.h>

#include <new>

#include "codec/literals.hpp"

namespace stillframe::codec {

Result<Context> Context::create() {
  Context context;
  context.planes_.reset(new (std::nothrow) std::byte[kChunkBytes]);
  context.second_.reset(new (std::nothrow) std::byte[kChunkBytes]);
  const auto state_words = static_cast<std::size_t>(LZ4_sizeofState()) / sizeof(std::uint64_t) + 1;
  context.lz4_.reset(new (std::nothrow) std::uint64_t[state_words]);
  context.encoder_.reset(make_literals_encoder());
  context.decoder_.reset(make_literals_decoder());
  if (!context.planes_ || !context.second_ || !context.lz4_) {
    return Status(Code::no_space, "no memory to encode or decode chunks with: about 3 MiB are needed for each thread");
  }
  if (!context.decoder_) {
    return Status(Code::unsupported, "libzstd " + zstd_version() +
                                         " makes no decoder, which chunks of format version 2 need: free memory, or start "
                                         "the process with libzstd 1.5.1 or later; to write without it, set persist.level to "
                                         "\"raw\"");
  }
  return context;
}

void Context::Free::operator()(ZSTD_CCtx_s* encoder) const noexcept { free_literals_encoder(encoder); }
void Context::Free::operator()(ZSTD_DCtx_s* decoder) const noexcept { free_literals_decoder(decoder); }

}  // namespace stillframe::codec
