// Whose turn it is, and when a step can never be whole: the decisions of a group, without files or threads.
#include "persist/group_rounds.hpp"

#include <gmock/gmock.h>

#include "persist/group_seals.hpp"

namespace stillframe::persist {
namespace {

using Turn = GroupRounds::Turn;
using testing::HasSubstr;

constexpr std::uint64_t kPatienceMs = 5000;
constexpr std::int64_t kMsInNs = 1'000'000;

class Rounds : public testing::Test {
 protected:
  std::uint64_t both_write(std::int64_t step, std::uint64_t snapshot) {
    const std::uint64_t round = rounds_.join(0, step, snapshot);
    EXPECT_EQ(rounds_.join(1, step, snapshot), round);
    rounds_.ready(round, 0, 100, true);
    rounds_.ready(round, 1, 200, true);
    EXPECT_EQ(rounds_.turn(round, 1), Turn::open);
    EXPECT_EQ(rounds_.turn(round, 0), Turn::wait);
    rounds_.opened(round, rounds_.attempt(round));
    return round;
  }
  GroupRounds rounds_{2, kPatienceMs};
};

TEST_F(Rounds, NothingIsOpenedBeforeEveryRankHasCome) {
  const std::uint64_t round = rounds_.join(0, 7, 1);
  rounds_.ready(round, 0, 100, true);
  EXPECT_EQ(rounds_.turn(round, 0), Turn::wait);
  EXPECT_EQ(rounds_.join(1, 7, 4), round) << "they find each other by the step";
  EXPECT_EQ(rounds_.turn(round, 0), Turn::wait) << "the other's need is not known";
  rounds_.ready(round, 1, 200, true);
  EXPECT_EQ(rounds_.turn(round, 0), Turn::open);
  EXPECT_EQ(rounds_.turn(round, 1), Turn::wait) << "only one opens";
  EXPECT_EQ(rounds_.needed_bytes(round), 300U);
}

TEST_F(Rounds, OneCommitsOnceAllPartsAreDone) {
  const std::uint64_t round = both_write(7, 1);
  EXPECT_EQ(rounds_.turn(round, 0), Turn::write);
  rounds_.part_done(round, 0);
  EXPECT_EQ(rounds_.turn(round, 0), Turn::wait) << "rank 1 has not done its part";
  rounds_.part_done(round, 1);
  EXPECT_EQ(rounds_.turn(round, 0), Turn::commit);
  EXPECT_EQ(rounds_.turn(round, 1), Turn::publishing) << "only one commits";
  EXPECT_FALSE(rounds_.obstruct(round, Code::unavailable, "too late"));
  rounds_.published(round);
  EXPECT_EQ(rounds_.turn(round, 1), Turn::published);
  rounds_.leave(round, 0);
  EXPECT_TRUE(rounds_.knows(round)) << "rank 1 has yet to hear of it";
  rounds_.leave(round, 1);
  EXPECT_FALSE(rounds_.knows(round));
}

TEST_F(Rounds, ARankThatGoesOnWithoutAStepMakesItImpossible) {
  const std::uint64_t first = rounds_.join(0, 1, 1);
  const std::uint64_t second = rounds_.join(1, 2, 1);
  EXPECT_EQ(rounds_.turn(first, 0), Turn::off);
  EXPECT_THAT(rounds_.obstacle(first).message(), HasSubstr("rank 1 has no snapshot of it and went on to step 2"));
  EXPECT_EQ(rounds_.turn(second, 1), Turn::wait);
  rounds_.leave(first, 0);
  EXPECT_EQ(rounds_.join(0, 2, 2), second);
}

TEST_F(Rounds, AStepThatAFellowHasPassedAlreadyIsImpossibleAtOnce) {
  const std::uint64_t later = rounds_.join(1, 2, 1);
  const std::uint64_t earlier = rounds_.join(0, 1, 1);
  EXPECT_EQ(rounds_.turn(earlier, 0), Turn::off);
  EXPECT_THAT(rounds_.obstacle(earlier).message(), HasSubstr("rank 1 has no snapshot of it and is at step 2"));
  EXPECT_EQ(rounds_.turn(later, 1), Turn::wait) << "rank 0 may still come to it";
}

TEST_F(Rounds, AfterALowerStepAHigherOneOfAFellowIsStillAwaited) {
  const std::uint64_t first = rounds_.join(0, 1, 1);
  EXPECT_EQ(rounds_.join(1, 1, 1), first);
  rounds_.published(first);
  rounds_.leave(first, 0);
  const std::uint64_t second = rounds_.join(0, 2, 2);
  EXPECT_EQ(rounds_.turn(second, 0), Turn::wait);
}

TEST_F(Rounds, ARankThatIsGoneMakesImpossibleWhatItHasNotJoined) {
  const std::uint64_t round = rounds_.join(0, 7, 1);
  rounds_.gone(1, "ended");
  EXPECT_EQ(rounds_.turn(round, 0), Turn::off);
  EXPECT_EQ(rounds_.obstacle(round).code(), Code::unavailable);
  EXPECT_THAT(rounds_.obstacle(round).message(), HasSubstr("rank 1 ended"));
  const std::uint64_t next = rounds_.join(0, 8, 2);
  EXPECT_EQ(rounds_.turn(next, 0), Turn::off) << "and everything later";
}

TEST_F(Rounds, WhoIsMissingAfterTheDeadlineIsNamed) {
  const std::uint64_t round = rounds_.join(0, 7, 1);
  const std::int64_t sealed_ns = 1000 * kMsInNs;
  rounds_.sealed(round, 0, sealed_ns);
  rounds_.look_at_clock(sealed_ns + (static_cast<std::int64_t>(kPatienceMs) - 1) * kMsInNs);
  EXPECT_EQ(rounds_.turn(round, 0), Turn::wait);
  rounds_.look_at_clock(sealed_ns + static_cast<std::int64_t>(kPatienceMs) * kMsInNs);
  EXPECT_EQ(rounds_.turn(round, 0), Turn::off);
  EXPECT_EQ(rounds_.obstacle(round).code(), Code::deadline);
  EXPECT_THAT(rounds_.obstacle(round).message(), HasSubstr("rank 1 had not sealed it 5 s after the first rank"));
}

TEST_F(Rounds, TheDeadlineIsForSealsAndNotForASlowDisk) {
  const std::uint64_t round = both_write(7, 1);
  rounds_.sealed(round, 0, kMsInNs);
  rounds_.sealed(round, 1, 2 * kMsInNs);
  rounds_.look_at_clock(1'000'000 * kMsInNs);
  EXPECT_EQ(rounds_.turn(round, 0), Turn::write);
}

TEST_F(Rounds, AFailureOfTheDiskIsTriedThreeTimesByAll) {
  for (int attempt = 1; attempt <= 3; ++attempt) {
    const std::uint64_t round = both_write(7, 1);
    rounds_.fail_attempt(round, 0, Code::io_error, "rank 0: the disk");
    EXPECT_EQ(rounds_.turn(round, 1), attempt < 3 ? Turn::again : Turn::off) << "attempt " << attempt;
  }
  EXPECT_THAT(rounds_.obstacle(rounds_.join(0, 7, 1)).message(), HasSubstr("rank 0: the disk"));
}

TEST_F(Rounds, WhatARingHasGivenBackCannotBeWrittenAgain) {
  const std::uint64_t round = rounds_.join(0, 7, 1);
  EXPECT_EQ(rounds_.join(1, 7, 1), round);
  rounds_.ready(round, 0, 100, true);
  rounds_.ready(round, 1, 100, false);
  rounds_.fail_attempt(round, 0, Code::io_error, "rank 0: the disk");
  EXPECT_EQ(rounds_.turn(round, 1), Turn::off);
}

TEST_F(Rounds, FailuresOfOneAttemptCountOnce) {
  for (int attempt = 1; attempt <= 3; ++attempt) {
    const std::uint64_t round = both_write(7, 1);
    rounds_.fail_attempt(round, 0, Code::io_error, "rank 0: the disk");
    rounds_.fail_attempt(round, 1, Code::io_error, "rank 1: the disk");
    EXPECT_EQ(rounds_.turn(round, 1), attempt < 3 ? Turn::again : Turn::off) << "attempt " << attempt;
  }
}

TEST_F(Rounds, ARingThatStopsHasNothingToBeginAnewFrom) {
  const std::uint64_t round = rounds_.join(0, 7, 1);
  EXPECT_EQ(rounds_.join(1, 7, 1), round);
  rounds_.ready(round, 0, 100, false);
  rounds_.ready(round, 1, 100, true);
  EXPECT_EQ(rounds_.turn(round, 0), Turn::open);
  rounds_.opened(round, rounds_.attempt(round));
  rounds_.step_back(round, 1);
  EXPECT_EQ(rounds_.turn(round, 0), Turn::off);
  EXPECT_THAT(rounds_.obstacle(round).message(), HasSubstr("a ring has given back"));
}

TEST_F(Rounds, TheSameNumberOfAnotherStepIsAnotherSnapshot) {
  const std::uint64_t round = rounds_.join(0, 7, 1);
  const std::uint64_t other = rounds_.join(0, 8, 1);
  EXPECT_NE(other, round) << "of an arena that was made anew";
  EXPECT_EQ(rounds_.join(1, 7, 1), round);
  EXPECT_EQ(rounds_.step(round), 7);
  EXPECT_EQ(rounds_.step(other), 8);
}

TEST_F(Rounds, ASnapshotWithoutANumberIsOfNoRound) {
  const std::uint64_t round = rounds_.join(0, 7, 1);
  const std::uint64_t nameless = rounds_.join(1, 7, 0);
  EXPECT_NE(nameless, round);
  EXPECT_EQ(rounds_.turn(nameless, 1), Turn::off);
}

TEST_F(Rounds, ARankThatStopsAndGoesOnWithAnotherSnapshotMakesItImpossible) {
  const std::uint64_t round = both_write(7, 1);
  rounds_.step_back(round, 1);
  const std::uint64_t later = rounds_.join(1, 8, 2);
  EXPECT_EQ(rounds_.turn(round, 0), Turn::off);
  EXPECT_THAT(rounds_.obstacle(round).message(), HasSubstr("rank 1 did not come back to its snapshot of it"));
  EXPECT_EQ(rounds_.turn(later, 1), Turn::wait);
}

TEST_F(Rounds, ASealCountsByTheRecordOfARankThatHasNotCome) {
  const std::int64_t late_ns = 1'000'000 * kMsInNs;
  const std::uint64_t round = rounds_.join(0, 7, 1);
  rounds_.sealed(round, 0, kMsInNs);
  rounds_.has_sealed(1, 8, 4, kMsInNs);
  EXPECT_TRUE(rounds_.is_overdue(late_ns)) << "that is another step";
  rounds_.has_sealed(1, 7, 3, kMsInNs);
  EXPECT_FALSE(rounds_.is_overdue(late_ns));
  rounds_.look_at_clock(late_ns);
  EXPECT_EQ(rounds_.turn(round, 0), Turn::wait);
}

TEST_F(Rounds, ARankThatStopsIsWaitedForAndTheRestBeginsAnew) {
  const std::uint64_t round = both_write(7, 1);
  rounds_.step_back(round, 1);
  EXPECT_EQ(rounds_.turn(round, 0), Turn::again);
  EXPECT_EQ(rounds_.join(0, 7, 1), round);
  rounds_.ready(round, 0, 100, true);
  EXPECT_EQ(rounds_.turn(round, 0), Turn::wait);
  rounds_.stands_still(1);
  EXPECT_TRUE(rounds_.held_up(round));
  EXPECT_EQ(rounds_.join(1, 7, 1), round);
  EXPECT_FALSE(rounds_.held_up(round));
  rounds_.ready(round, 1, 100, true);
  EXPECT_EQ(rounds_.turn(round, 0), Turn::open);
}

TEST_F(Rounds, WhatWasOpenedForAnEarlierAttemptIsOfNoUse) {
  const std::uint64_t round = rounds_.join(0, 7, 1);
  EXPECT_EQ(rounds_.join(1, 7, 1), round);
  rounds_.ready(round, 0, 100, true);
  rounds_.ready(round, 1, 100, true);
  EXPECT_EQ(rounds_.turn(round, 0), Turn::open);
  const std::uint32_t attempt = rounds_.attempt(round);
  rounds_.step_back(round, 1);
  rounds_.opened(round, attempt);
  EXPECT_EQ(rounds_.turn(round, 0), Turn::again);
}

// ---- captured

arena::RecordView record(std::uint64_t snapshot_id, std::int64_t step, arena::RecordState state,
                         std::uint32_t flags = 0) {
  arena::RecordView view;
  view.snapshot_id = snapshot_id;
  view.step = step;
  view.state = state;
  view.flags = flags;
  return view;
}

TEST(SealedByAll, OnlyWhatEveryRankHasSealed) {
  using arena::RecordState;
  const auto sealed = record(1, 7, RecordState::sealed);
  const auto found = sealed_by_all({{sealed}, {sealed}});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].size(), 2U);
  EXPECT_TRUE(sealed_by_all({{sealed}, {}}).empty());
  EXPECT_TRUE(sealed_by_all({{sealed}, {record(1, 7, RecordState::copying)}}).empty());
  EXPECT_TRUE(sealed_by_all({{sealed}, {record(1, 8, RecordState::sealed)}}).empty());
  EXPECT_TRUE(sealed_by_all({{sealed}, {record(1, 7, RecordState::sealed, arena::kWithdrawn)}}).empty());
  EXPECT_TRUE(sealed_by_all({{sealed}, {record(1, 7, RecordState::failed)}}).empty());
}

TEST(SealedByAll, AStepTakenTwiceIsPairedOldestFirst) {
  using arena::RecordState;
  const auto first = record(1, 7, RecordState::sealed);
  const auto second = record(2, 7, RecordState::sealed);
  const auto found = sealed_by_all({{first, second}, {first}});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0][0].view.snapshot_id, 1U);
  const auto said = record(1, 7, RecordState::sealed, arena::kCaptured);
  EXPECT_TRUE(sealed_by_all({{said, second}, {said}}).empty()) << "rank 1 has not sealed it a second time";
}

TEST(SealedByAll, WhatADaemonHadSaidOfOneRankIsSaidOfItsFellows) {
  using arena::RecordState;
  auto said = record(1, 7, RecordState::sealed, arena::kCaptured);
  auto unsaid = record(4, 7, RecordState::sealed);
  for (const RecordState state : {RecordState::sealed, RecordState::durable}) {
    said.state = state;
    said.sequence = unsaid.sequence = 9;
    const auto found = sealed_by_all({{said}, {unsaid}});
    ASSERT_EQ(found.size(), 1U);
    ASSERT_EQ(found[0].size(), 1U);
    EXPECT_EQ(found[0][0].rank, 1U);
  }
  unsaid.sequence = 0;
  EXPECT_TRUE(sealed_by_all({{said}, {unsaid}}).empty()) << "the step has come again since";
}

TEST(SealedByAll, CheckedIsWhatEveryRankWithBytesOnGpusCompared) {
  constexpr std::uint32_t kHostOnly = arena::kSealed, kUnchecked = arena::kSealed | arena::kFromGpu,
                          kCompared = kUnchecked | arena::kChecked;
  const auto checked = [](std::vector<std::uint32_t> flags) { return persist::is_checked_by_all(flags); };
  EXPECT_TRUE(checked({kCompared, kCompared}));
  EXPECT_TRUE(checked({kHostOnly, kCompared}));
  EXPECT_FALSE(checked({kCompared, kUnchecked}));
  EXPECT_FALSE(checked({kHostOnly, kHostOnly})) << "nothing was compared";
  EXPECT_FALSE(checked({}));
}

}  // namespace
}  // namespace stillframe::persist
