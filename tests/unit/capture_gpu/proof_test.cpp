// The capture proof: what stood on a GPU when the snapshot was taken, compared with what arrived in the arena.
#include <gmock/gmock.h>

#include "unit/capture_gpu/gpu_rig.hpp"

namespace stillframe::capture {
namespace {

using fake_cuda::Config;
using fake_cuda::Effect;
using fake_cuda::Schedule;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

#if defined(__SANITIZE_THREAD__)
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif

class Proof : public GpuCapture {
 protected:
  static constexpr std::uint64_t kChunk = kChunkBytes;

  void SetUp() override {
    GpuCapture::SetUp();
    check_ = CaptureCheck::first;
  }
  // The test has changed a tensor that nothing held back: the detector of races may have seen it as well.
  void forget_races() {
    stop();
    start({});
  }

  // One snapshot of step `step`, fenced, and ended.
  [[nodiscard]] TicketInfo taken_well(int step) {
    set_all(true, step);
    set_all(false, step);
    const Taken shot = snapshot(step);
    set_all(false, 100 + step);
    expect_ok(fence());
    set_all(true, 200);
    expect_ok(shot.progress->wait(SnapshotState::captured, soon()));
    EXPECT_EQ(tensors_that_are(shot.handle, step), tensors_.size());
    const TicketInfo info = shot.progress->info();
    EXPECT_EQ(info.checked, is_marked_checked(shot.handle));
    give_back(shot.handle);
    return info;
  }
  // When a change without a fence runs, measured by the copies.
  enum class Change { as_it_comes, among_the_copies, before_the_copies };
  // One of which `tensor` gets another value on the trainer's stream, without a fence.
  [[nodiscard]] Taken overwritten(int step, std::size_t tensor, Change change = Change::before_the_copies) {
    set_all(true, step);
    set_all(false, step);
    const bool held = change != Change::as_it_comes;
    if (held) fake_cuda::inject({"cuStreamWaitEvent", 1, cuda::kSuccess, Effect::hang});  // of the copy stream, in the call
    const Taken shot = snapshot(step);
    set(tensor, 200);
    if (change == Change::before_the_copies) expect_ok(taken(training(compute_)->record())->wait(soon()));
    if (held) fake_cuda::release_streams();
    EXPECT_TRUE(copier_->wait_idle(soon()));
    return shot;
  }
  [[nodiscard]] bool is_marked_checked(const arena::SnapshotHandle& handle) const {
    const auto seen = daemon_->view(handle.record);
    EXPECT_TRUE(seen.has_value());
    return seen && (seen->flags & arena::kChecked) != 0;
  }
  void expect_torn(const Taken& shot, const std::vector<std::string>& names) {
    const TicketInfo info = shot.progress->info();
    EXPECT_EQ(info.state, SnapshotState::abandoned);
    EXPECT_EQ(info.code, Code::corrupt);
    EXPECT_EQ(info.torn, names);
    EXPECT_THAT(info.error, HasSubstr("is torn and was withdrawn"));
    for (const std::string& name : names) EXPECT_THAT(info.error, HasSubstr(name));
    ASSERT_EQ(info.alarms.size(), 1U);
    EXPECT_EQ(info.alarms[0].kind, "missed_fence");
    EXPECT_FALSE(info.checked);
    const auto seen = daemon_->view(shot.handle.record);
    ASSERT_TRUE(seen.has_value());
    EXPECT_EQ(seen->state, arena::RecordState::abandoned);
    EXPECT_EQ(seen->flags & (arena::kSealed | arena::kChecked), 0U) << "the daemon never takes it for captured";
    give_back(shot.handle);
  }
};

TEST(WhichAreChecked, TheFirstThreeAndOneOfAHundred) {
  std::vector<std::uint64_t> sampled;
  std::vector<std::uint64_t> first;
  for (std::uint64_t i = 0; i < 250; ++i) {
    if (is_to_be_checked(CaptureCheck::sample, i)) sampled.push_back(i);
    if (is_to_be_checked(CaptureCheck::first, i)) first.push_back(i);
    EXPECT_FALSE(is_to_be_checked(CaptureCheck::off, i));
  }
  EXPECT_THAT(sampled, ElementsAre(0U, 1U, 2U, 100U, 200U));
  EXPECT_THAT(first, ElementsAre(0U, 1U, 2U));
}

TEST_F(Proof, TheFirstThreeSnapshotsAreCheckedAndSaySo) {
  start_training({}, {{5000, true, 0}, {3 * kChunk + 5, true, 0}, {64, false, 0}, {7, false, 0}});
  for (int step = 1; step <= 5; ++step) EXPECT_EQ(taken_well(step).checked, step <= 3) << "step " << step;
}

TEST_F(Proof, AChangeWithoutAFenceIsFoundAndNamedAndNeverSealed) {
  start_training({}, {{5000, true, 0}, {2 * kChunk + 5, true, 0}, {64, false, 0}});
  expect_torn(overwritten(1, 1), {"t1"});
  forget_races();
}

TEST_F(Proof, AfterATornOneTheNextThreeAreCheckedAgain) {
  start_training({}, {{5000, true, 0}, {300, true, 0}});
  EXPECT_TRUE(taken_well(1).checked);
  EXPECT_TRUE(taken_well(2).checked);
  expect_torn(overwritten(3, 0), {"t0"});
  for (int step = 4; step <= 7; ++step) EXPECT_EQ(taken_well(step).checked, step <= 6) << "step " << step;
  forget_races();
}

// The unfenced change comes before, among or after the copies; in which of their bytes, the seed has it.
TEST_F(Proof, OverManyOrdersNothingElseThanTheStepsBytesIsEverSealed) {
  if (kThreadSanitizer) GTEST_SKIP() << "the bytes race in earnest, and the thread sanitizer ends the program for it";
  for (std::uint64_t seed = 1; seed <= 39; ++seed) {
    constexpr Change kChanges[] = {Change::as_it_comes, Change::among_the_copies, Change::before_the_copies};
    const Change change = kChanges[seed % std::size(kChanges)];
    Config config;
    config.schedule = Schedule::adversarial;
    config.seed = seed;
    config.delay_ms = 2;
    start_training(config, {{5000, true, 0}, {kChunk + 5, true, 0}, {64, false, 0}});
    const Taken shot = overwritten(1, 1, change);
    if (shot.progress->info().state != SnapshotState::captured) {
      expect_torn(shot, {"t1"});
      continue;
    }
    EXPECT_NE(change, Change::before_the_copies) << "seed " << seed;
    EXPECT_EQ(tensors_that_are(shot.handle, 1), tensors_.size()) << "seed " << seed;
    EXPECT_TRUE(shot.progress->info().checked);
    give_back(shot.handle);
  }
  forget_races();
}

TEST_F(Proof, TakenWellItIsNeverTornInWhateverOrderTheStreamsRun) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Config config;
    config.schedule = Schedule::adversarial;
    config.seed = seed;
    config.delay_ms = 1;
    std::vector<GpuTensor> tensors{{kChunk + 77, true, 0}, {900, false, 0}, {500, true, kHost}};
    for (std::uint64_t i = 0; i < 40; ++i) tensors.push_back({1 + i * 37 % 300, i % 5 != 0, 0});
    start_training(config, tensors);
    for (int step = 1; step <= 4; ++step) EXPECT_EQ(taken_well(step).checked, step <= 3) << "seed " << seed;
    EXPECT_EQ(fake_cuda::races(), 0U) << fake_cuda::last_race();
  }
}

TEST_F(Proof, SwitchedOffNothingIsTakenAndNothingIsClaimed) {
  check_ = CaptureCheck::off;
  start_training({}, {{5000, true, 0}});
  const std::uint64_t launches = fake_cuda::statistics().calls_of("cuLaunchKernel");
  EXPECT_FALSE(taken_well(1).checked);
  EXPECT_EQ(fake_cuda::statistics().calls_of("cuLaunchKernel") - launches, 2U) << "the trainer's own";
  ASSERT_EQ(copier_->check_ways().size(), 1U);
  EXPECT_THAT(copier_->check_ways()[0].why_not, HasSubstr("capture_check is off"));
}

TEST_F(Proof, ABuildWithoutTheKernelClaimsNothingAndSaysWhy) {
  options_.kernel_image = {};
  start_training({}, {{5000, true, 0}, {64, false, 0}});
  EXPECT_FALSE(taken_well(1).checked);
  ASSERT_EQ(copier_->check_ways().size(), 1U);
  EXPECT_EQ(copier_->check_ways()[0].device, "cuda:0");
  EXPECT_THAT(copier_->check_ways()[0].why_not, HasSubstr("made without nvcc"));
}

TEST_F(Proof, NoMemoryForTheFingerprintsLeavesTheSnapshotsUnchecked) {
  constexpr std::uint64_t kAllocationOfThem = 2;  // behind the tensor
  start_training({}, {{5000, true, 0}}, kSlots, 60'000,
                 fake_cuda::Injection{"cuMemAlloc", kAllocationOfThem, cuda::kErrorOutOfMemory, Effect::refuse});
  EXPECT_FALSE(taken_well(1).checked);
  EXPECT_THAT(copier_->check_ways()[0].why_not, HasSubstr("out of memory"));
}

TEST_F(Proof, WhatIsOnTheHostAloneIsNotCalledChecked) {
  start_training({}, {{5000, true, kHost}, {64, false, kHost}});
  EXPECT_FALSE(taken_well(1).checked);
  EXPECT_THAT(copier_->check_ways(), IsEmpty());
}

}  // namespace
}  // namespace stillframe::capture
