// What a crash would cost at a moment, as the trainer knows it.
#include "capture/crash_ledger.hpp"

#include <gtest/gtest.h>

#include <memory>

#include "capture/progress.hpp"

namespace stillframe::capture {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

struct CrashLedgerTest : testing::Test {
  // A snapshot whose call is now.
  std::int64_t call() const { return clock.monotonic_ns(); }
  void pass(std::int64_t seconds) { clock.advance_ns(seconds * kSecond); }

  base::ManualClock clock;
  CrashLedger ledger{clock};
};

TEST_F(CrashLedgerTest, WithoutASnapshotEverythingSinceTheStart) {
  pass(41);
  EXPECT_DOUBLE_EQ(ledger.cost().trainer_crash_seconds, 41);
  EXPECT_DOUBLE_EQ(ledger.cost().power_loss_seconds, 41);
}

TEST_F(CrashLedgerTest, CountsFromTheCallOfTheNewestCapturedAndOfTheNewestDurable) {
  const std::int64_t first = call();
  pass(5);
  ledger.captured(first);
  ledger.durable(first);
  pass(15);
  const std::int64_t second = call();
  pass(2);
  EXPECT_DOUBLE_EQ(ledger.cost().trainer_crash_seconds, 22) << "the second is not captured yet";
  ledger.captured(second);
  EXPECT_DOUBLE_EQ(ledger.cost().trainer_crash_seconds, 2);
  EXPECT_DOUBLE_EQ(ledger.cost().power_loss_seconds, 22);
  ledger.durable(second);
  EXPECT_DOUBLE_EQ(ledger.cost().power_loss_seconds, 2);
}

TEST_F(CrashLedgerTest, AnOlderOneThatBecomesDurableLateTakesNothingBack) {
  const std::int64_t first = call();
  pass(10);
  const std::int64_t second = call();
  ledger.captured(first);
  ledger.captured(second);
  ledger.durable(second);
  ledger.durable(first);
  EXPECT_DOUBLE_EQ(ledger.cost().power_loss_seconds, 0);
}

TEST_F(CrashLedgerTest, WhatIsWithdrawnGivesWayToTheOneBefore) {
  const std::int64_t first = call();
  ledger.captured(first);
  ledger.durable(first);
  pass(10);
  const std::int64_t second = call();
  ledger.captured(second);
  ledger.durable(second);
  ledger.ended(second);
  EXPECT_DOUBLE_EQ(ledger.cost().trainer_crash_seconds, 10);
  EXPECT_DOUBLE_EQ(ledger.cost().power_loss_seconds, 10);
}

TEST_F(CrashLedgerTest, WithoutADaemonWhatIsCapturedDiesWithTheTrainer) {
  pass(30);
  ledger.captured(call());
  ledger.set_daemon_there(false);
  EXPECT_DOUBLE_EQ(ledger.cost().trainer_crash_seconds, 30);
  ledger.set_daemon_there(true);
  EXPECT_DOUBLE_EQ(ledger.cost().trainer_crash_seconds, 0);
}

TEST_F(CrashLedgerTest, TheMeanBlockIsOfTheSnapshotsTakenWithAllThatWasWaited) {
  ledger.add_block_seconds(0.125);  // of one that was skipped
  EXPECT_EQ(ledger.mean_block_seconds(), 0);
  ledger.taken();
  ledger.add_block_seconds(0.125);
  ledger.taken();
  ledger.add_block_seconds(0.5);
  EXPECT_DOUBLE_EQ(ledger.mean_block_seconds(), 0.375);
}

TEST(ProgressAndLedger, ATicketTellsWhatACrashNowWouldCost) {
  const auto ledger = std::make_shared<CrashLedger>();
  Progress progress(1, 100, ledger);
  const TicketInfo before = progress.info();
  EXPECT_GT(before.trainer_crash_seconds, 0);
  progress.set_captured();
  const TicketInfo captured = progress.info();
  EXPECT_LT(captured.trainer_crash_seconds, captured.power_loss_seconds);
  EXPECT_TRUE(progress.set_durable(1, "name", 10));
  const TicketInfo durable = progress.info();
  EXPECT_DOUBLE_EQ(durable.trainer_crash_seconds, durable.power_loss_seconds);
  progress.end(SnapshotState::abandoned, Code::corrupt, "torn");
  EXPECT_GT(progress.info().power_loss_seconds, durable.power_loss_seconds);
}

TEST(ProgressAndLedger, WhatWasForMemoryOnlyAndIsLetGoIsNotLeft) {
  const auto ledger = std::make_shared<CrashLedger>();
  Progress older(1, 100, ledger), newer(2, 100, ledger);
  for (Progress* one : {&older, &newer}) {
    one->set_memory_only(true);
    one->set_captured();
  }
  older.set_let_go();
  const TicketInfo info = newer.info();
  EXPECT_LT(info.trainer_crash_seconds, info.power_loss_seconds);
  newer.end(SnapshotState::abandoned, Code::corrupt, "torn");
  const arena::CrashCost cost = ledger->cost();
  EXPECT_DOUBLE_EQ(cost.trainer_crash_seconds, cost.power_loss_seconds) << "neither is there any more";
  EXPECT_EQ(older.info().state, SnapshotState::captured);
}

}  // namespace
}  // namespace stillframe::capture
