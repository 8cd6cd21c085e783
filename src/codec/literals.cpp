// Exposes ZSTD_compressSequences, which libzstd exports and calls experimental. What it makes is a plain frame.
#define ZSTD_STATIC_LINKING_ONLY
#include "codec/literals.hpp"

#include <zstd.h>

#include <algorithm>
#include <array>

#include "base/bytes.hpp"
#include "codec/context.hpp"
#include "codec/plane_method.hpp"

namespace stillframe::codec {
namespace {

constexpr std::size_t kBlockBytes = 128UL * 1024;
constexpr std::size_t kMostBlocks = kChunkBytes / kBlockBytes;
constexpr std::uint32_t kMagic = 0xFD2FB528U;
constexpr std::byte kWindow{(17 - 10) << 3};  // of a block: what this encoder says, whatever the frame holds
constexpr std::uint64_t kLeastInFourStreams = 6;
static_assert(kBlockBytes == ZSTD_BLOCKSIZE_MAX);

struct Setting {
  ZSTD_cParameter parameter;
  int value;
};
// No match is ever searched, so the tables for it are as small as they can be: they are cleared for every frame.
constexpr std::array kSettings{Setting{ZSTD_c_compressionLevel, 1},
                               Setting{ZSTD_c_windowLog, 17},
                               Setting{ZSTD_c_hashLog, ZSTD_HASHLOG_MIN},
                               Setting{ZSTD_c_chainLog, ZSTD_CHAINLOG_MIN},
                               Setting{ZSTD_c_contentSizeFlag, 1},
                               Setting{ZSTD_c_checksumFlag, 0},
                               Setting{ZSTD_c_blockDelimiters, ZSTD_sf_explicitBlockDelimiters},
                               Setting{ZSTD_c_literalCompressionMode, ZSTD_ps_enable}};

std::size_t encode_literals(std::span<const std::byte> plane, std::span<std::byte> out, Context& context) noexcept {
  if (!context.encodes_literals()) return 0;
  // Where fewer than three bytes are left for a block, ZSTD_compressSequences (of 1.5.4) writes behind them.
  if (out.size() < ZSTD_compressBound(plane.size())) return 0;
  std::array<ZSTD_Sequence, kMostBlocks> blocks{};
  std::size_t count = 0;
  for (std::size_t at = 0; at < plane.size(); at += kBlockBytes) {
    blocks[count++].litLength = static_cast<unsigned>(std::min(kBlockBytes, plane.size() - at));
  }
  const std::size_t bytes = ZSTD_compressSequences(context.zstd_encoder(), out.data(), out.size(), blocks.data(), count,
                                                   plane.data(), plane.size());
  if (ZSTD_isError(bytes) != 0U || bytes > out.size()) return 0;
  // Another libzstd may frame it in a way that the reader in plain Python does not know.
  return is_literals_frame(out.first(bytes), plane.size()) ? bytes : 0;
}

bool decode_literals(std::span<const std::byte> stored, std::span<std::byte> plane, Context& context) noexcept {
  return is_literals_frame(stored, plane.size()) &&
         ZSTD_decompressDCtx(context.zstd_decoder(), plane.data(), plane.size(), stored.data(), stored.size()) ==
             plane.size();
}

// Little-endian, as many bytes as `bytes` has.
std::uint64_t number(std::span<const std::byte> bytes) noexcept {
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size(); i > 0; --i) value = value << 8U | std::to_integer<std::uint64_t>(bytes[i - 1]);
  return value;
}

// The bytes of a compressed block's literals, header included; 0 when there is no room for a header.
std::size_t literals_section_bytes(std::span<const std::byte> block) noexcept {
  if (block.empty()) return 0;
  const auto first = std::to_integer<unsigned>(block[0]);
  const unsigned kind = first & 3U;
  const unsigned form = first >> 2U & 3U;
  if (kind < 2) {  // raw or repeated
    const std::size_t header = form == 1 ? 2 : form == 3 ? 3 : 1;
    if (block.size() < header) return 0;
    const std::uint64_t length = number(block.first(header)) >> (header == 1 ? 3U : 4U);
    if (length > kBlockBytes) return 0;
    return header + (kind == 0 ? static_cast<std::size_t>(length) : 1);
  }
  const std::size_t header = form < 2 ? 3 : form + 2;
  const unsigned size_bits = form < 2 ? 10 : form == 2 ? 14 : 18;
  if (block.size() < header) return 0;
  const std::uint64_t fields = number(block.first(header)) >> 4U;
  const std::uint64_t length = fields & ((1ULL << size_bits) - 1);
  const std::uint64_t size = fields >> size_bits;
  // What four streams have at least: libzstd of some versions takes fewer, of others not.
  if (length > kBlockBytes || length < (form == 0 ? 1U : kLeastInFourStreams)) return 0;
  return header + static_cast<std::size_t>(size);
}

// Nothing behind the literals but the zero that says there are no sequences.
bool has_literals_alone(std::span<const std::byte> block) noexcept {
  const std::size_t literals = literals_section_bytes(block);
  return literals != 0 && literals + 1 == block.size() && block.back() == std::byte{0};
}

// The bytes of the frame's header when it is one of a literals frame of `bytes` bytes; 0 when it is not.
std::size_t frame_header_bytes(std::span<const std::byte> frame, std::size_t bytes) noexcept {
  if (frame.size() < 6 || number(frame.first(4)) != kMagic) return 0;
  const auto descriptor = std::to_integer<unsigned>(frame[4]);
  if ((descriptor & 0x1FU) != 0) return 0;
  const bool single = (descriptor & 0x20U) != 0;
  const unsigned form = descriptor >> 6U;
  if (form == 0 && !single) return 0;
  if (!single && frame[5] != kWindow) return 0;
  const std::size_t begin = single ? 5 : 6;
  const std::size_t width = 1UL << form;
  if (frame.size() < begin + width) return 0;
  const std::uint64_t content = number(frame.subspan(begin, width)) + (form == 1 ? 256 : 0);
  return content == bytes ? begin + width : 0;
}

}  // namespace

std::string zstd_version() { return ZSTD_versionString(); }

ZSTD_CCtx_s* make_literals_encoder() noexcept {
  ZSTD_CCtx* const encoder = ZSTD_createCCtx();
  if (encoder == nullptr) return nullptr;
  for (const Setting& setting : kSettings) {
    if (ZSTD_isError(ZSTD_CCtx_setParameter(encoder, setting.parameter, setting.value)) != 0U) {
      ZSTD_freeCCtx(encoder);
      return nullptr;
    }
  }
  return encoder;
}
ZSTD_DCtx_s* make_literals_decoder() noexcept { return ZSTD_createDCtx(); }
void free_literals_encoder(ZSTD_CCtx_s* encoder) noexcept { ZSTD_freeCCtx(encoder); }
void free_literals_decoder(ZSTD_DCtx_s* decoder) noexcept { ZSTD_freeDCtx(decoder); }

bool is_literals_frame(std::span<const std::byte> frame, std::size_t bytes) noexcept {
  const std::size_t header = frame_header_bytes(frame, bytes);
  if (header == 0) return false;
  for (auto rest = frame.subspan(header); rest.size() >= 3;) {
    const std::uint64_t fields = number(rest.first(3));
    const std::uint64_t type = fields >> 1U & 3U;
    const auto size = static_cast<std::size_t>(fields >> 3U);
    const std::size_t stored = type == 1 ? 1 : size;
    if (type > 2 || size > kBlockBytes || stored > rest.size() - 3) return false;
    if (type == 2 && !has_literals_alone(rest.subspan(3, stored))) return false;
    rest = rest.subspan(3 + stored);
    if ((fields & 1U) != 0) return rest.empty();
  }
  return false;
}

const PlaneMethod& literals_method() noexcept {
  static constexpr PlaneMethod kMethod{MethodId::literals, "literals", encode_literals, decode_literals};
  return kMethod;
}

}  // namespace stillframe::codec
