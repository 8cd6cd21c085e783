// Snapshots of a state on a GPU: what they hold, what the host waits for, and what happens when the device does not do
// its part. On the driver fake, whose detector of races looks at the order that was asked for.
#include <gmock/gmock.h>

#include "unit/capture_gpu/gpu_rig.hpp"

namespace stillframe::capture {
namespace {

using fake_cuda::Config;
using fake_cuda::HostClock;
using fake_cuda::Schedule;
using testing::HasSubstr;

// Larger than a chunk, so many small ones in one chunk that they are bundled, and what no fence guards: on the GPU and on
// the host.
const std::vector<GpuTensor> kState = {
    {(2 << 20) + 7, true, 0}, {5000, true, 0}, {100, true, 0}, {256, true, kHost}, {64, false, 0},    {3000, false, 0},
    {8, false, kHost},        {1, true, 0},    {33, true, 0},  {4096, true, 0},    {700, true, 0},    {17, true, 0},
    {900, true, 0},           {48, false, 0},  {512, true, 0}, {5, true, 0},       {2000, true, 0}};

Config scheduled(Schedule schedule, std::uint64_t seed) {
  Config config;
  config.schedule = schedule;
  config.seed = seed;
  config.delay_ms = 1;
  config.host_clock = HostClock::per_thread;
  return config;
}

class GpuTraining : public GpuCapture, public testing::WithParamInterface<Schedule> {
 protected:
  static constexpr std::uint64_t kSeeds = 200;
  static constexpr int kSteps = 3;

  // The update comes behind the fence; what no fence guards changes at once after the call, as a forward pass does.
  void train(std::uint64_t seed) {
    start_training(scheduled(GetParam(), seed), kState);
    for (int step = 1; step <= kSteps; ++step) {
      set_all(/*guarded=*/true, step);
      set_all(/*guarded=*/false, step);
      const Taken shot = snapshot(step);
      set_all(/*guarded=*/false, 100 + step);
      expect_ok(fence());
      set_all(/*guarded=*/true, 200);
      expect_ok(shot.progress->wait(SnapshotState::captured, soon()));
      ASSERT_EQ(tensors_that_are(shot.handle, step), kState.size()) << "seed " << seed << ", step " << step;
      give_back(shot.handle);
      fake_cuda::host_threads_met();
    }
    ASSERT_EQ(fake_cuda::races(), 0U) << "seed " << seed << ": " << fake_cuda::last_race();
  }
};

TEST_P(GpuTraining, EverySnapshotHoldsItsStepAndNothingRaces) {
  for (std::uint64_t seed = 1; seed <= kSeeds && !HasFatalFailure(); ++seed) train(seed);
}

INSTANTIATE_TEST_SUITE_P(Schedules, GpuTraining,
                         testing::Values(Schedule::eager, Schedule::adversarial, Schedule::lazy), [](const auto& test) {
                           return test.param == Schedule::eager  ? "eager"
                                  : test.param == Schedule::lazy ? "lazy"
                                                                 : "adversarial";
                         });

TEST_F(GpuCapture, TheHostWaitsForNoCopyNeitherInTheCallNorAtTheFence) {
  start_training({}, {{3 << 20, true, 0}, {64, false, 0}});
  set_all(true, 1);
  set_all(false, 1);
  // Stands before the gather already: nothing that the call or the fence needs may depend on the device.
  fake_cuda::hang_stream(compute_);
  const Taken shot = snapshot(1);
  expect_ok(fence());
  EXPECT_TRUE(shot.progress->copying());
  fake_cuda::release_streams();
  expect_ok(shot.progress->wait(SnapshotState::captured, soon()));
  EXPECT_EQ(tensors_that_are(shot.handle, 1), 2U);
}

TEST_F(GpuCapture, AFenceOnASecondStreamHoldsThatOneBackToo) {
  start_training({}, {{3 << 20, true, 0}});
  CUstream second = nullptr;
  EXPECT_CU(user_.cuStreamCreate(&second, cuda::kStreamNonBlocking));
  set_all(true, 1);
  fake_cuda::hang_stream(compute_);
  const Taken shot = snapshot(1);
  expect_ok(fence());
  std::swap(compute_, second);
  expect_ok(fence());
  set_all(true, 2);
  fake_cuda::release_streams();
  expect_ok(shot.progress->wait(SnapshotState::captured, soon()));
  EXPECT_EQ(tensors_that_are(shot.handle, 1), 1U);
  expect_ok(taken(training(compute_)->record())->wait(soon()));
  std::swap(compute_, second);
  EXPECT_CU(user_.cuStreamDestroy(second));
}

TEST_F(GpuCapture, InARingTheFenceWaitsForTheChunksThatComeBack) {
  constexpr std::uint64_t kRingSlots = 6;
  start_training(scheduled(Schedule::adversarial, 1), {{16 << 20, true, 0}}, kRingSlots);
  set_all(true, 1);
  const Taken shot = snapshot(1);
  const auto consume = base::Thread::start("consume", [&] {
    const auto seen = daemon_->view(shot.handle.record).value();
    for (std::uint64_t chunk = 0; chunk < seen.image_chunks(); ++chunk) {
      for (;;) {
        const std::uint32_t signal = daemon_->signal();
        if (const auto slot = daemon_->filled_slot(seen, chunk)) {
          EXPECT_EQ(daemon_->chunk(*slot)[0], std::byte{1}) << "chunk " << chunk;
          daemon_->release_chunk(seen, chunk, *slot);
          break;
        }
        daemon_->wait(signal, base::Deadline::after_ms(1000));
      }
    }
  });
  ASSERT_TRUE(consume.ok());
  expect_ok(fence());
  set_all(true, 2);
  expect_ok(shot.progress->wait(SnapshotState::captured, soon()));
}

TEST_F(GpuCapture, WhileAGraphIsCapturedNothingIsIssuedAndThePendingSnapshotStaysPending) {
  start_training({}, {{5000, true, 0}});
  set_all(true, 1);
  const Taken shot = snapshot(1);
  EXPECT_CU(user_.cuStreamBeginCapture(compute_, cuda::kCaptureModeGlobal));
  Job during = job(2);
  EXPECT_EQ(copier_->submit(std::move(during), soon()).status().code(), Code::busy);
  EXPECT_EQ(fence().code(), Code::busy);
  fake_cuda::CUgraph graph = nullptr;
  EXPECT_CU(user_.cuStreamEndCapture(compute_, &graph));
  EXPECT_EQ(fake_cuda::statistics().operations_captured, 0U);
  expect_ok(fence());
  set_all(true, 2);
  expect_ok(shot.progress->wait(SnapshotState::captured, soon()));
  EXPECT_EQ(tensors_that_are(shot.handle, 1), 1U);
}

TEST_F(GpuCapture, WhatNoFenceGuardsAndDoesNotFitTheScratchIsRefusedWithTheFigures) {
  start_training({}, {{100, true, 0}});
  std::vector<EntrySpec> specs;
  specs.push_back({{"ema", DType::u8, {std::uint64_t{3} << 20}, 0, 0}, false, false, 0});
  const Status refused = copier_->prepare(*taken(Plan::make(std::move(specs))));
  EXPECT_EQ(refused.code(), Code::no_space);
  EXPECT_THAT(refused.message(), testing::AllOf(HasSubstr("cuda:0"), HasSubstr("3.0 MiB"), HasSubstr("1.0 MiB"),
                                                HasSubstr("scratch_bytes")));
}

TEST_F(GpuCapture, TensorsOnSeveralGpusAreOneSnapshot) {
  Config config;
  config.devices = 2;
  start_training(config, {{5000, true, 0}});
  const auto second = open(1);
  const auto there = taken(second->allocate(3000));
  std::vector<EntrySpec> specs;
  specs.push_back({{"a", DType::u8, {5000}, 0, 0}, true, true, 0});
  specs.push_back({{"b", DType::u8, {3000}, 0, 0}, true, true, 1});
  plan_ = taken(Plan::make(std::move(specs)));
  expect_ok(copier_->prepare(*plan_));
  const Bytes ones(5000, std::byte{1});
  const auto upload = taken(second->create_stream("upload"));
  expect_ok(upload->copy_to_device(there->data(), std::span(ones).first(3000), soon()));
  expect_ok(taken(upload->record())->wait(soon()));
  set(0, 1);
  Job wanted{plan_, {memory_[0]->data(), there->data()}, streams(), 1, 1001, Bytes(100), std::make_shared<Progress>(1, 8000)};
  const auto progress = wanted.progress;
  const auto handle = taken(copier_->submit(std::move(wanted), soon()));
  expect_ok(fence());
  expect_ok(progress->wait(SnapshotState::captured, soon()));
  EXPECT_EQ(tensors_that_are(handle, 1), 2U);
}

TEST_F(GpuCapture, ACaptureOnOneGpuDoesNotLeaveTheOthersUnfenced) {
  Config config;
  config.devices = 2;
  start_training(config, {{5000, true, 0}});
  constexpr std::size_t kThere = 3000;
  const auto second = open(1);
  const auto there = taken(second->allocate(kThere));
  const auto later = taken(second->allocate(kThere));
  const auto address = [](const auto& memory) {
    return static_cast<cuda::CUdeviceptr>(reinterpret_cast<std::uintptr_t>(memory->data()));
  };
  plan_ = taken(Plan::make({{{"a", DType::u8, {5000}, 0, 0}, true, true, 0}, {{"b", DType::u8, {kThere}, 0, 0}, true, true, 1}}));
  expect_ok(copier_->prepare(*plan_));
  const device::TrainersContext in_second(user_, 1);
  CUstream there_stream = nullptr;
  EXPECT_CU(user_.cuStreamCreate(&there_stream, cuda::kStreamNonBlocking));
  for (const auto& [memory, value] : {std::pair(&there, 1), std::pair(&later, 2)}) {
    const Bytes bytes(kThere, static_cast<std::byte>(value));
    EXPECT_CU(user_.cuMemcpyHtoDAsync(address(*memory), bytes.data(), kThere, there_stream));
  }
  const std::vector<StreamRef> both = {streams()[0], {1, reinterpret_cast<std::uintptr_t>(there_stream)}};
  fake_cuda::hang_stream(there_stream);
  Job wanted{plan_, {memory_[0]->data(), there->data()}, both, 1, 1001, Bytes(100), std::make_shared<Progress>(1, 8000)};
  const auto progress = wanted.progress;
  const auto handle = taken(copier_->submit(std::move(wanted), soon()));
  fake_cuda::CUgraph graph = nullptr;
  {
    const device::TrainersContext in_first(user_, 0);
    EXPECT_CU(user_.cuStreamBeginCapture(compute_, cuda::kCaptureModeGlobal));
    EXPECT_EQ(copier_->fence(soon(), both).code(), Code::busy);
    EXPECT_CU(user_.cuStreamEndCapture(compute_, &graph));
  }
  EXPECT_CU(user_.cuMemcpyDtoDAsync(address(there), address(later), kThere, there_stream));
  fake_cuda::release_streams();
  expect_ok(copier_->fence(soon(), both));
  expect_ok(progress->wait(SnapshotState::captured, soon()));
  const auto seen = daemon_->view(handle.record).value();
  EXPECT_EQ(daemon_->chunk(*daemon_->filled_slot(seen, 0))[plan_->layout.entries[1].offset], std::byte{1});
  expect_ok(taken(taken(second->training_stream(both[1].handle))->record())->wait(soon()));
  EXPECT_EQ(fake_cuda::races(), 0U) << fake_cuda::last_race();
  EXPECT_CU(user_.cuStreamDestroy(there_stream));
}

TEST_F(GpuCapture, ALostDeviceEndsTheSnapshotAndEveryLaterOneInWords) {
  start_training({}, {{3 << 20, true, 0}});
  set_all(true, 1);
  fake_cuda::inject({"cuMemcpyBatchAsync", 1, cuda::kErrorIllegalAddress, fake_cuda::Effect::fault});
  fake_cuda::inject({"cuMemcpyDtoHAsync", 1, cuda::kErrorIllegalAddress, fake_cuda::Effect::fault});
  const Taken shot = snapshot(1);
  EXPECT_EQ(shot.progress->wait(SnapshotState::captured, soon()).code(), Code::io_error);
  EXPECT_EQ(shot.progress->info().state, SnapshotState::abandoned);
  EXPECT_THAT(shot.progress->info().error, HasSubstr("older checkpoints are whole"));
  static_cast<void>(copier_->fence(soon(), streams()));
  ASSERT_TRUE(copier_->wait_idle(soon()));
  EXPECT_EQ(copier_->submit(job(2), soon()).status().code(), Code::io_error);
  EXPECT_FALSE(copier_->is_stuck());
  lost_ = true;
}

TEST_F(GpuCapture, ADeviceThatDoesNotAnswerIsNotAskedBeforeItDoesAndItsChunksAreNotGivenAway) {
  constexpr std::uint64_t kDeadlineMs = 50;
  start_training({}, {{3 << 20, true, 0}}, kSlots, kDeadlineMs);
  set_all(true, 1);
  fake_cuda::hang_stream(compute_);
  const Taken shot = snapshot(1);
  EXPECT_EQ(shot.progress->wait(SnapshotState::captured, soon()).code(), Code::deadline);
  ASSERT_TRUE(copier_->wait_idle(soon()));
  EXPECT_TRUE(copier_->is_stuck());
  EXPECT_EQ(daemon_->view(shot.handle.record)->state, arena::RecordState::copying)
      << "an abandoned one's chunks are given to the next snapshot, and the copies may still be written";
  const auto refused = copier_->submit(job(2), soon());
  EXPECT_EQ(refused.status().code(), Code::unavailable);
  EXPECT_THAT(refused.status().message(), HasSubstr("what was captured before is safe"));
  fake_cuda::release_streams();
  expect_ok(taken(training(compute_)->record())->wait(soon()));
  Result<arena::SnapshotHandle> taken_again = refused;
  while (taken_again.status().code() == Code::unavailable) taken_again = copier_->submit(job(3), soon());
  EXPECT_TRUE(taken_again.ok()) << taken_again.status().message();
  EXPECT_FALSE(copier_->is_stuck());
  EXPECT_EQ(daemon_->view(shot.handle.record)->state, arena::RecordState::abandoned);
}

TEST_F(GpuCapture, AHundredSnapshotsLeaveNoHandleBehind) {
  start_training({}, kState);
  fake_cuda::Statistics after_ten;
  for (int step = 1; step <= 100; ++step) {
    set_all(true, step);
    const Taken shot = snapshot(step);
    expect_ok(fence());
    expect_ok(shot.progress->wait(SnapshotState::captured, soon()));
    ASSERT_TRUE(copier_->wait_idle(soon()));
    give_back(shot.handle);
    if (step == 10) after_ten = fake_cuda::statistics();
  }
  const fake_cuda::Statistics after = fake_cuda::statistics();
  constexpr std::uint64_t kAtAnyMoment = 8;  // behind the last work of a stream, until it is looked at again
  EXPECT_LE(after.events, after_ten.events + kAtAnyMoment);
  EXPECT_EQ(after.allocations, after_ten.allocations);
  EXPECT_EQ(after.streams, after_ten.streams);
  EXPECT_EQ(after.registrations, after_ten.registrations);
}

}  // namespace
}  // namespace stillframe::capture
