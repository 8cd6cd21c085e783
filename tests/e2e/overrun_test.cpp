// Snapshots for which there is no room, by each policy; and what a crash would cost meanwhile.
#include <fcntl.h>
#include <sys/file.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "e2e/rig.hpp"

namespace stillframe::test {
namespace {

using testing::HasSubstr;

class OverrunTest : public DaemonTest {
 protected:
  // A daemon that does nothing, a trainer with room for two images, and both full.
  void fill(Overrun overrun) {
    start_daemon();
    CheckpointerOptions wanted = options();
    wanted.overrun = overrun;
    wanted.budget_bytes = kTwoImages;
    wanted.fence_deadline_ms = kPatienceMs;
    checkpointer_ = std::make_unique<Checkpointer>(Checkpointer::open(wanted).value());
    SF_ASSERT_OK(checkpointer_->add("values", DType::f32, {kFloats}, state_.values.data()));
    SF_ASSERT_OK(take(0).wait_durable(kPatienceMs));
    ASSERT_TRUE(daemon_.stop());
    // The first image is kept until another is sealed; the daemon, that would free it then, stands still.
    tickets_.push_back(take(1));
    SF_ASSERT_OK(tickets_.back().wait_captured(kPatienceMs));
  }
  Ticket take(std::int64_t step) {
    EXPECT_TRUE(checkpointer_->fence().ok());
    state_.set(step);
    return checkpointer_->snapshot(step).value();
  }

  // Three chunks and a descriptor's two, twice, and the control structures.
  static constexpr std::uint64_t kTwoImages = 11ULL << 20;
  State state_;
  std::unique_ptr<Checkpointer> checkpointer_;
  std::vector<Ticket> tickets_;
};

TEST_F(OverrunTest, SkipSaysSoAndLosesNothingThatIsCaptured) {
  fill(Overrun::skip);
  const Ticket skipped = take(2);
  EXPECT_EQ(skipped.info().state, SnapshotState::skipped);
  daemon_.signal(SIGCONT);
  SF_ASSERT_OK(tickets_[0].wait_durable(kPatienceMs));
}

TEST_F(OverrunTest, LatestLetsTheOlderOneGiveWayAndItsTicketSaysSo) {
  fill(Overrun::latest);
  const Ticket newest = take(2);
  SF_ASSERT_OK(newest.wait_captured(kPatienceMs));
  EXPECT_EQ(tickets_[0].info().state, SnapshotState::abandoned);
  EXPECT_EQ(tickets_[0].info().code, Code::busy);
  EXPECT_THAT(tickets_[0].info().error, HasSubstr("step 1 was captured and gave way to step 2"));
  daemon_.signal(SIGCONT);
  SF_ASSERT_OK(newest.wait_durable(kPatienceMs));
  SF_ASSERT_OK(checkpointer_->close());
  EXPECT_THAT(steps(), testing::ElementsAre(2, 0));
}

TEST_F(OverrunTest, LatestKeepsTheNewestCapturedOneWhenRecordsRunOut) {
  fill(Overrun::latest);
  for (std::int64_t step = 2; step < arena::kMaxSnapshots; ++step) {
    tickets_.push_back(take(step));
    SF_ASSERT_OK(tickets_.back().wait_captured(kPatienceMs));
  }
  EXPECT_EQ(take(arena::kMaxSnapshots).info().state, SnapshotState::skipped);
  EXPECT_EQ(tickets_.back().info().state, SnapshotState::captured) << "nothing came in its place";
  daemon_.signal(SIGCONT);
  SF_ASSERT_OK(tickets_.back().wait_durable(kPatienceMs));
}

TEST_F(OverrunTest, LatestLosesNothingWhenItsRoomWouldNotDo) {
  start_daemon();
  CheckpointerOptions wanted = options();
  wanted.overrun = Overrun::latest;
  wanted.budget_bytes = kTwoImages;
  const auto core = client::Core::open(wanted).value();
  const auto plan_of = [&](std::uint64_t floats) {
    return core->make_plan({{{"values", DType::f32, {floats}}}}, base::Deadline::after_ms(kPatienceMs)).value();
  };
  const std::vector<float> values(2 * kFloats);
  const auto take_of = [&](std::int64_t step, const auto& plan) {
    client::SnapshotRequest request;
    request.step = step;
    request.data = {values.data()};
    const client::Snapshot taken = core->snapshot(plan, std::move(request));
    EXPECT_TRUE(core->fence(0).ok());
    return taken;
  };
  const auto double_size = plan_of(2 * kFloats), full = plan_of(kFloats), small = plan_of(1000);
  // No sequence can be claimed while it is held, as on a disk that hangs.
  const base::UniqueFd hung(::open((store_path() + "/store.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::flock(hung.get(), LOCK_EX), 0);
  (void)take_of(0, full);
  ASSERT_TRUE(wait_until([this] {
    return client::query_status(socket(), base::Deadline::after_ms(kPatienceMs)).value().find("preparing step 0") != std::string::npos;
  }));
  const client::Snapshot captured = take_of(1, small);
  ASSERT_TRUE(wait_until([&] { return captured.progress->info().state == SnapshotState::captured; }));
  EXPECT_EQ(take_of(2, double_size).progress->info().state, SnapshotState::skipped);
  EXPECT_EQ(captured.progress->info().state, SnapshotState::captured);
}

TEST_F(OverrunTest, LatestIsRefusedForAGroupThatWouldNeverAgree) {
  CheckpointerOptions wanted = options();
  wanted.overrun = Overrun::latest;
  wanted.world_size = 2;
  const auto opened = Checkpointer::open(wanted);
  EXPECT_EQ(opened.status().code(), Code::unsupported);
  EXPECT_THAT(opened.status().message(), HasSubstr("latest"));
}

TEST_F(OverrunTest, WaitTakesEverySnapshot) {
  fill(Overrun::wait);
  auto waker = base::Thread::start("waker", [this] { daemon_.signal(SIGCONT); });
  SF_ASSERT_OK(waker);
  const Ticket waited = take(2);
  SF_ASSERT_OK(waited.wait_durable(kPatienceMs));
  SF_ASSERT_OK(tickets_[0].wait_durable(kPatienceMs));
}

}  // namespace
}  // namespace stillframe::test
