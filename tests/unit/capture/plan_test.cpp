#include "capture/plan.hpp"

#include <gtest/gtest.h>

#include <random>

#include "format/descriptor.hpp"

namespace stillframe::capture {
namespace {

std::shared_ptr<const Plan> plan_of(std::vector<EntrySpec> specs) {
  auto made = Plan::make(std::move(specs));
  EXPECT_TRUE(made.ok()) << made.status().message();
  return std::move(made).value();
}

EntrySpec spec(const std::string& name, DType dtype, std::vector<std::uint64_t> shape, bool guarded = true) {
  return {{name, dtype, std::move(shape), 0, 0}, guarded};
}

// Every byte of the image comes from exactly one byte of one source, and every byte of a source goes to one place.
void expect_exact_cover(const Plan& plan) {
  std::vector<std::uint64_t> taken(plan.source_bytes.size(), 0);
  std::uint64_t image_at = 0;
  for (std::uint64_t chunk = 0; chunk < plan.layout.chunk_count(); ++chunk) {
    for (const Piece& piece : plan.pieces_of_chunk(chunk)) {
      ASSERT_GT(piece.bytes, 0U);
      ASSERT_LE(piece.chunk_offset + std::uint64_t{piece.bytes}, kChunkBytes);
      ASSERT_EQ(chunk * kChunkBytes + piece.chunk_offset, image_at) << "a hole or an overlap in the image";
      ASSERT_LT(piece.source, taken.size());
      ASSERT_EQ(piece.offset, taken[piece.source]) << "a hole or an overlap in source " << piece.source;
      taken[piece.source] += piece.bytes;
      image_at += piece.bytes;
    }
  }
  EXPECT_EQ(image_at, plan.layout.bytes);
  EXPECT_EQ(taken, plan.source_bytes);
}

TEST(Plan, PiecesCoverTheImageExactlyOnce) {
  expect_exact_cover(
      *plan_of({spec("a", DType::f32, {1000}), spec("b", DType::u8, {5}), spec("c", DType::f64, {3, 3})}));
  expect_exact_cover(*plan_of({spec("one", DType::u8, {1})}));
}

TEST(Plan, EmptyEntriesTakeNoPiece) {
  const auto plan =
      plan_of({spec("none", DType::f32, {0, 7}), spec("some", DType::f32, {7}), spec("last", DType::u8, {0})});
  expect_exact_cover(*plan);
  EXPECT_EQ(plan->pieces_of_chunk(0).size(), 1U);
  EXPECT_EQ(plan->source_bytes, (std::vector<std::uint64_t>{0, 28, 0}));
}

TEST(Plan, AStateOfNothingHasNoChunk) {
  const auto plan = plan_of({spec("none", DType::f32, {0})});
  EXPECT_EQ(plan->layout.chunk_count(), 0U);
  expect_exact_cover(*plan);
}

TEST(Plan, AnEntryAcrossManyChunksIsCutAtTheirBorders) {
  const auto plan = plan_of({spec("head", DType::f64, {1}), spec("large", DType::f32, {3 * kChunkBytes / 4 + 10}),
                             spec("exact", DType::u8, {kChunkBytes})});
  EXPECT_EQ(plan->layout.chunk_count(), 5U);
  expect_exact_cover(*plan);
}

TEST(Plan, SourcesKeepTheOrderGivenThoughTheImageHasAnother) {
  const auto plan =
      plan_of({spec("bytes", DType::u8, {3}), spec("doubles", DType::f64, {2}), spec("halves", DType::f16, {4})});
  EXPECT_EQ(plan->source_of_entry, (std::vector<std::size_t>{1, 2, 0}));
  EXPECT_EQ(plan->source_bytes, (std::vector<std::uint64_t>{3, 16, 8}));
  EXPECT_EQ(plan->layout_text, format::encode_layout(plan->layout));
}

TEST(Plan, UnguardedSourcesHavePlacesInTheScratchOfTheirOwn) {
  const auto plan = plan_of({spec("w", DType::f32, {100}), spec("mean", DType::f32, {10}, false),
                             spec("scale", DType::f64, {1}, false), spec("nothing", DType::f32, {0}, false)});
  EXPECT_EQ(plan->guarded_bytes, 400U);
  EXPECT_EQ(plan->unguarded_bytes, 48U);
  EXPECT_EQ(plan->scratch_offset[1], 0U);
  EXPECT_EQ(plan->scratch_offset[2], 40U);
  EXPECT_EQ(plan->source_guarded, (std::vector<bool>{true, false, false, false}));
}

TEST(Plan, TwoEntriesOfOneNameAreRefused) {
  const auto made = Plan::make({spec("w", DType::f32, {1}), spec("w", DType::f32, {2})});
  EXPECT_EQ(made.status().code(), Code::invalid_argument);
}

TEST(Plan, AShapeThatOverflowsIsRefused) {
  EXPECT_EQ(Plan::make({spec("w", DType::f64, {1ULL << 40U, 1ULL << 40U})}).status().code(), Code::invalid_argument);
}

TEST(Plan, RandomStatesAreCoveredExactlyOnce) {
  std::mt19937_64 random(6);
  for (int round = 0; round < 60; ++round) {
    SCOPED_TRACE(round);
    std::vector<EntrySpec> specs;
    for (std::uint64_t i = random() % 200; i < 201; ++i) {
      const auto dtype = static_cast<DType>(random() % 20);
      const std::uint64_t count = random() % 8 == 0 ? random() % 400'000 : random() % 50;
      specs.push_back(spec("entry" + std::to_string(i), dtype, {count}, random() % 3 != 0));
    }
    const auto plan = plan_of(std::move(specs));
    expect_exact_cover(*plan);
    EXPECT_EQ(plan->guarded_bytes + plan->unguarded_bytes, plan->layout.bytes);
  }
}

}  // namespace
}  // namespace stillframe::capture
