// How tensors are gathered on a GPU: what no fence guards in one launch before the trainer goes on, thousands of small
// ones in a launch and a copy for each chunk; and all of it with plain copies where the kernel is not to be had.
#include <gmock/gmock.h>

#include "unit/capture_gpu/gpu_rig.hpp"

namespace stillframe::capture {
namespace {

using fake_cuda::Config;
using fake_cuda::Schedule;
using testing::HasSubstr;

std::vector<GpuTensor> small_tensors(std::size_t count, std::size_t unguarded_every) {
  std::vector<GpuTensor> tensors;
  for (std::size_t i = 0; i < count; ++i) tensors.push_back({1 + i * 37 % 300, i % unguarded_every != 0, 0});
  return tensors;
}

class Gathering : public GpuCapture {
 protected:
  static std::uint64_t calls(const std::string& name) { return fake_cuda::statistics().calls_of(name); }

  // One snapshot, and what is of step `step` in it.
  [[nodiscard]] std::size_t captured(int step) {
    set_all(true, step);
    set_all(false, step);
    const Taken shot = snapshot(step);
    set_all(false, 100 + step);
    expect_ok(fence());
    set_all(true, 200);
    expect_ok(shot.progress->wait(SnapshotState::captured, soon()));
    const std::size_t right = tensors_that_are(shot.handle, step);
    give_back(shot.handle);
    return right;
  }
  void expect_way(const std::string& why_plain) const {
    const std::vector<GatherWay> ways = copier_->gather_ways();
    ASSERT_EQ(ways.size(), 1U);
    EXPECT_EQ(ways[0].device, "cuda:0");
    EXPECT_THAT(ways[0].why_plain, HasSubstr(why_plain));
    EXPECT_EQ(ways[0].why_plain.empty(), why_plain.empty());
  }
};

TEST_F(Gathering, WhatNoFenceGuardsIsOneLaunchWhateverItsNumber) {
  start_training({}, {{5000, true, 0}, {64, false, 0}, {3000, false, 0}, {1, false, 0}, {7, false, 0}});
  set_all(true, 1);
  set_all(false, 1);
  const std::uint64_t launches = calls("cuLaunchKernel");
  const Taken shot = snapshot(1);
  EXPECT_EQ(calls("cuLaunchKernel") - launches, 1U);
  EXPECT_EQ(calls("cuMemcpyDtoDAsync"), 0U);
  expect_ok(fence());
  expect_ok(shot.progress->wait(SnapshotState::captured, soon()));
  EXPECT_EQ(tensors_that_are(shot.handle, 1), tensors_.size());
  expect_way("");
}

TEST_F(Gathering, TenThousandSmallTensorsAreAFewCopies) {
  constexpr std::size_t kTensors = 10'000;
  Config config;
  config.schedule = Schedule::adversarial;
  config.delay_ms = 1;
  config.device_to_host_bytes_per_s = 0;
  start_training(config, small_tensors(kTensors, 10));
  EXPECT_EQ(captured(1), kTensors);
  EXPECT_EQ(captured(2), kTensors);
  // Two chunks of small tensors: a launch and a copy each, and the gather.
  EXPECT_EQ(calls("cuMemcpyDtoHAsync") + calls("cuMemcpyBatchAsync"), 2 * plan_->layout.chunk_count());
  EXPECT_EQ(calls("cuMemcpyDtoDAsync"), 0U);
  EXPECT_EQ(fake_cuda::races(), 0U) << fake_cuda::last_race();
}

TEST_F(Gathering, SmallTensorsOfSeveralChunksArriveEachWithItsOwnBytes) {
  constexpr std::size_t kTensors = 9000;
  constexpr int kPrime = 251;
  start_training({}, small_tensors(kTensors, 7));
  const auto value_of = [](std::size_t tensor) { return static_cast<int>(tensor) % kPrime; };
  for (std::size_t i = 0; i < kTensors; ++i) set(i, value_of(i));
  const Taken shot = snapshot(1);
  expect_ok(fence());
  expect_ok(shot.progress->wait(SnapshotState::captured, soon()));
  ASSERT_GT(plan_->layout.chunk_count(), 1U);
  EXPECT_EQ(tensors_that_are(shot.handle, value_of), kTensors);
}

TEST_F(Gathering, ABuildWithoutTheKernelCopiesOneByOneAndSaysSo) {
  options_.kernel_image = {};
  start_training({}, small_tensors(300, 10));
  EXPECT_EQ(captured(1), 300U);
  EXPECT_EQ(calls("cuMemcpyDtoDAsync"), 30U);
  EXPECT_EQ(calls("cuModuleLoadData"), 1U) << "the trainer's own";
  expect_way("made without nvcc");
}

TEST_F(Gathering, ADeviceThatTheKernelWasNotMadeForCopiesOneByOneAndSaysSo) {
  start_training({}, small_tensors(300, 10), kSlots, 60'000,
                 fake_cuda::Injection{"cuModuleLoadData", 2, cuda::kErrorNoBinaryForGpu, fake_cuda::Effect::refuse});
  EXPECT_EQ(captured(1), 300U);
  EXPECT_EQ(calls("cuMemcpyDtoDAsync"), 30U);
  expect_way("STILLFRAME_GPU_ARCHITECTURES");
  EXPECT_EQ(captured(2), 300U);
  EXPECT_EQ(calls("cuModuleLoadData"), 2U) << "what kept it from being loaded holds for good";
}

TEST_F(Gathering, AKernelThatIsNotInItsImageIsSaidByName) {
  start_training({}, small_tensors(300, 10), kSlots, 60'000,
                 fake_cuda::Injection{"cuModuleGetFunction", 2, cuda::kErrorNotFound, fake_cuda::Effect::refuse});
  EXPECT_EQ(captured(1), 300U);
  expect_way("looking for the gather kernel on cuda:0");
}

TEST_F(Gathering, NoMemoryForTheListsLeavesThePlainCopies) {
  constexpr std::uint64_t kAllocationOfAList = 302;  // behind 300 tensors and the scratch
  start_training(
      {}, small_tensors(300, 10), kSlots, 60'000,
      fake_cuda::Injection{"cuMemAlloc", kAllocationOfAList, cuda::kErrorOutOfMemory, fake_cuda::Effect::refuse});
  EXPECT_EQ(captured(1), 300U);
  EXPECT_EQ(calls("cuMemcpyDtoDAsync"), 30U);
  expect_way("out of memory");
}

TEST_F(Gathering, ListsInMemoryThatIsNotPinnedWorkAllTheSame) {
  start_training({}, small_tensors(300, 10), kSlots, 60'000,
                 fake_cuda::Injection{"cuMemHostRegister", 1, cuda::kErrorNotPermitted, fake_cuda::Effect::refuse});
  EXPECT_EQ(captured(1), 300U);
  EXPECT_EQ(captured(2), 300U);
  expect_way("");
}

TEST_F(Gathering, ALaunchThatIsRefusedIsTheSnapshotsErrorAndTheNextOneIsTaken) {
  start_training({}, {{5000, true, 0}, {64, false, 0}});
  set_all(true, 1);
  set_all(false, 1);
  fake_cuda::inject({"cuLaunchKernel", 1, cuda::kErrorInvalidValue, fake_cuda::Effect::refuse});
  const auto refused = copier_->submit(job(1), soon());
  EXPECT_FALSE(refused.ok());
  EXPECT_THAT(refused.status().message(), HasSubstr("launching the gather kernel on stream 'sf-gather' of cuda:0"));
  EXPECT_EQ(captured(2), 2U);
}

TEST_F(Gathering, NothingIsGatheredWhileTheArenaHasNoRecordForASnapshot) {
  start_training({}, {{5000, true, 0}, {64, false, 0}});
  set_all(true, 1);
  set_all(false, 1);
  arena::SnapshotHandle last;
  for (std::uint32_t i = 0; i < arena::kMaxSnapshots; ++i) {
    last = taken(copier_->trainer_side().begin({1, 5064, 100, 1001}));
  }
  const std::uint64_t launches = calls("cuLaunchKernel");
  EXPECT_EQ(copier_->submit(job(1), soon()).status().code(), Code::busy);
  EXPECT_EQ(calls("cuLaunchKernel"), launches);
  copier_->trainer_side().abandon(last);
  give_back(last);
  EXPECT_EQ(captured(2), 2U);
}

TEST_F(Gathering, AnotherPlanWithMoreToGatherGetsLongerLists) {
  start_training({}, {{5000, true, 0}, {64, false, 0}});
  EXPECT_EQ(captured(1), 2U);
  std::vector<EntrySpec> specs;
  specs.push_back({{"guarded", DType::u8, {5000}, 0, 0}, true, true, 0});
  Job wanted = job(2);
  wanted.data.resize(1);
  for (std::size_t i = 0; i < 64; ++i) {
    specs.push_back({{"u" + std::to_string(i), DType::u8, {1}, 0, 0}, i % 2 == 0, true, 0});
    wanted.data.push_back(static_cast<const std::byte*>(memory_[1]->data()) + i);
  }
  plan_ = taken(Plan::make(std::move(specs)));
  set(0, 2);
  set(1, 2);
  wanted.plan = plan_;
  const auto progress = wanted.progress;
  const auto handle = taken(copier_->submit(std::move(wanted), soon()));
  expect_ok(fence());
  expect_ok(progress->wait(SnapshotState::captured, soon()));
  EXPECT_EQ(tensors_that_are(handle, 2), 65U);
}

}  // namespace
}  // namespace stillframe::capture
