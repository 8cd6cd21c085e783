// Retention on a store: what it knows of it, what it removes, and what it passes over.
#include "persist/retention_task.hpp"

#include "unit/persist/retention_rig.hpp"

namespace stillframe::test {
namespace {

using persist::prune;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Facts : public RetentionRig {};

TEST_F(Facts, AreOfTheRunNewestFirstWithMarksTimesBytesAndMetrics) {
  const std::string first =
      add({.step = 10, .metrics_json = R"({"loss":0.5,"bad":{"$float":"nan"}})", .seconds_ago = 100});
  add({.run = "other", .step = 20});
  const std::string third = add({.step = -3, .verified = false, .metrics_json = R"({"loss":1})"});
  mark(third, format::kPinnedMark);
  mark(first, format::kBadMark);
  const auto found = persist::facts(store_, "main");
  SF_ASSERT_OK(found);
  ASSERT_EQ(found->size(), 2U);
  const retention::Fact& newest = found->front();
  const retention::Fact& oldest = found->back();
  EXPECT_EQ(newest.name, third);
  EXPECT_EQ(newest.sequence, 3U);
  EXPECT_EQ(newest.step, -3);
  EXPECT_EQ(newest.created_unix_seconds, kNowSeconds);
  EXPECT_TRUE(newest.pinned && !newest.verified && !newest.bad);
  EXPECT_EQ(oldest.created_unix_seconds, kNowSeconds - 100);
  EXPECT_TRUE(oldest.verified && oldest.bad && !oldest.pinned);
  EXPECT_EQ(oldest.metrics.at("loss"), 0.5);
  EXPECT_TRUE(std::isnan(oldest.metrics.at("bad")));
  EXPECT_FALSE(newest.metrics.contains("bad"));
  EXPECT_GE(oldest.stored_bytes, 4000U) << "1000 floats";
}

TEST_F(Facts, OfACheckpointWithAnUnreadableManifestThereAreNone) {
  const std::string damaged = add({.step = 1});
  SF_ASSERT_OK(flip_bit(env_, file_of(store_, damaged, format::kManifestFile), 20));
  EXPECT_THAT(persist::facts(store_, "main").value(), IsEmpty());
}

class Pruning : public RetentionRig {};

TEST_F(Pruning, RemovesOldestFirstWithinTheRunAndLeavesOtherRunsAlone) {
  const std::string first = add({.step = 1});
  add({.run = "other", .step = 2});
  const std::string third = add({.step = 3});
  add({.step = 4});
  const auto removals = prune(store_, "main", keeping(1), kNowSeconds);
  SF_ASSERT_OK(removals);
  ASSERT_EQ(removals->size(), 2U);
  EXPECT_EQ((*removals)[0].name, first);
  EXPECT_EQ((*removals)[1].name, third);
  EXPECT_TRUE((*removals)[0].outcome.ok());
  EXPECT_THAT((*removals)[0].reason, HasSubstr("beyond keep_last = 1"));
  EXPECT_THAT(steps_left(), ElementsAre(4, 2));
}

TEST_F(Pruning, ACheckpointBeingReadIsPassedOverAndTheOthersGo) {
  const std::string read = add({.step = 1});
  add({.step = 2});
  add({.step = 3});
  {
    const auto reader = store::CheckpointReader::open(store_, read);
    SF_ASSERT_OK(reader);
    const auto removals = prune(store_, "main", keeping(1), kNowSeconds);
    SF_ASSERT_OK(removals);
    EXPECT_EQ(removals->at(0).outcome.code(), Code::busy);
    EXPECT_TRUE(removals->at(1).outcome.ok());
    EXPECT_THAT(steps_left(), ElementsAre(3, 1));
  }
  SF_ASSERT_OK(prune(store_, "main", keeping(1), kNowSeconds));
  EXPECT_THAT(steps_left(), ElementsAre(3));
}

TEST_F(Pruning, NothingGoesBeforeANewerOneIsVerified) {
  add({.step = 1});
  add({.step = 2, .verified = false});
  EXPECT_THAT(prune(store_, "main", keeping(1), kNowSeconds).value(), IsEmpty());
  EXPECT_THAT(steps_left(), ElementsAre(2, 1));
}

TEST_F(Pruning, ACheckpointWithAnUnreadableManifestIsNeverRemoved) {
  const std::string damaged = add({.step = 1});
  SF_ASSERT_OK(flip_bit(env_, file_of(store_, damaged, format::kManifestFile), 20));
  add({.step = 2});
  EXPECT_THAT(prune(store_, "main", keeping(1), kNowSeconds).value(), IsEmpty());
  EXPECT_THAT(steps_left(), ElementsAre(2, 1));
}

TEST_F(Pruning, ARefusedPolicyRemovesNothing) {
  add({.step = 1});
  add({.step = 2});
  EXPECT_EQ(prune(store_, "main", keeping(0), kNowSeconds).status().code(), Code::invalid_argument);
  EXPECT_EQ(persist::plan_for(store_, "main", keeping(0), kNowSeconds).status().code(), Code::invalid_argument);
  EXPECT_EQ(persist::ensure_room(store_, "main", keeping(0), 1, kNowSeconds).code(), Code::invalid_argument);
  EXPECT_EQ(steps_left().size(), 2U);
}

TEST_F(Pruning, TheBestOfTheMetricsInTheManifestsStay) {
  retention::Policy policy = keeping(1);
  policy.keep_best = {{"loss", false, 1}};
  add({.step = 1, .metrics_json = R"({"loss":0.25})"});
  add({.step = 2, .metrics_json = R"({"loss":{"$float":"nan"}})"});
  add({.step = 3});
  add({.step = 4, .metrics_json = R"({"loss":3e-1})"});
  add({.step = 5, .metrics_json = R"({"loss":7})"});
  SF_ASSERT_OK(prune(store_, "main", policy, kNowSeconds));
  EXPECT_THAT(steps_left(), ElementsAre(5, 3, 1));
}

TEST_F(Pruning, OneFailureDoesNotStopTheOthers) {
  const std::string first = add({.step = 1});
  add({.step = 2});
  add({.step = 3});
  env_.fail({EnvOp::rename_no_replace, Code::io_error, 1, false, first});
  const auto removals = prune(store_, "main", keeping(1), kNowSeconds);
  SF_ASSERT_OK(removals);
  EXPECT_EQ(removals->at(0).outcome.code(), Code::io_error);
  EXPECT_TRUE(removals->at(1).outcome.ok());
  EXPECT_THAT(steps_left(), ElementsAre(3, 1));
}

TEST_F(Pruning, WhatIsPinnedAfterThePlanWasMadeStays) {
  add({.step = 1});
  const std::string second = add({.step = 2});
  add({.step = 3});
  const auto person = env_.new_process();
  const auto seen_by_person = store::Store::open(*person, "/runs/gpt").value();
  bool pinned = false;
  env_.before_change([&](EnvOp op, const std::string&) {
    if (op != EnvOp::remove_dir || pinned) return;  // the first one is nearly gone
    pinned = true;
    EXPECT_TRUE(seen_by_person.set_mark(second, format::kPinnedMark, "").ok());
  });
  const auto removals = prune(store_, "main", keeping(1), kNowSeconds);
  SF_ASSERT_OK(removals);
  EXPECT_TRUE(pinned);
  EXPECT_EQ(removals->at(1).outcome.code(), Code::busy);
  EXPECT_THAT(removals->at(1).outcome.message(), HasSubstr("is pinned; it was not removed"));
  EXPECT_THAT(steps_left(), ElementsAre(3, 2));
}

// Between the look at the marks and the rename nothing may come: both are under the store's lock.
TEST_F(Pruning, NoMomentIsTooLateForAPinThatSucceeds) {
  const auto other = env_.new_process();
  const auto seen_by_other = store::Store::open(*other, "/runs/gpt").value();
  for (std::uint64_t moment = 1;; ++moment) {
    const std::string old = add({.step = 1});
    const std::string newest = add({.step = 2});
    std::uint64_t call = 0;
    bool pinned = false;
    env_.before_call([&](EnvOp, const std::string&) {
      if (++call != moment || other->try_lock("/runs/gpt/store.lock", env::LockMode::exclusive).status().code() == Code::busy) {
        return;
      }
      pinned = seen_by_other.set_mark(old, format::kPinnedMark, "").ok();
    });
    SF_ASSERT_OK(prune(store_, "main", keeping(1), kNowSeconds));
    env_.before_call({});
    if (pinned) {
      EXPECT_THAT(steps_left(), ElementsAre(2, 1)) << "pinned before call " << moment;
    }
    for (const std::string& name : {old, newest}) {
      (void)store_.clear_mark(name, format::kPinnedMark);
      (void)store_.remove(name);
    }
    if (call < moment) break;
  }
}

TEST_F(Pruning, NoMomentIsTooLateToFindTheVerifiedOneBad) {
  const auto other = env_.new_process();
  const auto seen_by_other = store::Store::open(*other, "/runs/gpt").value();
  for (std::uint64_t moment = 1;; ++moment) {
    const std::string old = add({.step = 1});
    const std::string newest = add({.step = 2});
    std::uint64_t call = 0;
    bool found_bad = false;
    env_.before_call([&](EnvOp, const std::string&) {
      if (++call != moment || other->try_lock("/runs/gpt/store.lock", env::LockMode::exclusive).status().code() == Code::busy) {
        return;
      }
      const bool both_stand = seen_by_other.list()->size() == 2;
      found_bad = both_stand && seen_by_other.set_mark(newest, format::kBadMark, "").ok();
    });
    SF_ASSERT_OK(prune(store_, "main", keeping(1), kNowSeconds));
    env_.before_call({});
    if (found_bad) {
      EXPECT_THAT(steps_left(), ElementsAre(2, 1)) << "found bad before call " << moment;
    }
    (void)store_.remove(old);
    (void)store_.remove(newest);
    if (call < moment) break;
  }
}

TEST_F(Pruning, OneWhoseFilesCannotBeUnlinkedIsGoneAllTheSame) {
  add({.step = 1});
  add({.step = 2});
  env_.fail({EnvOp::remove_file, Code::io_error, 1, false});
  const auto removals = prune(store_, "main", keeping(1), kNowSeconds);
  SF_ASSERT_OK(removals);
  EXPECT_TRUE(removals->at(0).outcome.ok()) << removals->at(0).outcome.message();
  EXPECT_EQ(removals->at(0).leftovers.code(), Code::io_error);
  EXPECT_THAT(removals->at(0).leftovers.message(), HasSubstr("goes at the next start"));
  EXPECT_THAT(steps_left(), ElementsAre(2));
}

TEST_F(Pruning, WhenTheVerifiedOneIsFoundBadMeanwhileNothingMoreGoes) {
  add({.step = 1});
  add({.step = 2});
  const std::string newest = add({.step = 3});
  const auto scrub = env_.new_process();
  const auto seen_by_scrub = store::Store::open(*scrub, "/runs/gpt").value();
  bool found_bad = false;
  env_.before_change([&](EnvOp op, const std::string&) {
    if (op != EnvOp::remove_dir || found_bad) return;
    found_bad = true;
    EXPECT_TRUE(seen_by_scrub.set_mark(newest, format::kBadMark, "").ok());
  });
  const auto removals = prune(store_, "main", keeping(1), kNowSeconds);
  SF_ASSERT_OK(removals);
  EXPECT_EQ(removals->at(1).outcome.code(), Code::busy);
  EXPECT_THAT(removals->at(1).outcome.message(), HasSubstr("no newer checkpoint"));
  EXPECT_THAT(steps_left(), ElementsAre(3, 2));
}

TEST_F(Pruning, WhatAnotherOneRemovedFirstIsNoFailure) {
  add({.step = 1});
  const std::string second = add({.step = 2});
  add({.step = 3});
  const auto other = env_.new_process();
  const auto seen_by_other = store::Store::open(*other, "/runs/gpt").value();
  bool removed = false;
  env_.before_change([&](EnvOp op, const std::string&) {
    if (op != EnvOp::remove_dir || removed) return;
    removed = true;
    EXPECT_TRUE(seen_by_other.remove(second).ok());
  });
  const auto removals = prune(store_, "main", keeping(1), kNowSeconds);
  SF_ASSERT_OK(removals);
  EXPECT_TRUE(removals->at(1).outcome.ok()) << removals->at(1).outcome.message();
  EXPECT_THAT(steps_left(), ElementsAre(3));
}

TEST_F(Pruning, ThePlanThatComesWithTheRemovalsIsTheOneCarriedOut) {
  const std::string first = add({.step = 1});
  const std::string second = add({.step = 2});
  add({.step = 3});
  const auto person = env_.new_process();
  const auto seen_by_person = store::Store::open(*person, "/runs/gpt").value();
  bool pinned = false;
  env_.before_change([&](EnvOp op, const std::string&) {
    if (op != EnvOp::remove_dir || pinned) return;
    pinned = true;
    EXPECT_TRUE(seen_by_person.set_mark(second, format::kPinnedMark, "").ok());
  });
  const auto pruned = persist::prune_with_plan(store_, "main", keeping(1), kNowSeconds);
  SF_ASSERT_OK(pruned);
  ASSERT_EQ(pruned->plan.decisions.size(), 3U);
  EXPECT_TRUE(pruned->plan.decisions[0].keep);
  EXPECT_FALSE(pruned->plan.decisions[1].keep || pruned->plan.decisions[2].keep) << "the pin came after the plan";
  ASSERT_EQ(pruned->removals.size(), 2U);
  EXPECT_EQ(pruned->removals[0].name, first);
  EXPECT_TRUE(pruned->removals[0].outcome.ok());
  EXPECT_EQ(pruned->removals[1].name, second);
  EXPECT_EQ(pruned->removals[1].outcome.code(), Code::busy);
}

TEST_F(Pruning, AStoreOverItsLimitIsThinnedToIt) {
  retention::Policy policy = keeping(9);
  const std::string first = add({.step = 1});
  for (std::int64_t step = 2; step <= 5; ++step) add({.step = step});
  policy.max_bytes = store_bytes() - 2 * bytes_of(first);
  SF_ASSERT_OK(prune(store_, "main", policy, kNowSeconds));
  EXPECT_THAT(steps_left(), ElementsAre(5, 4, 3));
  EXPECT_LE(store_bytes(), policy.max_bytes);
}

class DryRun : public RetentionRig {};

TEST_F(DryRun, SaysWhatWouldGoAndChangesNothing) {
  add({.step = 1});
  add({.step = 2});
  add({.step = 3});
  const std::uint64_t before = env_.changes();
  const auto plan = persist::plan_for(store_, "main", keeping(2), kNowSeconds);
  SF_ASSERT_OK(plan);
  ASSERT_EQ(plan->decisions.size(), 3U);
  EXPECT_TRUE(plan->decisions[0].keep && plan->decisions[1].keep && !plan->decisions[2].keep);
  EXPECT_EQ(env_.changes(), before);
  EXPECT_EQ(steps_left().size(), 3U);
}

TEST_F(DryRun, TellsWhatACheckpointOfThatSizeWouldTake) {
  retention::Policy policy = keeping(3);
  const std::string first = add({.step = 1});
  add({.step = 2});
  policy.max_bytes = store_bytes();
  EXPECT_TRUE(persist::plan_for(store_, "main", policy, kNowSeconds)->decisions[1].keep);
  const auto plan = persist::plan_for(store_, "main", policy, kNowSeconds, bytes_of(first));
  SF_ASSERT_OK(plan);
  EXPECT_FALSE(plan->decisions[1].keep);
  EXPECT_EQ(persist::plan_for(store_, "main", policy, kNowSeconds, 2 * bytes_of(first))->missing_bytes,
            bytes_of(first));
}

}  // namespace
}  // namespace stillframe::test
