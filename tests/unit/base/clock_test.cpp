#include "base/clock.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "base/futex.hpp"
#include "base/thread.hpp"

namespace stillframe::base {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

TEST(Utc, TheTwoSpellingsOfOneMoment) {
  constexpr std::int64_t kMoment = 1'795'350'605 * kSecond + 999'999'999;
  EXPECT_EQ(utc_compact(kMoment), "20261122T123005Z");
  EXPECT_EQ(utc_iso(kMoment), "2026-11-22T12:30:05Z");
}

TEST(Utc, TheEdgesOfTheCalendar) {
  EXPECT_EQ(utc_iso(0), "1970-01-01T00:00:00Z");
  EXPECT_EQ(utc_iso(-1), "1969-12-31T23:59:59Z") << "a moment before the epoch is rounded down";
  EXPECT_EQ(utc_iso(-kSecond), "1969-12-31T23:59:59Z");
  EXPECT_EQ(utc_iso(951'782'400 * kSecond), "2000-02-29T00:00:00Z");
  EXPECT_EQ(utc_iso(4'107'542'400 * kSecond), "2100-03-01T00:00:00Z");
  EXPECT_EQ(utc_compact(std::numeric_limits<std::int64_t>::max()), "22620411T234716Z");
  EXPECT_EQ(utc_compact(std::numeric_limits<std::int64_t>::min()), "16770921T001243Z");
}

TEST(Deadline, OneThatHasPassedHasNothingLeft) {
  const Deadline past = Deadline::after_ms(0);
  EXPECT_TRUE(past.expired());
  EXPECT_EQ(past.remaining_ns(), 0);
  EXPECT_EQ(past.remaining_ms(), 0);
}

TEST(Deadline, TheLongestWaitDoesNotOverflow) {
  const Deadline far = Deadline::after_ms(std::numeric_limits<std::uint64_t>::max());
  EXPECT_FALSE(far.expired());
  EXPECT_GT(far.remaining_ns(), 300LL * 24 * 3600 * kSecond);
  EXPECT_EQ(far.remaining_ms(), 1 << 30);
}

TEST(Deadline, APartOfAWaitNeverOutlastsTheWhole) {
  const Deadline whole = Deadline::after_ms(60'000);
  EXPECT_LE(whole.at_most_ms(10).remaining_ns(), 10 * 1'000'000);
  EXPECT_LE(whole.at_most_ms(600'000).remaining_ns(), 60 * kSecond);
  EXPECT_TRUE(Deadline::after_ms(0).at_most_ms(1000).expired());
  EXPECT_TRUE(whole.at_most_ms(0).expired());
}

TEST(Deadline, MillisecondsAreRoundedUpSoThatPollDoesNotSpin) {
  const Deadline soon = Deadline::after_ms(50);
  const int ms = soon.remaining_ms();
  EXPECT_GE(std::int64_t{ms} * 1'000'000, soon.remaining_ns());
  EXPECT_LE(ms, 50);
}

TEST(Clock, TheSystemsClockNeverGoesBack) {
  std::int64_t last = system_clock().monotonic_ns();
  for (int i = 0; i < 10'000; ++i) {
    const std::int64_t now = system_clock().monotonic_ns();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(Clock, AManualClockMovesWhenTold) {
  ManualClock clock;
  clock.set_unix_ns(100);
  clock.advance_ns(5);
  EXPECT_EQ(clock.unix_ns(), 105);
  EXPECT_EQ(clock.monotonic_ns(), 5);
}

TEST(Futex, AWaitForAValueThatHasChangedReturnsAtOnce) {
  std::atomic<std::uint32_t> word{0};
  futex_bump(word);
  EXPECT_EQ(word.load(), 1U);
  const Deadline far = Deadline::after_ms(60'000);
  futex_wait(word, 0, far);
  EXPECT_FALSE(far.expired());
}

TEST(Futex, AWaitEndsAtItsDeadline) {
  const std::atomic<std::uint32_t> word{0};
  const Deadline soon = Deadline::after_ms(20);
  while (!soon.expired()) futex_wait(word, 0, soon);
  SUCCEED();
}

TEST(Futex, ABumpWakesAWaiter) {
  std::atomic<std::uint32_t> word{0};
  const Deadline far = Deadline::after_ms(60'000);
  auto waker = Thread::start("waker", [&] { futex_bump(word); });
  ASSERT_TRUE(waker.ok());
  while (word.load() == 0 && !far.expired()) futex_wait(word, 0, far);
  EXPECT_FALSE(far.expired());
}

TEST(GrowingPause, EndsAtTheDeadline) {
  GrowingPause between;
  const Deadline deadline = Deadline::after_ms(5);
  for (int i = 0; i < 1000 && !deadline.expired(); ++i) between.pause(deadline);
  EXPECT_TRUE(deadline.expired()) << "1000 pauses of up to 1 ms each did not last for 5 ms";
  const std::int64_t before = system_clock().monotonic_ns();
  for (int i = 0; i < 1000; ++i) between.pause(deadline);
  EXPECT_LT(system_clock().monotonic_ns() - before, kSecond) << "pauses went on after the deadline";
}

}  // namespace
}  // namespace stillframe::base
