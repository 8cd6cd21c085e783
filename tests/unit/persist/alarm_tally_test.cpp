#include "persist/alarm_tally.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stillframe::persist {
namespace {

using What = AlarmTally::Change::What;
using testing::IsEmpty;
using testing::SizeIs;

TEST(AlarmTally, AnAlarmIsRaisedOnceAndThenCounted) {
  AlarmTally tally;
  const auto first = tally.update(10, {{"stale_state", "steps 9 and 10", ""}});
  ASSERT_THAT(first, SizeIs(1));
  EXPECT_EQ(first[0].what, What::raised);
  EXPECT_EQ(first[0].alarm.text, "steps 9 and 10");
  for (std::int64_t step = 11; step < 20; ++step) {
    EXPECT_THAT(tally.update(step, {{"stale_state", "steps …", ""}}), IsEmpty()) << step;
  }
  ASSERT_THAT(tally.standing(), SizeIs(1));
  EXPECT_EQ(tally.standing()[0].times, 10U);
  EXPECT_EQ(tally.standing()[0].since_step, 10);
  EXPECT_EQ(tally.standing()[0].text, "steps …") << "the newest";
}

TEST(AlarmTally, AnAlarmThatIsGoneIsClearedWithItsCountAndMayBeRaisedAgain) {
  AlarmTally tally;
  (void)tally.update(1, {{"non_finite_loss", "NaN", "NaN"}});
  (void)tally.update(2, {{"non_finite_loss", "NaN", "NaN"}});
  const auto cleared = tally.update(3, {});
  ASSERT_THAT(cleared, SizeIs(1));
  EXPECT_EQ(cleared[0].what, What::cleared);
  EXPECT_EQ(cleared[0].alarm.times, 2U);
  EXPECT_THAT(tally.standing(), IsEmpty());
  EXPECT_THAT(tally.update(4, {}), IsEmpty());
  const auto again = tally.update(5, {{"non_finite_loss", "NaN", "NaN"}});
  ASSERT_THAT(again, SizeIs(1));
  EXPECT_EQ(again[0].alarm.since_step, 5);
}

TEST(AlarmTally, TheSameKindOfAnotherSubjectIsRaisedAnewAndCountedOn) {
  AlarmTally tally;
  (void)tally.update(1, {{"stale_tensors", "a", "a"}});
  const auto grown = tally.update(2, {{"stale_tensors", "a and b", "ab"}});
  ASSERT_THAT(grown, SizeIs(1));
  EXPECT_EQ(grown[0].what, What::raised);
  EXPECT_EQ(grown[0].alarm.times, 2U);
}

TEST(AlarmTally, KindsAreCountedApart) {
  AlarmTally tally;
  (void)tally.update(1, {{"stale_state", "s", ""}});
  const auto second = tally.update(2, {{"stale_state", "s", ""}, {"non_finite_loss", "n", "NaN"}});
  ASSERT_THAT(second, SizeIs(1));
  EXPECT_EQ(second[0].alarm.kind, "non_finite_loss");
  const auto third = tally.update(3, {{"non_finite_loss", "n", "NaN"}});
  ASSERT_THAT(third, SizeIs(1));
  EXPECT_EQ(third[0].alarm.kind, "stale_state");
  EXPECT_EQ(third[0].what, What::cleared);
}

}  // namespace
}  // namespace stillframe::persist
