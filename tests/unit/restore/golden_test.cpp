// The golden stores of the format, as they are checked in, are restored in full.
#include "support/golden.hpp"

#include <gtest/gtest.h>

#include "restore/chooser.hpp"
#include "restore/load.hpp"
#include "store/verify.hpp"
#include "support/store_fixture.hpp"

namespace stillframe::test {
namespace {

// Every entry of one rank, each in memory of its own.
struct Memory {
  explicit Memory(const format::ImageLayout& layout) {
    for (const Entry& entry : layout.entries) bytes.emplace_back(entry.bytes);
    for (std::size_t i = 0; i < bytes.size(); ++i) targets.push_back({layout.entries[i].name, bytes[i]});
  }
  std::vector<std::vector<std::byte>> bytes;
  std::vector<restore::Target> targets;
};

void expect_restored(const store::CheckpointReader& reader, std::size_t rank_index,
                     const std::vector<std::byte>& image) {
  const format::RankManifest& rank = reader.manifest().ranks[rank_index];
  Memory memory(rank.layout);
  SF_ASSERT_OK(restore::load(reader, rank_index, memory.targets, 2, {}));
  for (std::size_t i = 0; i < rank.layout.entries.size(); ++i) {
    const Entry& entry = rank.layout.entries[i];
    const auto from = image.begin() + static_cast<std::ptrdiff_t>(entry.offset);
    EXPECT_TRUE(std::equal(memory.bytes[i].begin(), memory.bytes[i].end(), from)) << entry.name;
  }
}

const std::string kGolden = STILLFRAME_SOURCE_DIR "/tests/golden/";

void expect_all_restored(const Golden& golden, const std::string& folder) {
  std::size_t ranks = 0;
  for (const auto& [key, image] : golden.images) {  // "<store>/<checkpoint>/<rank>"
    SCOPED_TRACE(key);
    const std::size_t slash = key.find('/');
    const std::string name = key.substr(slash + 1, key.rfind('/') - slash - 1);
    const auto store = store::Store::open(env::posix_env(), folder + "/" + key.substr(0, slash));
    SF_ASSERT_OK(store);
    const auto report = store::verify(*store, name, store::VerifyDepth::full, {});
    SF_ASSERT_OK(report);
    EXPECT_TRUE(report->ok) << store::first_finding(*report);
    const auto reader = store::CheckpointReader::open(*store, name);
    SF_ASSERT_OK(reader);
    const auto rank = std::stoul(key.substr(key.rfind('/') + 1));
    for (std::size_t i = 0; i < (*reader)->manifest().ranks.size(); ++i) {
      if ((*reader)->manifest().ranks[i].rank != rank) continue;
      expect_restored(**reader, i, image);
      ++ranks;
    }
  }
  EXPECT_EQ(ranks, golden.images.size());
  EXPECT_GE(ranks, 5U);
}

TEST(GoldenStores, EachCheckpointVerifiesAndEachTensorComesBack) { expect_all_restored(make_golden(), kGolden + "v1"); }

TEST(GoldenStores, AndOfVersionTwo) {
  expect_all_restored(make_golden_v2(kGolden + "v2/chunks"), kGolden + "v2/stores");
}

TEST(GoldenStores, TheNewestOfEachIsChosen) {
  const std::string folder = kGolden + "v1/";
  for (const std::string store : {"container-raw", "planes-lz4", "constant", "shared", "derived", "safetensors"}) {
    const auto listed = store::Store::open(env::posix_env(), folder + store)->list();
    SF_ASSERT_OK(listed);
    format::Address address;
    address.store = folder + store;
    address.run =
        store::CheckpointReader::open(*store::Store::open(env::posix_env(), address.store), listed->front().name)
            .value()
            ->manifest()
            .run;
    const auto chooser = restore::Chooser::open(env::posix_env(), address);
    SF_ASSERT_OK(chooser);
    EXPECT_EQ(chooser->current().name(), listed->front().name);
    EXPECT_TRUE(chooser->skipped().empty());
  }
}

}  // namespace
}  // namespace stillframe::test
