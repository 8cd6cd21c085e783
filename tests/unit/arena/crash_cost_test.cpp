// What a crash would cost at a moment, by what the arena tells, and the cadence that follows from measured cost.
#include "arena/crash_cost.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace stillframe::arena {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kNow = 1'000 * kSecond;

std::int64_t seconds_ago(std::int64_t seconds) { return kNow - seconds * kSecond; }

RecordView snapshot(RecordState state, std::int64_t seconds_since_taken, std::uint32_t flags = kConfirmed | kSealed) {
  RecordView view;
  view.state = state;
  view.flags = flags;
  view.taken_monotonic_ns = seconds_ago(seconds_since_taken);
  return view;
}

CrashCost cost(const CrashFacts& facts, const std::vector<RecordView>& records) {
  return crash_cost(facts, records, kNow);
}

TEST(CrashCost, WithoutASnapshotEverythingSinceTheTrainerCame) {
  const CrashCost found = cost({seconds_ago(41)}, {snapshot(RecordState::copying, 5)});
  EXPECT_DOUBLE_EQ(found.trainer_crash_seconds, 41);
  EXPECT_DOUBLE_EQ(found.power_loss_seconds, 41);
}

TEST(CrashCost, CountsFromTheNewestCapturedAndFromTheNewestDurable) {
  const CrashCost found = cost(
      {seconds_ago(900), seconds_ago(250)},
      {snapshot(RecordState::verified, 250), snapshot(RecordState::sealed, 41), snapshot(RecordState::sealed, 80)});
  EXPECT_DOUBLE_EQ(found.trainer_crash_seconds, 41);
  EXPECT_DOUBLE_EQ(found.power_loss_seconds, 250);
}

TEST(CrashCost, WhatIsDurableIsLeftByATrainerToo) {
  EXPECT_DOUBLE_EQ(cost({seconds_ago(900), seconds_ago(3)}, {snapshot(RecordState::sealed, 80)}).trainer_crash_seconds,
                   3);
}

TEST(CrashCost, WhatIsTornOrGaveWayOrWasLetGoIsNotLeft) {
  for (const std::uint32_t flag : {kWithdrawn, kSuperseded, kDone}) {
    const CrashCost found =
        cost({seconds_ago(900), seconds_ago(250)}, {snapshot(RecordState::sealed, 41, kSealed | flag)});
    EXPECT_DOUBLE_EQ(found.trainer_crash_seconds, 250) << flag;
  }
  for (const RecordState state : {RecordState::failed, RecordState::abandoned}) {
    EXPECT_DOUBLE_EQ(cost({seconds_ago(900)}, {snapshot(state, 41)}).trainer_crash_seconds, 900);
  }
}

TEST(CrashCost, OfAGroupOnlyWhatEveryRankHasSealedIsCaptured) {
  const CrashFacts facts{seconds_ago(900), 0, 4};
  EXPECT_DOUBLE_EQ(cost(facts, {snapshot(RecordState::sealed, 41)}).trainer_crash_seconds, 900);
  EXPECT_DOUBLE_EQ(cost(facts, {snapshot(RecordState::sealed, 41, kSealed | kCaptured)}).trainer_crash_seconds, 41);
}

// On a full disk every snapshot ends so, and the newest one stays in memory for whoever restores from there.
TEST(CrashCost, AnImageThatCouldNotBeWrittenIsCaptured) {
  const CrashFacts facts{seconds_ago(900), 0, 1};
  EXPECT_DOUBLE_EQ(cost(facts, {snapshot(RecordState::failed, 41, kSealed | kUnwritten)}).trainer_crash_seconds, 41);
  EXPECT_DOUBLE_EQ(cost(facts, {snapshot(RecordState::failed, 41, kSealed)}).trainer_crash_seconds, 900);
}

TEST(CrashCost, NonsenseInSharedMemoryCountsAsNoSnapshot) {
  constexpr std::int64_t kLowest = INT64_MIN, kHighest = INT64_MAX;
  for (const std::int64_t nonsense : {kLowest, kHighest, kNow + 1, std::int64_t{0}}) {
    RecordView view = snapshot(RecordState::sealed, 41);
    view.taken_monotonic_ns = nonsense;
    const CrashCost found = cost({seconds_ago(900), nonsense}, {view});
    EXPECT_DOUBLE_EQ(found.trainer_crash_seconds, 900) << nonsense;
    EXPECT_DOUBLE_EQ(found.power_loss_seconds, 900) << nonsense;
  }
  EXPECT_DOUBLE_EQ(cost({kLowest}, {}).power_loss_seconds, 1'000);
  EXPECT_DOUBLE_EQ(cost({kHighest}, {}).power_loss_seconds, 0);
}

TEST(CrashCostText, IsReadAtAGlance) {
  EXPECT_EQ(describe(CrashCost{41, 250}), "trainer crash: 41 s; power loss: 4 min 10 s");
  EXPECT_EQ(describe(CrashCost{0, 2 * 3600 + 125}), "trainer crash: 0 s; power loss: 2 h 2 min");
}

// The optimum itself, found by search over Daly's model of the time lost: e^(tau + delta) in units of the time between
// failures.
double searched_optimum(double block, double between) {
  double best = 0, best_cost = HUGE_VAL;
  for (double interval = block / 100; interval < 10 * between; interval *= 1.0005) {
    const double cost = std::expm1((interval + block) / between) / interval;
    if (cost < best_cost) best = interval, best_cost = cost;
  }
  return best;
}

TEST(OptimumInterval, IsThatOfTheModelItsFormulaApproximates) {
  for (const double block : {0.001, 0.1, 5.0, 120.0}) {
    for (const double between : {3600.0, 86'400.0}) {
      const double found = optimum_interval_seconds(block, between);
      EXPECT_NEAR(found / searched_optimum(block, between), 1, 0.002) << block << " of " << between;
    }
  }
}

TEST(OptimumInterval, WhereASnapshotCostsMoreThanFailuresAreApartItIsTheTimeBetweenThem) {
  EXPECT_DOUBLE_EQ(optimum_interval_seconds(500, 200), 200);
}

TEST(SuggestedCadence, ComesOnlyOfWhatIsKnown) {
  EXPECT_FALSE(suggested_cadence(0, 3600));
  EXPECT_FALSE(suggested_cadence(0.02, 0));
  EXPECT_FALSE(suggested_cadence(std::nan(""), 3600));
  const auto cadence = suggested_cadence(0.02, 3600);
  ASSERT_TRUE(cadence);
  EXPECT_DOUBLE_EQ(cadence->snapshot_every_seconds, optimum_interval_seconds(0.02, 3600));
}

TEST(SuggestedCadence, IsReadAtAGlance) {
  EXPECT_EQ(describe(Cadence{12.4, 0.02, 3600}),
            "a snapshot every 12 s: each costs the loop 20 ms, and a failure is expected every 1 h 0 min");
  EXPECT_EQ(describe(Cadence{1.26, 0.0002, 61}),
            "a snapshot every 1.3 s: each costs the loop 200 us, and a failure is expected every 1 min 1 s");
}

}  // namespace
}  // namespace stillframe::arena
