#include "format/image.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace stillframe::format {
namespace {

Entry entry(std::string name, DType dtype, std::vector<std::uint64_t> shape) {
  return {std::move(name), dtype, std::move(shape), 0, 0};
}

ImageLayout mixed_layout() {
  return lay_out({entry("half", DType::f16, {3}), entry("empty", DType::f32, {0, 5}),
                  entry("big", DType::f32, {300'000}), entry("byte", DType::u8, {5}), entry("wide", DType::f64, {}),
                  entry("pair", DType::c128, {2})})
      .value();
}

TEST(ImageLayout, OrdersByDescendingWidthThenAsGivenWithoutHoles) {
  const ImageLayout layout = mixed_layout();
  std::vector<std::string> names;
  std::uint64_t offset = 0;
  for (const Entry& e : layout.entries) {
    names.push_back(e.name);
    EXPECT_EQ(e.offset, offset);
    EXPECT_EQ(e.offset % dtype_bytes(e.dtype), 0U);
    offset += e.bytes;
  }
  EXPECT_EQ(names, (std::vector<std::string>{"pair", "wide", "empty", "big", "half", "byte"}));
  EXPECT_EQ(layout.bytes, 32U + 8 + 1'200'000 + 6 + 5);
  EXPECT_EQ(layout.chunk_count(), 2U);
  EXPECT_EQ(layout.chunk_length(0), kChunkBytes);
  EXPECT_EQ(layout.chunk_length(1), layout.bytes - kChunkBytes);
  EXPECT_EQ(layout.chunk_length(2), 0U);
}

TEST(ImageLayout, RunsCoverEachChunkInWholeElements) {
  const ImageLayout layout = mixed_layout();
  EXPECT_EQ(element_runs(layout, 0),
            (std::vector<ElementRun>{{32, 16}, {8, 8}, {static_cast<std::uint32_t>(kChunkBytes - 40), 4}}));
  EXPECT_EQ(element_runs(layout, 1),
            (std::vector<ElementRun>{{static_cast<std::uint32_t>(1'200'040 - kChunkBytes), 4}, {6, 2}, {5, 1}}));
  EXPECT_TRUE(element_runs(layout, 2).empty());

  const EntryRange first = entries_of_chunk(layout, 0);
  EXPECT_EQ(first.first, 0U);
  EXPECT_EQ(first.last, 4U);
  const EntryRange second = entries_of_chunk(layout, 1);
  EXPECT_EQ(second.first, 3U);
  EXPECT_EQ(second.last, 6U);
}

TEST(ImageLayout, OfNothingHasNoChunk) {
  const auto layout = lay_out({});
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(layout->chunk_count(), 0U);
  EXPECT_TRUE(element_runs(*layout, 0).empty());
  const auto only_empty = lay_out({entry("e", DType::f32, {0})});
  ASSERT_TRUE(only_empty.ok());
  EXPECT_EQ(only_empty->bytes, 0U);
}

TEST(ImageLayout, EntriesThatEndOnAChunkBorderStayInTheirChunk) {
  const auto layout =
      lay_out({entry("a", DType::u8, {kChunkBytes}), entry("z", DType::u8, {0}), entry("b", DType::u8, {1})});
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(entries_of_chunk(*layout, 0).last, 1U);
  EXPECT_EQ(entries_of_chunk(*layout, 1).first, 2U);
  EXPECT_EQ(entries_of_chunk(*layout, 1).last, 3U);
}

TEST(ImageLayout, RefusesWhatCannotBeLaidOut) {
  constexpr std::uint64_t kHuge = std::numeric_limits<std::uint64_t>::max();
  const std::vector<Entry> cases[] = {
      {entry("a", DType::f32, {1}), entry("a", DType::f32, {1})},
      {entry(std::string(kMaxEntryNameBytes + 1, 'n'), DType::f32, {1})},
      {entry("bad \xFF utf-8", DType::f32, {1})},
      {entry("surrogate \xED\xA0\x80", DType::f32, {1})},
      {entry("a", DType::f32, {kHuge, 2})},
      {entry("a", DType::f32, {kHuge, 2, 0})},
      {entry("a", DType::f64, {kMaxImageBytes / 8 + 1})},
      {entry("a", DType::u8, {kMaxImageBytes}), entry("b", DType::u8, {1})},
      {entry("a", DType::f32, std::vector<std::uint64_t>(kMaxTensorRank + 1, 1))},
      {entry("a", static_cast<DType>(200), {1})},
  };
  for (const auto& entries : cases) {
    const auto layout = lay_out(entries);
    EXPECT_EQ(layout.status().code(), Code::invalid_argument);
    EXPECT_FALSE(layout.status().message().empty());
  }
}

TEST(CheckLayout, AcceptsWhatLayOutMadeAndNothingElse) {
  const ImageLayout good = mixed_layout();
  const auto accepted = check_layout(good.entries, good.bytes);
  ASSERT_TRUE(accepted.ok());
  EXPECT_EQ(accepted->entries, good.entries);

  const auto refused = [&](auto change, std::uint64_t extra = 0) {
    auto entries = good.entries;
    change(entries);
    return check_layout(entries, good.bytes + extra).status().code() == Code::corrupt;
  };
  EXPECT_TRUE(refused([](auto&) {}, 1));
  EXPECT_TRUE(refused([](auto& e) { e[3].offset += 4; }));
  EXPECT_TRUE(refused([](auto& e) { e[3].bytes -= 4; }));
  EXPECT_TRUE(refused([](auto& e) { e[3].shape = {3}; }));
  EXPECT_TRUE(refused([](auto& e) { e[3].dtype = DType::f64; }));
  EXPECT_TRUE(refused([](auto& e) { e[3].name = e[4].name; }));
  EXPECT_TRUE(refused([](auto& e) { e.pop_back(); }));
  EXPECT_TRUE(refused([](auto& e) { std::swap(e[0], e[1]); }));
  // No holes and no overlaps, but narrower elements first.
  EXPECT_EQ(check_layout({{"b", DType::u8, {8}, 0, 8}, {"w", DType::f64, {1}, 8, 8}}, 16).status().code(),
            Code::corrupt);
}

}  // namespace
}  // namespace stillframe::format
