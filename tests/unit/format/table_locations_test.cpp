// The four kinds of location in one table, and every way they can contradict themselves.
#include <gtest/gtest.h>

#include "format/table.hpp"
#include "stillframe/types.hpp"

namespace stillframe::format {
namespace {

constexpr std::uint64_t kSharedBytes = 5000;
const TableBounds kBounds{0, 1000 + 32, {kSharedBytes, 0}};

Pattern pattern_of(int first) {
  Pattern pattern{};
  pattern[0] = static_cast<std::byte>(first);
  return pattern;
}

// own, constant, shared, derived; the last is short.
ChunkTable mixed_table() {
  ChunkTable table;
  table.image_bytes = 3 * kChunkBytes + 700;
  const auto hash = base::Hash128{};
  table.chunks = {{LocationKind::own_bytes, 1, 0, kChunkBytes, 1000, 0, hash, 1, 2},
                  {LocationKind::constant, 0, 0, kChunkBytes, 0, 0, hash, 3, 0, pattern_of(7)},
                  {LocationKind::shared, 1, 0, kChunkBytes, 400, 4600, hash, 5, 6},
                  {LocationKind::derived, 0, 0, 700, 32, 1000, hash, 7, 8}};
  return table;
}

template <typename Change>
Code decoded(Change change, const TableBounds& bounds = kBounds) {
  ChunkTable table = mixed_table();
  change(table.chunks);
  return decode_table(encode_table(table), bounds).status().code();
}
using Chunks = std::vector<ChunkRecord>;

TEST(ChunkLocations, AllFourReadBackAsWritten) {
  const auto back = decode_table(encode_table(mixed_table()), kBounds);
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(*back, mixed_table());
}

TEST(ChunkLocations, AConstantStoresNothing) {
  EXPECT_EQ(decoded([](Chunks& c) { c[1].stored_bytes = 1; }), Code::corrupt);
  EXPECT_EQ(decoded([](Chunks& c) { c[1].offset = 1000; }), Code::corrupt);
  EXPECT_EQ(decoded([](Chunks& c) { c[1].codec = 1; }), Code::corrupt);
  EXPECT_EQ(decoded([](Chunks& c) { c[1].stored_crc32c = 1; }), Code::corrupt);
  EXPECT_EQ(decoded([](Chunks& c) { c[1].source = 1; }), Code::corrupt);
}

TEST(ChunkLocations, OnlyAConstantHasAPatternAndOnlySharedASource) {
  for (const std::size_t i : {0U, 2U, 3U}) {
    EXPECT_EQ(decoded([&](Chunks& c) { c[i].pattern = pattern_of(1); }), Code::corrupt) << i;
  }
  EXPECT_EQ(decoded([](Chunks& c) { c[0].source = 1; }), Code::corrupt);
  EXPECT_EQ(decoded([](Chunks& c) { c[3].source = 1; }), Code::corrupt);
}

TEST(ChunkLocations, SharedBytesLieInsideTheirFile) {
  EXPECT_EQ(decoded([](Chunks& c) { c[2].offset = 0; }), Code::ok);
  EXPECT_EQ(decoded([](Chunks& c) { c[2].offset = 4601; }), Code::corrupt);
  EXPECT_EQ(decoded([](Chunks& c) { c[2].offset = ~0ULL - 100; }), Code::corrupt);
  EXPECT_EQ(decoded([](Chunks& c) { c[2].source = 1; }), Code::corrupt);
  EXPECT_EQ(decoded([](Chunks& c) { c[2].source = 2; }), Code::corrupt);
  EXPECT_EQ(decoded([](Chunks& c) { c[2].source = 65535; }), Code::corrupt);
  EXPECT_EQ(decoded([](Chunks& c) { c[2].stored_bytes = 0; }), Code::corrupt);
}

TEST(ChunkLocations, DerivedBytesAreWholePieces) {
  EXPECT_EQ(decoded([](Chunks& c) { c[3].codec = 1; }), Code::corrupt);
  EXPECT_EQ(decoded([](Chunks& c) { c[3].stored_bytes = 31; }, {0, 1000 + 31, {kSharedBytes}}), Code::corrupt);
  EXPECT_EQ(decoded([](Chunks& c) { c[3].stored_bytes = 48; }, {0, 1000 + 48, {kSharedBytes}}), Code::ok);
  EXPECT_EQ(decoded([](Chunks& c) { c[3].offset = 1001; }), Code::corrupt);
  EXPECT_EQ(decoded([](Chunks& c) { c[3].stored_bytes = 704; }, {0, 1000 + 704, {kSharedBytes}}), Code::corrupt);
}

TEST(ChunkLocations, WhatIsStoredAsItIsHasItsOwnLength) {
  EXPECT_EQ(decoded([](Chunks& c) { c[0].codec = 0; }), Code::corrupt);
  EXPECT_EQ(decoded([](Chunks& c) { c[2].codec = 0; }), Code::corrupt);
}

// Under a manifest of version 1 a codec of version 2 is no version 1.
TEST(ChunkLocations, ACodecIsOneOfTheVersionThatTheManifestSays) {
  TableBounds second = kBounds;
  second.version = 2;
  const auto is_planes = [](Chunks& c) { c[0].codec = c[2].codec = 2; };
  EXPECT_EQ(decoded(is_planes), Code::corrupt);
  EXPECT_EQ(decoded(is_planes, second), Code::ok);
  EXPECT_EQ(decoded([](Chunks&) {}, second), Code::ok);
  const std::uint64_t longer = kBounds.data_bytes - 1000 + kChunkBytes;
  const auto stores_no_less = [](Chunks& c) {
    c[0].codec = 2;
    c[0].stored_bytes = kChunkBytes;
    c[3].offset = kChunkBytes;
  };
  EXPECT_EQ(decoded(stores_no_less, {0, longer, {kSharedBytes}, 2}), Code::corrupt);
  for (const TableBounds& bounds : {kBounds, second}) {
    EXPECT_EQ(decoded([](Chunks& c) { c[0].codec = 3; }, bounds), Code::unsupported);
  }
}

TEST(ChunkLocations, TheLowestVersionIsThatOfTheNewestCodec) {
  ChunkTable table = mixed_table();
  EXPECT_EQ(lowest_version(table), 1U);
  table.chunks[2].codec = 2;
  EXPECT_EQ(lowest_version(table), 2U);
  EXPECT_EQ(lowest_version({}), 1U);
}

TEST(ChunkLocations, ASafetensorsFileHoldsEveryChunkAsItIs) {
  ChunkTable table;
  table.image_bytes = kChunkBytes + 10;
  table.chunks = {{LocationKind::own_bytes, 0, 0, kChunkBytes, kChunkBytes, 4096, {}, 1, 2},
                  {LocationKind::own_bytes, 0, 0, 10, 10, 4096 + kChunkBytes, {}, 1, 2}};
  const TableBounds bounds{4096, 4096 + kChunkBytes + 10, {kSharedBytes}};
  EXPECT_EQ(decode_table(encode_table(table), bounds).value(), table);
  EXPECT_FALSE(decode_table(encode_table(table), {0, bounds.data_bytes, {}}).ok());
  EXPECT_FALSE(decode_table(encode_table(table), {8192, bounds.data_bytes, {}}).ok());
  EXPECT_FALSE(decode_table(encode_table(table), {~0ULL, 10, {}}).ok());
  table.chunks[1] = {LocationKind::constant, 0, 0, 10, 0, 0, {}, 1, 0, pattern_of(1)};
  EXPECT_FALSE(decode_table(encode_table(table), {4096, 4096 + kChunkBytes, {}}).ok());
  table.chunks[1] = {LocationKind::shared, 0, 0, 10, 10, 0, {}, 1, 0, {}};
  EXPECT_FALSE(decode_table(encode_table(table), {4096, 4096 + kChunkBytes, {kSharedBytes}}).ok());
}

TEST(ChunkLocations, AConstantRepeatsFromItsStartAndIsCutAtItsEnd) {
  Pattern pattern{};
  for (std::size_t i = 0; i < pattern.size(); ++i) pattern[i] = static_cast<std::byte>(i);
  std::vector<std::byte> raw(37);
  fill_constant(pattern, raw);
  for (std::size_t i = 0; i < raw.size(); ++i) EXPECT_EQ(raw[i], static_cast<std::byte>(i % 16)) << i;
  fill_constant(pattern, {});
}

TEST(TableLocations, ATableInPiecesIsTheSameAsWhole) {
  const std::vector<std::byte> bytes = encode_table(mixed_table());
  for (std::size_t piece = TableDecoder::kBlockBytes; piece <= bytes.size(); piece += TableDecoder::kBlockBytes) {
    TableDecoder decoder(bytes.size(), kBounds);
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      ASSERT_TRUE(decoder.take(std::span(bytes).subspan(at, std::min(piece, bytes.size() - at))).ok());
    }
    EXPECT_EQ(std::move(decoder).finish().value(), mixed_table()) << piece;
  }
  TableDecoder cut(bytes.size(), kBounds);
  ASSERT_TRUE(cut.take(std::span(bytes).first(bytes.size() - TableDecoder::kBlockBytes)).ok());
  EXPECT_EQ(std::move(cut).finish().status().code(), Code::corrupt);
  TableDecoder longer(bytes.size(), kBounds);
  ASSERT_TRUE(longer.take(bytes).ok());
  EXPECT_EQ(longer.take(std::span(bytes).last(TableDecoder::kBlockBytes)).code(), Code::corrupt);
}

}  // namespace
}  // namespace stillframe::format
