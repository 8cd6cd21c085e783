#include "persist/retention_task.hpp"

#include <gmock/gmock.h>

#include "support/store_fixture.hpp"

namespace stillframe::test {
namespace {

using persist::prune;
using store::Store;

class Pruning : public testing::Test {
 protected:
  std::string add(const std::string& run, std::int64_t step, bool verified) {
    const auto published = publish(store_, run, step).value();
    if (verified) store_.set_mark(published.name, format::kVerifiedMark, "").ignore("the scenario fails without it");
    return published.name;
  }
  std::vector<std::int64_t> steps_left() {
    std::vector<std::int64_t> steps;
    const auto present = store_.list().value();
    for (const auto& ref : present) steps.push_back(ref.parsed.step);
    return steps;
  }

  FaultEnv env_;
  Store store_ = Store::open_or_create(env_, "/runs/gpt").value();
};

TEST_F(Pruning, RemovesOldestFirstWithinTheRunAndLeavesOtherRunsAlone) {
  const std::string first = add("main", 1, true);
  add("other", 2, true);
  const std::string third = add("main", 3, true);
  add("main", 4, true);
  const auto removals = prune(store_, "main", {1});
  SF_ASSERT_OK(removals);
  ASSERT_EQ(removals->size(), 2U);
  EXPECT_EQ((*removals)[0].name, first);
  EXPECT_EQ((*removals)[1].name, third);
  EXPECT_TRUE((*removals)[0].outcome.ok());
  EXPECT_FALSE((*removals)[0].reason.empty());
  EXPECT_THAT(steps_left(), testing::ElementsAre(4, 2));
}

TEST_F(Pruning, ACheckpointBeingReadIsPassedOverAndTheOthersGo) {
  const std::string read = add("main", 1, true);
  add("main", 2, true);
  add("main", 3, true);
  {
    const auto reader = store::CheckpointReader::open(store_, read);
    SF_ASSERT_OK(reader);
    const auto removals = prune(store_, "main", {1});
    SF_ASSERT_OK(removals);
    EXPECT_EQ(removals->at(0).outcome.code(), Code::busy);
    EXPECT_TRUE(removals->at(1).outcome.ok());
    EXPECT_THAT(steps_left(), testing::ElementsAre(3, 1));
  }
  SF_ASSERT_OK(prune(store_, "main", {1}));
  EXPECT_THAT(steps_left(), testing::ElementsAre(3));
}

TEST_F(Pruning, NothingGoesBeforeANewerOneIsVerified) {
  add("main", 1, true);
  add("main", 2, false);
  EXPECT_TRUE(prune(store_, "main", {1})->empty());
  EXPECT_THAT(steps_left(), testing::ElementsAre(2, 1));
}

TEST_F(Pruning, ACheckpointWithAnUnreadableManifestIsNeverRemoved) {
  const std::string damaged = add("main", 1, true);
  SF_ASSERT_OK(flip_bit(env_, file_of(store_, damaged, format::kManifestFile), 20));
  add("main", 2, true);
  EXPECT_TRUE(prune(store_, "main", {1})->empty());
  EXPECT_THAT(steps_left(), testing::ElementsAre(2, 1));
}

TEST_F(Pruning, ARefusedPolicyRemovesNothing) {
  add("main", 1, true);
  add("main", 2, true);
  EXPECT_EQ(prune(store_, "main", {0}).status().code(), Code::invalid_argument);
  EXPECT_EQ(steps_left().size(), 2U);
}

}  // namespace
}  // namespace stillframe::test
