// Which captured snapshots go to the store: by steps, by seconds, by both, and after a run was set back.
#include "client/persist_cadence.hpp"

#include <gmock/gmock.h>

#include <limits>
#include <vector>

namespace stillframe::client {
namespace {

using testing::ElementsAre;

constexpr std::int64_t kSecond = 1'000'000'000;

// The steps that are due, each snapshot `seconds_apart` after the one before.
std::vector<std::int64_t> due_of(const PersistCadence& cadence, const std::vector<std::int64_t>& steps,
                                 std::int64_t seconds_apart = 1) {
  std::vector<std::int64_t> due;
  std::optional<LastPersisted> last;
  std::int64_t now = 100 * kSecond;
  for (const std::int64_t step : steps) {
    now += seconds_apart * kSecond;
    if (!is_due(cadence, last, step, now)) continue;
    due.push_back(step);
    last = LastPersisted{step, now};
  }
  return due;
}

TEST(PersistCadence, WithoutAWordAndWithOneStepEveryoneIsDue) {
  EXPECT_THAT(due_of({}, {1, 2, 3}), ElementsAre(1, 2, 3));
  EXPECT_THAT(due_of({1, 0}, {1, 2, 2, 3}), ElementsAre(1, 2, 3));
  EXPECT_FALSE(is_rare({}));
  EXPECT_FALSE(is_rare({1, 0}));
  EXPECT_FALSE(is_rare({1, 60}));
  EXPECT_TRUE(is_rare({2, 0}));
  EXPECT_TRUE(is_rare({0, 1}));
}

TEST(PersistCadence, TheFirstAtOrAfterEachMultipleOfTheSteps) {
  EXPECT_THAT(due_of({20, 0}, {0, 10, 19, 20, 30, 40, 41}), ElementsAre(0, 20, 40));
  EXPECT_THAT(due_of({20, 0}, {7, 14, 21, 28, 35, 42, 63}), ElementsAre(7, 21, 42, 63)) << "none hits a multiple";
  EXPECT_THAT(due_of({20, 0}, {5, 6, 90, 99, 100}), ElementsAre(5, 90, 100)) << "several multiples at once are one";
}

TEST(PersistCadence, StepsBelowZeroAreCountedDownwards) {
  EXPECT_THAT(due_of({10, 0}, {-25, -21, -20, -11, -10, -1, 0, 9, 10}), ElementsAre(-25, -20, -10, 0, 10));
}

TEST(PersistCadence, TheFirstAfterTheSeconds) {
  EXPECT_THAT(due_of({0, 10}, {1, 2, 3, 4, 5, 6}, 4), ElementsAre(1, 4));
  EXPECT_THAT(due_of({0, 8}, {1, 2, 3, 4, 5, 6}, 4), ElementsAre(1, 3, 5));
}

TEST(PersistCadence, WhicheverComesFirst) {
  EXPECT_THAT(due_of({100, 10}, {1, 2, 3, 4, 100, 101, 102, 103}, 4), ElementsAre(1, 4, 100, 103));
}

TEST(PersistCadence, ARunThatWasSetBackPersistsAtOnce) {
  EXPECT_THAT(due_of({100, 0}, {500, 501, 450, 451, 500}), ElementsAre(500, 450, 500));
}

TEST(PersistCadence, TheEndsOfTheNumbersAreNoEnd) {
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  constexpr auto kLeast = std::numeric_limits<std::int64_t>::min();
  EXPECT_THAT(due_of({~0ULL, 0}, {kLeast, -1, 0, kMost}), ElementsAre(kLeast, 0));
  EXPECT_THAT(due_of({static_cast<std::uint64_t>(kMost), 0}, {0, kMost - 1, kMost}), ElementsAre(0, kMost));
  EXPECT_FALSE(is_due({0, ~0ULL}, LastPersisted{1, kLeast}, 2, kMost));
  EXPECT_FALSE(is_due({0, 1}, LastPersisted{1, 5 * kSecond}, 2, 4 * kSecond)) << "a time before the last is none";
}

}  // namespace
}  // namespace stillframe::client
