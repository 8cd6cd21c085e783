// Memory for the snapshots of a trainer: who waits for whose, who is never waited for, and what follows from its size.
#include "base/thread.hpp"
#include "e2e/hot_rig.hpp"

namespace stillframe::test {
namespace {

class Reserve : public HotRestore {
 protected:
  [[nodiscard]] static std::string mode(const client::Core& core) {
    return nlohmann::json::parse(core.status_json()).at("mode").get<std::string>();
  }
  [[nodiscard]] static std::vector<capture::EntrySpec> floats(std::uint64_t count) {
    capture::EntrySpec spec;
    spec.entry.name = "values";
    spec.entry.dtype = DType::f32;
    spec.entry.shape = {count};
    return {spec};
  }
};

TEST_F(Reserve, ATrainerThatHasLeftIsWaitedForWhereItsMemoryIsNeeded) {
  start_daemon({"arena.budget_bytes=12582912"});  // two images of one trainer, not of two
  SF_ASSERT_OK(store::Store::open_or_create(env::posix_env(), store_path()));
  base::UniqueFd hung = hold_the_store();
  {
    auto first = open(state_);
    SF_ASSERT_OK(first);
    const auto ticket = first->snapshot(4);
    SF_ASSERT_OK(ticket);
    SF_ASSERT_OK(ticket->wait_captured(kPatienceMs));
  }
  const auto core = client::Core::open(options());
  SF_ASSERT_OK(core);
  {
    auto disk = base::Thread::start("disk", [&] { hung.reset(); });
    SF_ASSERT_OK(disk);
    SF_ASSERT_OK((*core)->reserve({kFloats * sizeof(float), 1}, base::Deadline::after_ms(kPatienceMs)));
  }
  EXPECT_EQ(mode(**core), "double");
  EXPECT_EQ(steps().size(), 1U);
}

TEST_F(Reserve, ARestoredTrainingMayEndBesideADaemonThatStandsStill) {
  start_daemon();
  SF_ASSERT_OK(store::Store::open_or_create(env::posix_env(), store_path()));
  const base::UniqueFd hung = hold_the_store();
  Process trainer = start_trainer("plain", 9);
  trainer.kill();
  expect_restored(9, "memory");
  daemon_.signal(SIGSTOP);
  const auto from_ns = base::system_clock().monotonic_ns();
  successor_.reset();
  EXPECT_LT(base::system_clock().monotonic_ns() - from_ns, 10'000'000'000);
  daemon_.signal(SIGCONT);
}

TEST_F(Reserve, WhatThePredecessorStillWritesHoldsUpNoLoopThatMaySkip) {
  start_daemon();
  SF_ASSERT_OK(store::Store::open_or_create(env::posix_env(), store_path()));
  base::UniqueFd hung = hold_the_store();
  Process trainer = start_trainer("plain", 9);
  trainer.kill();
  expect_restored(9, "memory");
  for (std::int64_t step = 10; step < 20; ++step) {
    const auto ticket = successor_->snapshot(step);
    SF_ASSERT_OK(ticket);
    EXPECT_EQ(ticket->info().state, SnapshotState::skipped);
    EXPECT_THAT(ticket->info().error, testing::HasSubstr("memory for snapshots is still on its way"));
  }
  hung.reset();
  std::optional<Ticket> taken;
  state_.set(20);
  ASSERT_TRUE(wait_until([&] {
    taken = successor_->snapshot(20).value();
    return taken->info().state != SnapshotState::skipped;
  }));
  SF_ASSERT_OK(successor_->fence());
  SF_ASSERT_OK(taken->wait_durable(kPatienceMs));
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{20, 9}));
}

TEST_F(Reserve, AStateThatShrankHasRoomForTwoImages) {
  start_daemon({"arena.budget_bytes=12582912"});
  const auto core = client::Core::open(options());
  SF_ASSERT_OK(core);
  SF_ASSERT_OK((*core)->make_plan(floats(2 << 20), base::Deadline::after_ms(kPatienceMs)));  // 8 MiB
  EXPECT_EQ(mode(**core), "single");
  SF_ASSERT_OK((*core)->make_plan(floats(1 << 20), base::Deadline::after_ms(kPatienceMs)));
  EXPECT_EQ(mode(**core), "double");
}

}  // namespace
}  // namespace stillframe::test
