#include "capture/progress.hpp"

#include <gtest/gtest.h>

#include "base/thread.hpp"

namespace stillframe::capture {
namespace {

base::Deadline soon() { return base::Deadline::after_ms(60'000); }
base::Deadline now() { return base::Deadline::after_ms(0); }

TEST(Progress, StartsWithACopy) {
  const Progress progress(12, 3456);
  const TicketInfo info = progress.info();
  EXPECT_EQ(info.state, SnapshotState::copying);
  EXPECT_EQ(info.step, 12);
  EXPECT_EQ(info.raw_bytes, 3456U);
  EXPECT_TRUE(progress.copying());
  EXPECT_FALSE(progress.ended());
  EXPECT_FALSE(progress.wait_copied(now()));
}

TEST(Progress, GoesForwardStepByStep) {
  Progress progress(1, 0);
  progress.set_captured();
  EXPECT_TRUE(progress.wait_copied(now()));
  progress.set_durable(7, "main-7", 99);
  progress.set_verified();
  const TicketInfo info = progress.info();
  EXPECT_EQ(info.state, SnapshotState::verified);
  EXPECT_EQ(info.sequence, 7U);
  EXPECT_EQ(info.name, "main-7");
  EXPECT_EQ(info.stored_bytes, 99U);
  EXPECT_LE(info.captured_seconds, info.durable_seconds);
  EXPECT_LE(info.durable_seconds, info.verified_seconds);
}

TEST(Progress, TheDaemonsWordMayOvertakeTheCopiers) {
  Progress progress(1, 0);
  progress.set_durable(1, "early", 1);
  progress.set_captured();
  EXPECT_EQ(progress.info().state, SnapshotState::durable);
  EXPECT_EQ(progress.info().name, "early");
}

TEST(Progress, IsNeverVerifiedBeforeItIsDurableNorGoesBack) {
  Progress progress(1, 0);
  progress.set_verified();
  EXPECT_EQ(progress.info().state, SnapshotState::copying);
  progress.set_captured();
  progress.set_verified();
  EXPECT_EQ(progress.info().state, SnapshotState::captured);
  progress.set_durable(2, "right", 2);
  progress.set_captured();
  EXPECT_EQ(progress.info().state, SnapshotState::durable);
  EXPECT_EQ(progress.info().name, "right");
}

TEST(Progress, LateWordsBringFiguresAndAlarmsToWhatIsAlreadyDurable) {
  for (const bool verified : {false, true}) {
    Progress progress(1, 0);
    progress.set_captured();
    EXPECT_TRUE(progress.set_durable(7, "by the arena", 0));
    if (verified) {
      EXPECT_TRUE(progress.set_verified());
    }
    const TicketInfo before = progress.info();
    EXPECT_FALSE(progress.set_durable(7, "main-7", 99, {{"non_finite_loss", "the loss is nan"}})) << "counted twice";
    const TicketInfo info = progress.info();
    EXPECT_EQ(info.state, before.state);
    EXPECT_EQ(info.durable_seconds, before.durable_seconds);
    EXPECT_EQ(info.name, "main-7");
    EXPECT_EQ(info.stored_bytes, 99U);
    ASSERT_EQ(info.alarms.size(), 1U);
    EXPECT_EQ(info.alarms[0].kind, "non_finite_loss");
    EXPECT_EQ(progress.set_verified(), !verified) << "once";
  }
}

TEST(Progress, WordsOfASnapshotThatHasEndedChangeNothing) {
  Progress progress(1, 0);
  progress.end(SnapshotState::failed, Code::io_error, "why");
  EXPECT_FALSE(progress.set_durable(7, "main-7", 99, {{"kind", "text"}}));
  EXPECT_TRUE(progress.info().name.empty() && progress.info().alarms.empty());
}

TEST(Progress, AnEndIsAnEnd) {
  for (const SnapshotState end : {SnapshotState::failed, SnapshotState::abandoned, SnapshotState::skipped}) {
    Progress progress(1, 0);
    progress.end(end, Code::io_error, "the first reason");
    progress.end(SnapshotState::abandoned, Code::busy, "the second");
    progress.set_captured();
    progress.set_durable(1, "n", 1);
    progress.set_verified();
    EXPECT_EQ(progress.info().state, end);
    EXPECT_EQ(progress.info().error, "the first reason");
    EXPECT_TRUE(progress.ended());
    EXPECT_FALSE(progress.copying());
    EXPECT_TRUE(progress.wait_copied(now()));
  }
}

TEST(Progress, ADurableSnapshotCanStillBeWithdrawn) {
  Progress progress(1, 0);
  progress.set_captured();
  progress.set_durable(1, "n", 1);
  progress.end(SnapshotState::abandoned, Code::corrupt, "torn");
  EXPECT_EQ(progress.info().state, SnapshotState::abandoned);
  EXPECT_EQ(progress.wait(SnapshotState::durable, now()).code(), Code::corrupt);
}

TEST(Progress, AWaitIsOverOnceTheStateIsReachedOrPassed) {
  Progress progress(1, 0);
  progress.set_captured();
  progress.set_durable(1, "n", 1);
  EXPECT_TRUE(progress.wait(SnapshotState::captured, now()).ok());
  EXPECT_TRUE(progress.wait(SnapshotState::durable, now()).ok());
}

TEST(Progress, AWaitThatRunsOutSaysWhatItWaitedForAndThatNothingIsLost) {
  Progress progress(31, 0);
  for (const auto& [state, word] :
       {std::pair{SnapshotState::captured, "captured"}, std::pair{SnapshotState::durable, "durable"},
        std::pair{SnapshotState::verified, "verified"}}) {
    const Status late = progress.wait(state, base::Deadline::after_ms(1));
    EXPECT_EQ(late.code(), Code::deadline);
    EXPECT_NE(late.message().find(word), std::string::npos) << late.message();
    EXPECT_NE(late.message().find("31"), std::string::npos) << late.message();
  }
  progress.set_captured();
  EXPECT_TRUE(progress.wait(SnapshotState::captured, now()).ok());
}

TEST(Progress, AWaitGivesTheReasonOfTheEnd) {
  Progress progress(1, 0);
  progress.end(SnapshotState::failed, Code::no_space, "the disk is full");
  const Status status = progress.wait(SnapshotState::durable, soon());
  EXPECT_EQ(status.code(), Code::no_space);
  EXPECT_EQ(status.message(), "the disk is full");
}

TEST(Progress, WaitersWakeWhenItMovesOnAndWhenItEnds) {
  for (const bool ends : {false, true}) {
    Progress progress(1, 0);
    auto mover = base::Thread::start("mover", [&] {
      progress.set_captured();
      if (ends) {
        progress.end(SnapshotState::abandoned, Code::deadline, "given up");
      } else {
        progress.set_durable(1, "n", 1);
      }
    });
    ASSERT_TRUE(mover.ok());
    const base::Deadline deadline = soon();
    EXPECT_EQ(progress.wait(SnapshotState::durable, deadline).ok(), !ends);
    EXPECT_FALSE(deadline.expired());
  }
}

TEST(Progress, PartsOfACallAddUp) {
  Progress progress(1, 0);
  progress.add_call_seconds(0.5);
  progress.add_call_seconds(0.25);
  progress.add_fence_seconds(2);
  EXPECT_DOUBLE_EQ(progress.info().call_seconds, 0.75);
  EXPECT_DOUBLE_EQ(progress.info().fence_seconds, 2);
}

TEST(Progress, OneForMemoryOnlyIsCapturedAndNothingMore) {
  Progress progress(7, 100);
  EXPECT_TRUE(progress.info().persisted);
  progress.set_memory_only(true);
  EXPECT_FALSE(progress.info().persisted);
  const Status told = progress.wait(SnapshotState::durable, base::Deadline::after_ms(60'000));
  EXPECT_EQ(told.code(), Code::unsupported) << "at once, also while it is copied";
  EXPECT_NE(told.message().find("memory only"), std::string::npos) << told.message();
  progress.set_captured();
  EXPECT_TRUE(progress.wait(SnapshotState::captured, base::Deadline::after_ms(0)).ok());
}

TEST(Progress, OneThatGoesToTheStoreAfterAllBecomesDurable) {
  Progress progress(7, 100);
  progress.set_memory_only(true);
  progress.set_captured();
  progress.set_memory_only(false);
  EXPECT_EQ(progress.wait(SnapshotState::durable, base::Deadline::after_ms(0)).code(), Code::deadline);
  EXPECT_TRUE(progress.set_durable(1, "name", 10));
  EXPECT_TRUE(progress.wait(SnapshotState::durable, base::Deadline::after_ms(0)).ok());
}

TEST(Progress, DurableIsTheDaemonsWordWhateverWasMeant) {
  Progress progress(7, 100);
  progress.set_memory_only(true);
  progress.set_captured();
  EXPECT_TRUE(progress.set_durable(1, "name", 10)) << "the daemon stopped, and wrote what it had";
  EXPECT_TRUE(progress.info().persisted);
}

}  // namespace
}  // namespace stillframe::capture
