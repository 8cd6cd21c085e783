#include "format/table.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/bytes.hpp"
#include "format/derived.hpp"
#include "stillframe/types.hpp"

namespace stillframe::format {
namespace {

// Header and records alike: 64 bytes, the last four the CRC-32C of the first sixty. Not CRC-32: over blocks that each
// end with their own CRC-32, that of the whole table would be the same for every table of this length.
constexpr std::size_t kBlockBytes = TableDecoder::kBlockBytes;
constexpr std::size_t kBlockCrc = 60;
constexpr std::string_view kMagic{"SFTABLE\0", 8};
constexpr std::uint32_t kTableVersion = 1;
constexpr std::uint8_t kRawCodec = 0;
constexpr std::uint8_t kPlanesCodec = 2;
// In the order of their ids: the version of the format that brought the codec.
constexpr std::array<std::uint32_t, 3> kCodecVersions{1, 1, kPlanesVersion};  // raw, planes_lz4, planes

namespace header {
constexpr std::size_t kVersion = 8, kRecordBytes = 12, kChunks = 16, kImageBytes = 24, kChunkSize = 32, kReserved = 36;
}
namespace record {
constexpr std::size_t kLocation = 0, kCodec = 1, kSource = 2, kRawBytes = 4, kStoredBytes = 8, kRawCrc32 = 12,
                      kOffset = 16, kRawHash = 24, kStoredCrc32c = 40, kPattern = 44;
}

using Block = std::span<std::byte, kBlockBytes>;
using ConstBlock = std::span<const std::byte, kBlockBytes>;

void seal_block(Block block) {
  base::store_le<std::uint32_t>(block, kBlockCrc, base::crc32c(block.first<kBlockCrc>()));
}
bool block_is_sealed(ConstBlock block) {
  return base::load_le<std::uint32_t>(block, kBlockCrc) == base::crc32c(block.first<kBlockCrc>());
}
bool all_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{0}; });
}

void encode_record(const ChunkRecord& chunk, Block out) {
  out[record::kLocation] = static_cast<std::byte>(chunk.location);
  out[record::kCodec] = static_cast<std::byte>(chunk.codec);
  base::store_le(out, record::kSource, chunk.source);
  base::store_le(out, record::kRawBytes, chunk.raw_bytes);
  base::store_le(out, record::kStoredBytes, chunk.stored_bytes);
  base::store_le(out, record::kRawCrc32, chunk.raw_crc32);
  base::store_le(out, record::kOffset, chunk.offset);
  std::memcpy(out.data() + record::kRawHash, chunk.raw_hash.bytes.data(), chunk.raw_hash.bytes.size());
  base::store_le(out, record::kStoredCrc32c, chunk.stored_crc32c);
  std::memcpy(out.data() + record::kPattern, chunk.pattern.data(), chunk.pattern.size());
  seal_block(out);
}

Status wrong(std::string what) { return {Code::corrupt, std::move(what)}; }

ChunkRecord read_fields(ConstBlock in) {
  ChunkRecord chunk;
  chunk.location = static_cast<LocationKind>(in[record::kLocation]);
  chunk.codec = std::to_integer<std::uint8_t>(in[record::kCodec]);
  chunk.source = base::load_le<std::uint16_t>(in, record::kSource);
  chunk.raw_bytes = base::load_le<std::uint32_t>(in, record::kRawBytes);
  chunk.stored_bytes = base::load_le<std::uint32_t>(in, record::kStoredBytes);
  chunk.raw_crc32 = base::load_le<std::uint32_t>(in, record::kRawCrc32);
  chunk.offset = base::load_le<std::uint64_t>(in, record::kOffset);
  std::memcpy(chunk.raw_hash.bytes.data(), in.data() + record::kRawHash, chunk.raw_hash.bytes.size());
  chunk.stored_crc32c = base::load_le<std::uint32_t>(in, record::kStoredCrc32c);
  std::memcpy(chunk.pattern.data(), in.data() + record::kPattern, chunk.pattern.size());
  return chunk;
}

// What a location does not use is zero.
Status check_unused(const ChunkRecord& chunk) {
  const bool constant = chunk.location == LocationKind::constant;
  if (!constant && !all_zero(chunk.pattern)) return wrong("it has a pattern and is no constant");
  if (chunk.location != LocationKind::shared && chunk.source != 0) return wrong("it has a source and is not shared");
  if (constant && (chunk.codec != 0 || chunk.stored_bytes != 0 || chunk.offset != 0 || chunk.stored_crc32c != 0)) {
    return wrong("it is a constant and claims stored bytes");
  }
  return {};
}

Status check_stored_size(const ChunkRecord& chunk) {
  if (chunk.location == LocationKind::constant) return {};
  const auto claims = [&](const std::string& what) {
    return wrong("it claims " + std::to_string(chunk.stored_bytes) + " stored bytes for " +
                 std::to_string(chunk.raw_bytes) + what);
  };
  if (chunk.stored_bytes == 0 || chunk.stored_bytes > chunk.raw_bytes) return claims(" raw bytes");
  if (chunk.location == LocationKind::derived) {
    if (chunk.codec != kRawCodec) return wrong("its pieces are encoded; derived chunks store them as they are");
    return chunk.stored_bytes % kPieceBytes == 0 ? Status() : claims(" derived bytes, which is no number of pieces");
  }
  if (chunk.codec == kRawCodec && chunk.stored_bytes != chunk.raw_bytes) return claims(" bytes stored as they are");
  if (chunk.codec == kPlanesCodec && chunk.stored_bytes == chunk.raw_bytes) return claims(" bytes stored in fewer");
  return {};
}

// `own_end`: where the own bytes before this chunk end.
Status check_place(const ChunkRecord& chunk, const TableBounds& bounds, std::uint64_t own_end) {
  if (chunk.location == LocationKind::constant) return {};
  if (chunk.location == LocationKind::shared) {
    if (chunk.source >= bounds.shared_bytes.size()) {
      return wrong("it lies in shared file " + std::to_string(chunk.source) + " of " +
                   std::to_string(bounds.shared_bytes.size()));
    }
    const std::uint64_t bytes = bounds.shared_bytes[chunk.source];
    if (chunk.offset <= bytes && chunk.stored_bytes <= bytes - chunk.offset) return {};
    return wrong("it ends behind the shared file of " + std::to_string(bytes) + " bytes");
  }
  if (chunk.offset != own_end) {
    return wrong("it claims offset " + std::to_string(chunk.offset) + " where the chunk before it ends at " +
                 std::to_string(own_end));
  }
  if (chunk.stored_bytes <= bounds.data_bytes - own_end) return {};
  return wrong("it ends behind the data file of " + std::to_string(bounds.data_bytes) + " bytes");
}

Result<ChunkRecord> decode_record(ConstBlock in, std::uint32_t raw_bytes, const TableBounds& bounds,
                                  std::uint64_t own_end) {
  if (!block_is_sealed(in)) return wrong("its record does not match the record's CRC-32C");
  const ChunkRecord chunk = read_fields(in);
  if (chunk.location > LocationKind::derived) {
    return Status(Code::unsupported, "its location kind " + std::to_string(static_cast<unsigned>(chunk.location)) +
                                         " is not known to this build");
  }
  if (chunk.codec >= kCodecVersions.size()) {
    return Status(Code::unsupported, "its codec " + std::to_string(chunk.codec) + " is not known to this build");
  }
  if (kCodecVersions.at(chunk.codec) > bounds.version) {
    return wrong("its codec " + std::to_string(chunk.codec) + " is none of format version " +
                 std::to_string(bounds.version) + ", which the manifest says");
  }
  if (chunk.raw_bytes != raw_bytes) {
    return wrong("it claims " + std::to_string(chunk.raw_bytes) + " raw bytes where the image has " +
                 std::to_string(raw_bytes));
  }
  if (bounds.data_start != 0 && (chunk.location != LocationKind::own_bytes || chunk.codec != kRawCodec)) {
    return wrong("it is not stored as it is, as every chunk of a safetensors file must be");
  }
  SF_TRY(check_unused(chunk));
  SF_TRY(check_stored_size(chunk));
  SF_TRY(check_place(chunk, bounds, own_end));
  return chunk;
}

bool is_own(const ChunkRecord& chunk) noexcept {
  return chunk.location == LocationKind::own_bytes || chunk.location == LocationKind::derived;
}

// The image's length, when the header is right and the table as long as it says.
Result<std::uint64_t> decode_header(std::span<const std::byte> bytes, std::uint64_t table_bytes) {
  if (bytes.size() < kBlockBytes) {
    return wrong(std::to_string(bytes.size()) + " bytes are less than its header of 64; the file was cut short");
  }
  const auto head = bytes.first<kBlockBytes>();
  if (base::as_text(head.first<8>()) != kMagic) return wrong("it does not begin with SFTABLE; this is another file");
  if (!block_is_sealed(head)) return wrong("its header does not match the header's CRC-32C");
  const auto version = base::load_le<std::uint32_t>(head, header::kVersion);
  if (version > kTableVersion) {
    return Status(Code::unsupported, "its version " + std::to_string(version) +
                                         " was written by a later Stillframe; this build reads version 1");
  }
  if (version < kTableVersion) {
    return Status(Code::unsupported, "its version 0 was a draft of the format, which this build does not read");
  }
  const auto image_bytes = base::load_le<std::uint64_t>(head, header::kImageBytes);
  if (base::load_le<std::uint32_t>(head, header::kRecordBytes) != kBlockBytes ||
      base::load_le<std::uint32_t>(head, header::kChunkSize) != kChunkBytes || image_bytes > kMaxImageBytes ||
      base::load_le<std::uint64_t>(head, header::kChunks) != base::ceil_div(image_bytes, kChunkBytes) ||
      !all_zero(head.subspan<header::kReserved, kBlockCrc - header::kReserved>())) {
    return wrong("its header's fields are not those of version 1");
  }
  const std::uint64_t expected_bytes = kBlockBytes * (1 + base::ceil_div(image_bytes, kChunkBytes));
  if (table_bytes != expected_bytes) {
    return wrong("it has " + std::to_string(table_bytes) + " bytes; its header says " + std::to_string(expected_bytes));
  }
  return image_bytes;
}

}  // namespace

std::vector<std::byte> encode_table(const ChunkTable& table) {
  std::vector<std::byte> bytes(kBlockBytes * (1 + table.chunks.size()));
  const std::span<std::byte> all(bytes);
  const auto head = all.first<kBlockBytes>();
  std::memcpy(head.data(), kMagic.data(), kMagic.size());
  base::store_le<std::uint32_t>(head, header::kVersion, kTableVersion);
  base::store_le<std::uint32_t>(head, header::kRecordBytes, kBlockBytes);
  base::store_le<std::uint64_t>(head, header::kChunks, table.chunks.size());
  base::store_le<std::uint64_t>(head, header::kImageBytes, table.image_bytes);
  base::store_le<std::uint32_t>(head, header::kChunkSize, kChunkBytes);
  seal_block(head);
  for (std::size_t i = 0; i < table.chunks.size(); ++i) {
    encode_record(table.chunks[i], all.subspan(kBlockBytes * (i + 1)).first<kBlockBytes>());
  }
  return bytes;
}

TableDecoder::TableDecoder(std::uint64_t table_bytes, TableBounds bounds) noexcept
    : table_bytes_(table_bytes), bounds_(std::move(bounds)) {}

Status TableDecoder::take_header(std::span<const std::byte> bytes) {
  const auto image_bytes = decode_header(bytes, table_bytes_);
  if (!image_bytes.ok()) return image_bytes.status().with_context("chunk table");
  if (bounds_.data_start > bounds_.data_bytes) {
    return wrong("chunk table: its data file ends before its chunks begin");
  }
  table_.image_bytes = *image_bytes;
  chunks_ = base::ceil_div(*image_bytes, kChunkBytes);
  table_.chunks.reserve(std::min<std::uint64_t>(chunks_, bytes.size() / kBlockBytes));
  own_end_ = bounds_.data_start;
  has_header_ = true;
  return {};
}

Status TableDecoder::take_record(ConstBlock block) {
  const std::uint64_t index = table_.chunks.size();
  if (index == chunks_) return wrong("chunk table: bytes behind its last record");
  const auto raw_bytes = static_cast<std::uint32_t>(std::min(kChunkBytes, table_.image_bytes - index * kChunkBytes));
  const auto chunk = decode_record(block, raw_bytes, bounds_, own_end_);
  if (!chunk.ok()) return chunk.status().with_context("chunk table, chunk " + std::to_string(index));
  if (is_own(*chunk)) own_end_ += chunk->stored_bytes;
  table_.chunks.push_back(*chunk);
  return {};
}

Status TableDecoder::take(std::span<const std::byte> bytes) {
  if (!has_header_) {
    SF_TRY(take_header(bytes));
    bytes = bytes.subspan(kBlockBytes);
  }
  for (; bytes.size() >= kBlockBytes; bytes = bytes.subspan(kBlockBytes)) {
    SF_TRY(take_record(bytes.first<kBlockBytes>()));
  }
  return bytes.empty() ? Status() : wrong("chunk table: it ends inside a record");
}

Result<ChunkTable> TableDecoder::finish() && {
  if (!has_header_ || table_.chunks.size() != chunks_) return wrong("chunk table: it ends before its last record");
  if (own_end_ != bounds_.data_bytes) {
    return wrong("chunk table: its chunks end at byte " + std::to_string(own_end_) + ", the data file has " +
                 std::to_string(bounds_.data_bytes) + " bytes");
  }
  return std::move(table_);
}

Result<ChunkTable> decode_table(std::span<const std::byte> bytes, const TableBounds& bounds) {
  TableDecoder decoder(bytes.size(), bounds);
  SF_TRY(decoder.take(bytes));
  return std::move(decoder).finish();
}

std::uint32_t lowest_version(const ChunkTable& table) noexcept {
  std::uint32_t version = 1;
  for (const ChunkRecord& chunk : table.chunks) {
    if (chunk.codec < kCodecVersions.size()) version = std::max(version, kCodecVersions[chunk.codec]);
  }
  return version;
}

void fill_constant(const Pattern& pattern, std::span<std::byte> raw) noexcept {
  for (std::size_t at = 0; at < raw.size(); at += pattern.size()) {
    std::memcpy(raw.data() + at, pattern.data(), std::min(pattern.size(), raw.size() - at));
  }
}

}  // namespace stillframe::format
