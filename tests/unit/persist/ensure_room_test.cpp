// Room for the next checkpoint: made by policy, or refused with the figures.
#include "base/bytes.hpp"
#include "unit/persist/retention_rig.hpp"

namespace stillframe::test {
namespace {

using persist::ensure_room;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class EnsureRoom : public RetentionRig {
 protected:
  void SetUp() override {
    for (std::int64_t step = 1; step <= 4; ++step) names_.push_back(add({.step = step}));
    each_bytes_ = bytes_of(names_[0]);
    policy_ = keeping(9);
  }
  // As a disk does: what a removed checkpoint held is free once its directory is gone.
  void free_space_follows(std::uint64_t free_bytes) {
    set_free(free_bytes);
    env_.before_change([this](EnvOp op, const std::string& path) {
      if (op == EnvOp::remove_dir && path.ends_with(format::kRemovingSuffix)) set_free(free_bytes_ + each_bytes_);
    });
  }
  void set_free(std::uint64_t free_bytes) {
    free_bytes_ = free_bytes;
    env_.set_space({free_bytes, 1ULL << 40U, "mem"});
  }

  std::vector<std::string> names_;
  std::uint64_t each_bytes_ = 0;
  std::uint64_t free_bytes_ = 0;
  retention::Policy policy_;
};

TEST_F(EnsureRoom, WhereThereIsRoomNothingIsRemovedNotEvenByARule) {
  EXPECT_TRUE(ensure_room(store_, "main", keeping(1), 1'000'000, kNowSeconds).ok());
  EXPECT_EQ(steps_left().size(), 4U) << "N is counted after the newest has committed";
}

TEST_F(EnsureRoom, BelowMaxBytesTheOldestMakeRoom) {
  policy_.max_bytes = store_bytes();
  SF_ASSERT_OK(ensure_room(store_, "main", policy_, each_bytes_ + 1, kNowSeconds));
  EXPECT_THAT(steps_left(), ElementsAre(4, 3));
  EXPECT_LE(store_bytes() + each_bytes_ + 1, policy_.max_bytes);
}

TEST_F(EnsureRoom, TheReserveOfTheFileSystemStaysFree) {
  policy_.min_free_bytes = 1'000'000;
  free_space_follows(1'000'000);
  SF_ASSERT_OK(ensure_room(store_, "main", policy_, each_bytes_, kNowSeconds));
  EXPECT_THAT(steps_left(), ElementsAre(4, 3, 2));
  EXPECT_EQ(free_bytes_, 1'000'000 + each_bytes_);
}

TEST_F(EnsureRoom, WhatTheRulesLetGoGoesFirst) {
  policy_.keep_last = 2;
  mark(names_[0], format::kPinnedMark);
  policy_.max_bytes = store_bytes();
  SF_ASSERT_OK(ensure_room(store_, "main", policy_, 1, kNowSeconds));
  EXPECT_THAT(steps_left(), ElementsAre(4, 3, 1));
}

TEST_F(EnsureRoom, WhatCannotFitIsRefusedWithEveryFigureAndNothingIsLost) {
  mark(names_[1], format::kPinnedMark);
  policy_.max_bytes = store_bytes() + 100;
  policy_.min_free_bytes = 5000;
  set_free(1ULL << 30U);
  const std::uint64_t stored = store_bytes();
  const std::uint64_t needed = 2 * each_bytes_ + 100 + 1000;  // 1 and 3 may go, 2 is pinned, 4 is the newest
  const Status refused = ensure_room(store_, "main", policy_, needed, kNowSeconds);
  EXPECT_EQ(refused.code(), Code::no_space);
  EXPECT_THAT(
      refused.message(),
      AllOf(HasSubstr("run 'main' in the store '/runs/gpt'"), HasSubstr("needs " + base::human_bytes(needed)),
            HasSubstr("has 1.0 GiB free, of which min_free_bytes = " + base::human_bytes(5000)),
            HasSubstr("takes " + base::human_bytes(stored) + " of max_bytes = " + base::human_bytes(stored + 100)),
            HasSubstr(base::human_bytes(2 * each_bytes_ + 1000) + " are short"),
            HasSubstr("may still remove " + base::human_bytes(2 * each_bytes_)),
            HasSubstr(base::human_bytes(1000) + " are missing"), HasSubstr("Nothing was written")));
  EXPECT_THAT(steps_left(), ElementsAre(4, 3, 2, 1));
  SF_ASSERT_OK(ensure_room(store_, "main", policy_, needed - 1000, kNowSeconds));
  EXPECT_THAT(steps_left(), ElementsAre(4, 2));
}

TEST_F(EnsureRoom, WhatTheRulesLetGoGoesAlsoWhenItIsNotEnough) {
  policy_.keep_last = 3;
  policy_.max_bytes = store_bytes();
  EXPECT_EQ(ensure_room(store_, "main", policy_, 1ULL << 30U, kNowSeconds).code(), Code::no_space);
  EXPECT_THAT(steps_left(), ElementsAre(4, 3, 2));
}

TEST_F(EnsureRoom, WhereAReaderHoldsOneTheNextOlderMakesRoom) {
  const auto reader = store::CheckpointReader::open(store_, names_[0]);
  SF_ASSERT_OK(reader);
  policy_.max_bytes = store_bytes();
  SF_ASSERT_OK(ensure_room(store_, "main", policy_, each_bytes_, kNowSeconds));
  EXPECT_THAT(steps_left(), ElementsAre(4, 3, 1));
}

TEST_F(EnsureRoom, WithoutANewerVerifiedOneNothingMakesRoom) {
  for (const std::string& name : names_) mark(name, format::kBadMark);
  policy_.max_bytes = store_bytes();
  EXPECT_EQ(ensure_room(store_, "main", policy_, 1, kNowSeconds).code(), Code::no_space);
  EXPECT_EQ(steps_left().size(), 4U);
}

TEST_F(EnsureRoom, TheLimitIsOfTheStoreAndOnlyThisRunMakesRoom) {
  add({.run = "other", .step = 100});
  add({.run = "other", .step = 200});
  policy_.max_bytes = store_bytes();
  SF_ASSERT_OK(ensure_room(store_, "main", policy_, 3 * each_bytes_, kNowSeconds));
  EXPECT_THAT(steps_left(), ElementsAre(200, 100, 4));
  EXPECT_EQ(ensure_room(store_, "main", policy_, 4 * each_bytes_, kNowSeconds).code(), Code::no_space);
  EXPECT_THAT(steps_left(), ElementsAre(200, 100, 4));
}

// Some file systems count freed blocks only with their next transaction.
TEST_F(EnsureRoom, SpaceThatComesFreeLateCostsNoFurtherCheckpoints) {
  policy_.min_free_bytes = 0;
  set_free(0);
  const Status refused = ensure_room(store_, "main", policy_, each_bytes_, kNowSeconds);
  EXPECT_EQ(refused.code(), Code::no_space);
  EXPECT_THAT(steps_left(), ElementsAre(4, 3, 2)) << "one was enough by its size";
  set_free(each_bytes_);
  EXPECT_TRUE(ensure_room(store_, "main", policy_, each_bytes_, kNowSeconds).ok());
}

TEST_F(EnsureRoom, SpaceThatComesFreeLateIsAwaitedFromCallToCall) {
  persist::AwaitedSpace awaited;
  policy_.min_free_bytes = each_bytes_;
  set_free(0);
  for (int snapshot = 0; snapshot < 3; ++snapshot) {
    EXPECT_EQ(ensure_room(store_, "main", policy_, 0, kNowSeconds, &awaited).code(), Code::no_space);
    SF_ASSERT_OK(persist::prune(store_, "main", policy_, kNowSeconds, &awaited));
    EXPECT_THAT(steps_left(), ElementsAre(4, 3, 2)) << "one was enough by its size";
  }
  set_free(each_bytes_);
  SF_ASSERT_OK(ensure_room(store_, "main", policy_, 0, kNowSeconds, &awaited));
  set_free(0);
  EXPECT_EQ(ensure_room(store_, "main", policy_, 0, kNowSeconds, &awaited).code(), Code::no_space);
  EXPECT_THAT(steps_left(), ElementsAre(4, 3)) << "what was awaited has come, and somebody else took it";
}

TEST_F(EnsureRoom, AReaderThatMakesWayIsWaitedForBeforeANewerOneGoes) {
  auto scrub = store::CheckpointReader::open(store_, names_[0]);
  SF_ASSERT_OK(scrub);
  policy_.max_bytes = store_bytes();
  int asked = 0;
  const auto make_way = [&] {
    ++asked;
    scrub->reset();
  };
  SF_ASSERT_OK(ensure_room(store_, "main", policy_, each_bytes_, kNowSeconds, nullptr, make_way));
  EXPECT_EQ(asked, 1);
  EXPECT_THAT(steps_left(), ElementsAre(4, 3, 2));
}

TEST_F(EnsureRoom, AFileSystemThatCannotBeAskedIsAnErrorAndNothingGoes) {
  env_.fail({EnvOp::space, Code::io_error, 1, true, ""});
  EXPECT_EQ(ensure_room(store_, "main", policy_, 1, kNowSeconds).code(), Code::io_error);
  EXPECT_EQ(steps_left().size(), 4U);
}

}  // namespace
}  // namespace stillframe::test
