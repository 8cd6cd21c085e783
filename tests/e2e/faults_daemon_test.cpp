// A daemon that dies in the first moments of a trainer, before there is an arena to hand over.
#include "base/thread.hpp"
#include "e2e/rig.hpp"

namespace stillframe::test {
namespace {

class YoungTrainer : public DaemonTest {
 protected:
  // While `act` runs, the daemon is dead first, and then another one serves the same socket.
  template <typename Act>
  void with_another_daemon(const Act& act) {
    daemon_.kill();
    auto starter = base::Thread::start("starter", [this] { start_daemon(); });
    SF_ASSERT_OK(starter);
    act();
  }
};

TEST_F(YoungTrainer, RestoresThroughTheNextDaemon) {
  start_daemon();
  State state;
  auto checkpointer = open(state);
  SF_ASSERT_OK(checkpointer);
  with_another_daemon([&] { SF_ASSERT_OK(checkpointer->restore()); });
}

TEST_F(YoungTrainer, TakesItsFirstSnapshotThroughTheNextDaemon) {
  start_daemon();
  State state;
  auto checkpointer = open(state);
  SF_ASSERT_OK(checkpointer);
  with_another_daemon([&] {
    const auto ticket = checkpointer->snapshot(1, /*wait=*/true);
    SF_ASSERT_OK(ticket);
    SF_ASSERT_OK(checkpointer->fence());
    SF_ASSERT_OK(ticket->wait_verified(kPatienceMs));
  });
}

TEST_F(YoungTrainer, WithoutAnyDaemonTheSnapshotFailsAndTrainingGoesOn) {
  start_daemon();
  State state;
  auto checkpointer = open(state);
  SF_ASSERT_OK(checkpointer);
  daemon_.kill();
  const auto ticket = checkpointer->snapshot(1);
  SF_ASSERT_OK(ticket);
  EXPECT_EQ(ticket->info().state, SnapshotState::failed);
  EXPECT_EQ(ticket->wait_durable(kPatienceMs).code(), Code::unavailable);
  EXPECT_THAT(ticket->info().error, testing::HasSubstr("daemon"));
  SF_ASSERT_OK(checkpointer->fence());
}

TEST_F(DaemonTest, IsStoppedWhileTrainingGoesOnAndOnTakingSnapshots) {
  start_daemon();
  State state;
  auto checkpointer = open(state);
  SF_ASSERT_OK(checkpointer);
  SF_ASSERT_OK(checkpointer->snapshot(0)->wait_durable(kPatienceMs));
  std::atomic<bool> ended{false};
  daemon_.signal(SIGTERM);
  auto watcher = base::Thread::start("watcher", [&] {
    EXPECT_EQ(daemon_.wait(), 0) << "it waits for snapshots to come";
    ended = true;
  });
  SF_ASSERT_OK(watcher);
  std::int64_t step = 0;
  while (!ended) {
    SF_ASSERT_OK(checkpointer->fence());
    SF_ASSERT_OK(checkpointer->snapshot(++step));
  }
}

}  // namespace
}  // namespace stillframe::test
