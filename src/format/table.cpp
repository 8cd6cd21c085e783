#include "format/table.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/bytes.hpp"
#include "stillframe/types.hpp"

namespace stillframe::format {
namespace {

// Header and records alike: 64 bytes, the last four the CRC-32 of the first sixty.
constexpr std::size_t kBlockBytes = 64;
constexpr std::size_t kBlockCrc = 60;
constexpr std::string_view kMagic{"SFTABLE\0", 8};
constexpr std::uint32_t kTableVersion = 0;

namespace header {
constexpr std::size_t kVersion = 8, kRecordBytes = 12, kChunks = 16, kImageBytes = 24, kChunkSize = 32, kReserved = 36;
}
namespace record {
constexpr std::size_t kLocation = 0, kCodec = 1, kReserved = 2, kRawBytes = 4, kStoredBytes = 8, kRawCrc32 = 12,
                      kOffset = 16, kRawHash = 24, kStoredCrc32c = 40, kReservedTail = 44;
}

using Block = std::span<std::byte, kBlockBytes>;
using ConstBlock = std::span<const std::byte, kBlockBytes>;

void seal_block(Block block) { base::store_le<std::uint32_t>(block, kBlockCrc, base::crc32(block.first<kBlockCrc>())); }
bool block_is_sealed(ConstBlock block) {
  return base::load_le<std::uint32_t>(block, kBlockCrc) == base::crc32(block.first<kBlockCrc>());
}
bool all_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{0}; });
}

void encode_record(const ChunkRecord& chunk, Block out) {
  out[record::kLocation] = static_cast<std::byte>(chunk.location);
  out[record::kCodec] = static_cast<std::byte>(chunk.codec);
  base::store_le(out, record::kRawBytes, chunk.raw_bytes);
  base::store_le(out, record::kStoredBytes, chunk.stored_bytes);
  base::store_le(out, record::kRawCrc32, chunk.raw_crc32);
  base::store_le(out, record::kOffset, chunk.offset);
  std::memcpy(out.data() + record::kRawHash, chunk.raw_hash.bytes.data(), chunk.raw_hash.bytes.size());
  base::store_le(out, record::kStoredCrc32c, chunk.stored_crc32c);
  seal_block(out);
}

struct Expected {
  std::uint32_t raw_bytes;
  std::uint64_t offset;
  std::uint64_t data_bytes;
};

Result<ChunkRecord> decode_record(ConstBlock in, const Expected& expected) {
  const auto wrong = [](const std::string& what) { return Status(Code::corrupt, what); };
  if (!block_is_sealed(in)) return wrong("its record does not match the record's CRC-32");
  if (!all_zero(in.subspan<record::kReserved, 2>()) ||
      !all_zero(in.subspan<record::kReservedTail, kBlockCrc - record::kReservedTail>())) {
    return wrong("reserved bytes of its record are not zero");
  }
  if (in[record::kLocation] != static_cast<std::byte>(LocationKind::own_bytes)) {
    return Status(Code::unsupported, "its location kind " +
                                         std::to_string(std::to_integer<unsigned>(in[record::kLocation])) +
                                         " is not known to this build");
  }
  ChunkRecord chunk;
  chunk.codec = std::to_integer<std::uint8_t>(in[record::kCodec]);
  chunk.raw_bytes = base::load_le<std::uint32_t>(in, record::kRawBytes);
  chunk.stored_bytes = base::load_le<std::uint32_t>(in, record::kStoredBytes);
  chunk.raw_crc32 = base::load_le<std::uint32_t>(in, record::kRawCrc32);
  chunk.offset = base::load_le<std::uint64_t>(in, record::kOffset);
  std::memcpy(chunk.raw_hash.bytes.data(), in.data() + record::kRawHash, chunk.raw_hash.bytes.size());
  chunk.stored_crc32c = base::load_le<std::uint32_t>(in, record::kStoredCrc32c);

  if (chunk.raw_bytes != expected.raw_bytes) {
    return wrong("it claims " + std::to_string(chunk.raw_bytes) + " raw bytes where the image has " +
                 std::to_string(expected.raw_bytes));
  }
  if (chunk.stored_bytes == 0 || chunk.stored_bytes > chunk.raw_bytes) {
    return wrong("it claims " + std::to_string(chunk.stored_bytes) + " stored bytes for " +
                 std::to_string(chunk.raw_bytes) + " raw bytes");
  }
  if (chunk.offset != expected.offset) {
    return wrong("it claims offset " + std::to_string(chunk.offset) + " where the chunk before it ends at " +
                 std::to_string(expected.offset));
  }
  if (chunk.stored_bytes > expected.data_bytes - expected.offset) {
    return wrong("it ends behind the data file of " + std::to_string(expected.data_bytes) + " bytes");
  }
  return chunk;
}

// The image's length, when the header is right and `bytes` is as long as it says.
Result<std::uint64_t> decode_header(std::span<const std::byte> bytes) {
  const auto wrong = [](std::string what) { return Status(Code::corrupt, "chunk table: " + std::move(what)); };
  if (bytes.size() < kBlockBytes) {
    return wrong(std::to_string(bytes.size()) + " bytes are less than its header of 64; the file was cut short");
  }
  const auto head = bytes.first<kBlockBytes>();
  if (base::as_text(head.first<8>()) != kMagic) return wrong("it does not begin with SFTABLE; this is another file");
  if (!block_is_sealed(head)) return wrong("its header does not match the header's CRC-32");
  const auto version = base::load_le<std::uint32_t>(head, header::kVersion);
  if (version > kTableVersion) {
    return Status(Code::unsupported, "chunk table: version " + std::to_string(version) +
                                         " was written by a later Stillframe; this build reads version 0");
  }
  const auto image_bytes = base::load_le<std::uint64_t>(head, header::kImageBytes);
  if (base::load_le<std::uint32_t>(head, header::kRecordBytes) != kBlockBytes ||
      base::load_le<std::uint32_t>(head, header::kChunkSize) != kChunkBytes || image_bytes > kMaxImageBytes ||
      base::load_le<std::uint64_t>(head, header::kChunks) != base::ceil_div(image_bytes, kChunkBytes) ||
      !all_zero(head.subspan<header::kReserved, kBlockCrc - header::kReserved>())) {
    return wrong("its header's fields are not those of version 0");
  }
  const std::uint64_t expected_bytes = kBlockBytes * (1 + base::ceil_div(image_bytes, kChunkBytes));
  if (bytes.size() != expected_bytes) {
    return wrong("it has " + std::to_string(bytes.size()) + " bytes; its header says " +
                 std::to_string(expected_bytes));
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

Result<ChunkTable> decode_table(std::span<const std::byte> bytes, std::uint64_t data_bytes) {
  ChunkTable table;
  SF_ASSIGN(table.image_bytes, decode_header(bytes));
  const std::uint64_t chunks = base::ceil_div(table.image_bytes, kChunkBytes);
  table.chunks.reserve(chunks);
  std::uint64_t offset = 0;
  for (std::uint64_t i = 0; i < chunks; ++i) {
    const auto raw_bytes = static_cast<std::uint32_t>(std::min(kChunkBytes, table.image_bytes - i * kChunkBytes));
    auto chunk =
        decode_record(bytes.subspan(kBlockBytes * (i + 1)).first<kBlockBytes>(), {raw_bytes, offset, data_bytes});
    if (!chunk.ok()) return chunk.status().with_context("chunk table, chunk " + std::to_string(i));
    offset += chunk->stored_bytes;
    table.chunks.push_back(*chunk);
  }
  if (offset != data_bytes) {
    return Status(Code::corrupt, "chunk table: its chunks end at byte " + std::to_string(offset) +
                                     ", the data file has " + std::to_string(data_bytes) + " bytes");
  }
  return table;
}

}  // namespace stillframe::format
