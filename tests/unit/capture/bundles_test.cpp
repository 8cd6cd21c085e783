// Which small pieces of a chunk travel to the host together (src/capture/bundles.hpp).
#include "capture/bundles.hpp"

#include <gtest/gtest.h>

#include "capture/plan.hpp"

namespace stillframe::capture {
namespace {

struct Tensor {
  std::uint32_t bytes = 0;
  std::int32_t device = 0;
};

struct Found {
  std::vector<Bundle> bundles;
  std::map<std::int32_t, std::size_t> listed;
};

// As they stand in one chunk, without a hole.
Found find(const std::vector<Tensor>& tensors) {
  std::vector<Piece> pieces;
  std::vector<std::int32_t> device;
  std::uint32_t at = 0;
  for (const Tensor& tensor : tensors) {
    pieces.push_back({device.size(), 0, at, tensor.bytes});
    device.push_back(tensor.device);
    at += tensor.bytes;
  }
  Found found;
  found.bundles = bundles_of(pieces, device, found.listed);
  return found;
}

std::vector<Tensor> small(std::size_t count, std::int32_t device = 0) { return {count, {100, device}}; }

std::vector<Tensor> joined(std::vector<Tensor> tensors, const std::vector<Tensor>& more) {
  tensors.insert(tensors.end(), more.begin(), more.end());
  return tensors;
}

TEST(Bundles, SmallPiecesSideBySideOnOneGpuAreOne) {
  const Found found = find(small(20));
  ASSERT_EQ(found.bundles.size(), 1U);
  EXPECT_EQ(found.bundles[0].chunk_offset, 0U);
  EXPECT_EQ(found.bundles[0].bytes, 2000U);
  EXPECT_EQ(found.bundles[0].pieces, 20U);
  EXPECT_EQ(found.listed.at(0), 20U);
}

TEST(Bundles, FewAndLargePiecesAndThoseOfTheHostAreNone) {
  EXPECT_TRUE(find({}).bundles.empty());
  EXPECT_TRUE(find(small(kFewestBundled - 1)).bundles.empty());
  EXPECT_TRUE(find(small(100, kHost)).bundles.empty());
  EXPECT_TRUE(find({20, {kLargestBundledBytes + 1, 0}}).bundles.empty());
  EXPECT_EQ(find({kFewestBundled, {kLargestBundledBytes, 0}}).bundles.size(), 1U);
}

TEST(Bundles, ALargePieceOrAnotherDeviceBetweenSmallOnesParts) {
  const std::vector<Tensor> large{{kLargestBundledBytes + 1, 0}};
  const Found found = find(joined(joined(joined(small(10), large), small(9)), joined(small(8, 1), small(12, kHost))));
  ASSERT_EQ(found.bundles.size(), 3U);
  EXPECT_EQ(found.bundles[0].bytes, 1000U);
  EXPECT_EQ(found.bundles[1].first_piece, 11U);
  EXPECT_EQ(found.bundles[1].chunk_offset, 1000U + kLargestBundledBytes + 1);
  EXPECT_EQ(found.bundles[1].first_listed, 10U);
  EXPECT_EQ(found.bundles[2].device, 1);
  EXPECT_EQ(found.bundles[2].first_listed, 0U) << "each device has a list of its own";
  EXPECT_EQ(found.listed, (std::map<std::int32_t, std::size_t>{{0, 19}, {1, 8}}));
}

TEST(Bundles, APlanHasThemByChunkAndCountsWhatIsGathered) {
  std::vector<EntrySpec> specs;
  for (int i = 0; i < 3000; ++i) {
    specs.push_back({{"t" + std::to_string(i), DType::u8, {1000}, 0, 0}, i % 3 != 0, true, 0});
  }
  specs.push_back({{"none", DType::u8, {0}, 0, 0}, false, true, 0});
  const auto plan = Plan::make(std::move(specs));
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ((*plan)->gathered_sources.at(0), 1000U) << "one without bytes is nothing to gather";
  ASSERT_EQ((*plan)->bundles.size(), (*plan)->layout.chunk_count());
  std::size_t listed = 0;
  for (const auto& [chunk, bundles] : (*plan)->bundles) {
    ASSERT_EQ(bundles.size(), 1U);
    EXPECT_EQ(bundles[0].first_listed, listed);
    EXPECT_EQ(bundles[0].bytes, (*plan)->layout.chunk_length(chunk));
    listed += bundles[0].pieces;
  }
  EXPECT_EQ(listed, (*plan)->bundled_pieces.at(0));
  EXPECT_EQ(listed, 3000U + (*plan)->layout.chunk_count() - 1) << "a tensor on a border is a piece of either chunk";
}

}  // namespace
}  // namespace stillframe::capture
