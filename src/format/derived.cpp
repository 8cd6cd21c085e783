#include "format/derived.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/bytes.hpp"
#include "format/table.hpp"
#include "stillframe/types.hpp"

namespace stillframe::format {
namespace {

namespace field {
constexpr std::size_t kSourceOffset = 0, kRawBytes = 8, kRule = 12, kReserved = 13;
}

constexpr std::uint64_t kF32Bytes = 4;
constexpr std::uint64_t kHalfBytes = 2;

constexpr std::uint32_t kF32Magnitude = 0x7FFF'FFFF;
constexpr std::uint32_t kF32Infinity = 0x7F80'0000;
constexpr unsigned kF32MantissaBits = 23;

// `value` without its lowest `bits`, rounded to nearest, ties to even.
std::uint32_t round_off(std::uint32_t value, unsigned bits) noexcept {
  const std::uint32_t half = (1U << (bits - 1)) - 1;
  return (value + half + ((value >> bits) & 1U)) >> bits;
}

std::uint16_t bf16_of(std::uint32_t f32) noexcept {
  constexpr std::uint16_t kNan = 0x7FC0;
  if ((f32 & kF32Magnitude) > kF32Infinity) return kNan;
  return static_cast<std::uint16_t>(round_off(f32, 16));
}

std::uint16_t f16_of(std::uint32_t f32) noexcept {
  constexpr std::uint16_t kNan = 0x7E00, kInfinity = 0x7C00;
  constexpr std::uint32_t kF16MantissaBits = 10;
  constexpr std::uint32_t kFirstInfinite = 0x477F'F000;   // 65520, halfway between the largest F16 and the next power
  constexpr std::uint32_t kSmallestNormal = 0x3880'0000;  // 2^-14
  constexpr std::uint32_t kBiasDifference = (127U - 15U) << kF32MantissaBits;
  const std::uint32_t magnitude = f32 & kF32Magnitude;
  const auto sign = static_cast<std::uint16_t>((f32 >> 16U) & 0x8000U);
  if (magnitude > kF32Infinity) return kNan;
  if (magnitude >= kFirstInfinite) return static_cast<std::uint16_t>(sign | kInfinity);
  if (magnitude >= kSmallestNormal) {
    return static_cast<std::uint16_t>(sign |
                                      round_off(magnitude - kBiasDifference, kF32MantissaBits - kF16MantissaBits));
  }
  // A subnormal F16 counts units of 2^-24: the whole mantissa, moved right by what the exponent lacks.
  const std::uint32_t exponent = magnitude >> kF32MantissaBits;
  constexpr std::uint32_t kExponentOfUnit = 127 - 24;
  const std::uint32_t shift = kExponentOfUnit + kF32MantissaBits - exponent;
  if (shift > kF32MantissaBits + 1) return sign;  // below half a unit
  const std::uint32_t mantissa = (magnitude & ((1U << kF32MantissaBits) - 1)) | (1U << kF32MantissaBits);
  return static_cast<std::uint16_t>(sign | round_off(mantissa, shift));
}

template <typename Convert>
void convert(std::span<const std::byte> source, std::span<std::byte> out, Convert one) noexcept {
  for (std::size_t i = 0; i < out.size() / kHalfBytes; ++i) {
    base::store_le<std::uint16_t>(out, i * kHalfBytes, one(base::load_le<std::uint32_t>(source, i * kF32Bytes)));
  }
}

bool narrows(DerivedRule rule) noexcept { return rule != DerivedRule::copy; }

Status wrong(std::string what) { return {Code::corrupt, std::move(what)}; }

Result<DerivedPiece> decode_piece(std::span<const std::byte> in, std::uint64_t image_bytes) {
  DerivedPiece piece;
  piece.source_offset = base::load_le<std::uint64_t>(in, field::kSourceOffset);
  piece.raw_bytes = base::load_le<std::uint32_t>(in, field::kRawBytes);
  piece.rule = static_cast<DerivedRule>(in[field::kRule]);
  if (piece.rule > DerivedRule::f16_of_f32) {
    return Status(Code::unsupported,
                  "its rule " + std::to_string(static_cast<unsigned>(piece.rule)) + " is not known to this build");
  }
  const auto reserved = in.subspan(field::kReserved, kPieceBytes - field::kReserved);
  if (std::any_of(reserved.begin(), reserved.end(), [](std::byte b) { return b != std::byte{0}; })) {
    return wrong("its reserved bytes are not zero");
  }
  if (piece.raw_bytes == 0) return wrong("it makes no bytes");
  if (narrows(piece.rule) && (piece.raw_bytes % kHalfBytes != 0 || piece.source_offset % kF32Bytes != 0)) {
    return wrong("it does not hold whole elements");
  }
  const std::uint64_t source_bytes = derived_source_bytes(piece);
  if (source_bytes > image_bytes || piece.source_offset > image_bytes - source_bytes) {
    return wrong("its source reaches beyond the image of " + std::to_string(image_bytes) + " bytes");
  }
  return piece;
}

}  // namespace

std::uint64_t derived_source_bytes(const DerivedPiece& piece) noexcept {
  return std::uint64_t{piece.raw_bytes} * (narrows(piece.rule) ? kF32Bytes / kHalfBytes : 1);
}

std::vector<std::byte> encode_derived(std::span<const DerivedPiece> pieces) {
  std::vector<std::byte> bytes(pieces.size() * kPieceBytes);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const auto out = std::span(bytes).subspan(i * kPieceBytes, kPieceBytes);
    base::store_le(out, field::kSourceOffset, pieces[i].source_offset);
    base::store_le(out, field::kRawBytes, pieces[i].raw_bytes);
    out[field::kRule] = static_cast<std::byte>(pieces[i].rule);
  }
  return bytes;
}

Result<std::vector<DerivedPiece>> decode_derived(std::span<const std::byte> stored, std::uint64_t raw_bytes,
                                                 std::uint64_t image_bytes) {
  if (stored.empty() || stored.size() % kPieceBytes != 0) {
    return wrong("derived chunk: " + std::to_string(stored.size()) + " bytes are no number of pieces");
  }
  std::vector<DerivedPiece> pieces;
  pieces.reserve(stored.size() / kPieceBytes);
  std::uint64_t made = 0;
  for (std::size_t at = 0; at < stored.size(); at += kPieceBytes) {
    auto piece = decode_piece(stored.subspan(at, kPieceBytes), image_bytes);
    if (!piece.ok()) return piece.status().with_context("derived chunk, piece " + std::to_string(at / kPieceBytes));
    made += piece->raw_bytes;  // below 2^64: stored.size() / 16 pieces of less than 2^32
    pieces.push_back(*piece);
  }
  if (made != raw_bytes) {
    return wrong("derived chunk: its pieces make " + std::to_string(made) + " bytes, the chunk has " +
                 std::to_string(raw_bytes));
  }
  return pieces;
}

Status check_sources(std::span<const DerivedPiece> pieces, const ChunkTable& table) {
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const std::uint64_t bytes = derived_source_bytes(pieces[i]);
    const std::string piece = "derived chunk, piece " + std::to_string(i);
    if (bytes > table.image_bytes || pieces[i].source_offset > table.image_bytes - bytes) {
      return wrong(piece + ": its source reaches beyond the image");
    }
    const std::uint64_t end = pieces[i].source_offset + bytes;
    for (std::uint64_t chunk = pieces[i].source_offset / kChunkBytes; chunk * kChunkBytes < end; ++chunk) {
      if (table.chunks[chunk].location == LocationKind::derived) {
        return wrong(piece + ": its source lies in chunk " + std::to_string(chunk) + ", which is derived itself");
      }
    }
  }
  return {};
}

Status apply_rule(DerivedRule rule, std::span<const std::byte> source, std::span<std::byte> out) {
  const std::size_t needed = narrows(rule) ? out.size() / kHalfBytes * kF32Bytes : out.size();
  if (source.size() != needed || (narrows(rule) && out.size() % kHalfBytes != 0)) {
    return {Code::invalid_argument, "a derived piece of " + std::to_string(out.size()) + " bytes cannot be made from " +
                                        std::to_string(source.size())};
  }
  switch (rule) {
    case DerivedRule::copy:
      std::copy(source.begin(), source.end(), out.begin());
      return {};
    case DerivedRule::bf16_of_f32:
      convert(source, out, bf16_of);
      return {};
    case DerivedRule::f16_of_f32:
      convert(source, out, f16_of);
      return {};
  }
  return {Code::unsupported, "a derived piece has a rule that is not known to this build"};
}

}  // namespace stillframe::format
