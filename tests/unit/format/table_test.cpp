#include "format/table.hpp"

#include <gtest/gtest.h>

#include "base/bytes.hpp"
#include "stillframe/types.hpp"

namespace stillframe::format {
namespace {

constexpr std::uint64_t kDataBytes = 1000 + kChunkBytes + 7;
const TableBounds kBounds{0, kDataBytes, {}};

ChunkTable small_table() {
  ChunkTable table;
  table.image_bytes = 2 * kChunkBytes + 7;
  const auto hash = base::xxh128(base::as_bytes("some chunk"));
  table.chunks = {{LocationKind::own_bytes, 1, 0, kChunkBytes, 1000, 0, hash, 11, 12},
                  {LocationKind::own_bytes, 0, 0, kChunkBytes, kChunkBytes, 1000, hash, 0xFFFFFFFF, 0},
                  {LocationKind::own_bytes, 0, 0, 7, 7, 1000 + kChunkBytes, hash, 5, 6}};
  return table;
}

Code decoded(const ChunkTable& table, std::uint64_t data_bytes = kDataBytes) {
  return decode_table(encode_table(table), {0, data_bytes, {}}).status().code();
}

TEST(ChunkTable, ReadsBackAsWritten) {
  const ChunkTable table = small_table();
  const auto bytes = encode_table(table);
  EXPECT_EQ(bytes.size(), 64U * 4);
  EXPECT_EQ(base::as_text(bytes).substr(0, 8), std::string_view("SFTABLE\0", 8));
  const auto back = decode_table(bytes, kBounds);
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(*back, table);
  const ChunkTable empty;
  EXPECT_EQ(decode_table(encode_table(empty), {}).value(), empty);
}

TEST(ChunkTable, EveryFlippedBitIsFound) {
  auto bytes = encode_table(small_table());
  for (std::size_t i = 0; i < bytes.size() * 8; ++i) {
    const auto mask = static_cast<std::byte>(1U << (i % 8));
    bytes[i / 8] ^= mask;
    EXPECT_FALSE(decode_table(bytes, kBounds).ok()) << "byte " << i / 8;
    bytes[i / 8] ^= mask;
  }
  EXPECT_TRUE(decode_table(bytes, kBounds).ok());
}

// With CRC-32 in the blocks too, this would be one number for all tables of a length.
TEST(ChunkTable, Crc32AloneTellsTablesApart) {
  ChunkTable other = small_table();
  std::swap(other.chunks[0].raw_hash.bytes[0], other.chunks[0].raw_hash.bytes[1]);
  EXPECT_NE(base::crc32(encode_table(other)), base::crc32(encode_table(small_table())));
}

TEST(ChunkTable, EveryTruncationAndEveryExtensionIsFound) {
  auto bytes = encode_table(small_table());
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(decode_table(std::span(bytes).first(length), kBounds).ok()) << length;
  }
  bytes.push_back(std::byte{0});
  EXPECT_EQ(decode_table(bytes, kBounds).status().code(), Code::corrupt);
}

TEST(ChunkTable, RecordsMustCoverTheImageAndFillTheDataFile) {
  EXPECT_EQ(decoded(small_table(), kDataBytes - 1), Code::corrupt);
  EXPECT_EQ(decoded(small_table(), kDataBytes + 1), Code::corrupt);
  const auto refused = [](auto change) {
    ChunkTable table = small_table();
    change(table);
    return decoded(table) == Code::corrupt;
  };
  EXPECT_TRUE(refused([](ChunkTable& t) { t.image_bytes += 1; }));
  EXPECT_TRUE(refused([](ChunkTable& t) { t.image_bytes = ~0ULL; }));
  EXPECT_TRUE(refused([](ChunkTable& t) { t.chunks.pop_back(); }));
  EXPECT_TRUE(refused([](ChunkTable& t) { std::swap(t.chunks[0], t.chunks[1]); }));
  EXPECT_TRUE(refused([](ChunkTable& t) { t.chunks[0].raw_bytes = 1; }));
  EXPECT_TRUE(refused([](ChunkTable& t) { t.chunks[0].stored_bytes = 0; }));
  EXPECT_TRUE(refused([](ChunkTable& t) { t.chunks[0].stored_bytes = kChunkBytes + 1; }));
  EXPECT_TRUE(refused([](ChunkTable& t) { t.chunks[1].offset = 0; }));
  EXPECT_TRUE(refused([](ChunkTable& t) { t.chunks[2].offset = ~0ULL; }));
}

TEST(ChunkTable, WhatALaterVersionWritesIsCalledUnsupported) {
  ChunkTable shared = small_table();
  shared.chunks[1].location = static_cast<LocationKind>(9);
  EXPECT_EQ(decoded(shared), Code::unsupported);

  auto bytes = encode_table(small_table());
  const std::span<std::byte> header = std::span(bytes).first(64);
  base::store_le<std::uint32_t>(header, 8, 2);
  base::store_le<std::uint32_t>(header, 60, base::crc32c(header.first(60)));
  EXPECT_EQ(decode_table(bytes, kBounds).status().code(), Code::unsupported);
}

TEST(ChunkTable, ReservedAndUnusedBytesAreZeroEvenUnderARightChecksum) {
  const auto good = encode_table(small_table());
  for (const std::size_t at : {36U, 59U, 64U + 2, 64U + 3, 64U + 44, 64U + 59}) {
    auto bytes = good;
    bytes[at] = std::byte{1};
    const auto block = std::span(bytes).subspan(at / 64 * 64, 64);
    base::store_le<std::uint32_t>(block, 60, base::crc32c(block.first(60)));
    EXPECT_EQ(decode_table(bytes, kBounds).status().code(), Code::corrupt) << at;
  }
}

}  // namespace
}  // namespace stillframe::format
