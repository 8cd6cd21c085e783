// A snapshot that is given up while its copies are under way on a GPU: nothing is taken for ended that is not known to
// be.
#include <gmock/gmock.h>

#include "unit/capture_gpu/gpu_rig.hpp"

namespace stillframe::capture {
namespace {

using testing::HasSubstr;

class Stopping : public GpuCapture {
 protected:
  static constexpr const char* kReason = "the caller has no use for it";

  // Every copy is given and stands; so the copier only waits, and the next event is one of its stopping.
  [[nodiscard]] Taken under_way() {
    start_training({}, {{3 << 20, true, 0}, {64, false, 0}});
    set_all(true, 1);
    set_all(false, 1);
    fake_cuda::hang_stream(compute_);
    const Taken shot = snapshot(1);
    expect_ok(fence());
    return shot;
  }
  void events_fail(int times) {
    for (int nth = 1; nth <= times; ++nth) {
      fake_cuda::inject(
          {"cuEventCreate", static_cast<std::uint64_t>(nth), cuda::kErrorUnknown, fake_cuda::Effect::refuse});
    }
  }
  void give_up(const Taken& shot) {
    copier_->cancel(kReason, /*only_ring=*/false);
    EXPECT_THAT(shot.progress->wait(SnapshotState::captured, soon()).message(), HasSubstr(kReason));
    EXPECT_EQ(shot.progress->info().state, SnapshotState::abandoned);
    EXPECT_TRUE(copier_->wait_idle(soon()));
  }
};

TEST_F(Stopping, AnErrorOfTheMomentWhileItStopsIsNotTakenForADeviceThatHangs) {
  const Taken shot = under_way();
  events_fail(1);
  copier_->cancel(kReason, /*only_ring=*/false);
  fake_cuda::release_streams();
  give_up(shot);
  EXPECT_FALSE(copier_->is_stuck());
  EXPECT_EQ(daemon_->view(shot.handle.record)->state, arena::RecordState::abandoned);
  give_back(shot.handle);
  expect_ok(copier_->submit(job(2), soon()).status());
}

TEST_F(Stopping, WhereItCannotBeKnownThatTheCopiesEndedTheirChunksAreNotGivenAway) {
  const Taken shot = under_way();
  events_fail(2);
  copier_->cancel(kReason, /*only_ring=*/false);
  fake_cuda::release_streams();
  give_up(shot);
  EXPECT_TRUE(copier_->is_stuck());
  EXPECT_EQ(daemon_->view(shot.handle.record)->state, arena::RecordState::copying);
  EXPECT_EQ(copier_->submit(job(2), soon()).status().code(), Code::unavailable);
  EXPECT_EQ(copier_->prepare(*plan_).code(), Code::unavailable);
}

TEST_F(Stopping, TheEndOfTheCopierWaitsForTheCopiesThatItGave) {
  const Taken shot = under_way();
  const auto stopping = base::Thread::start("stopping", [&] { copier_->stop(); });
  ASSERT_TRUE(stopping.ok());
  EXPECT_EQ(shot.progress->info().state, SnapshotState::copying) << "the copies stand, and so does it";
  fake_cuda::release_streams();
  expect_ok(taken(training(compute_)->record())->wait(soon()));
  ASSERT_TRUE(copier_->wait_idle(soon()));
  EXPECT_FALSE(copier_->is_stuck());
}

}  // namespace
}  // namespace stillframe::capture
