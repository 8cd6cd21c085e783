// The contract of a snapshot: the values at the moment of the call, whatever the training does after.
#include "capture/copier.hpp"

#include <thread>

#include "capture_fixture.hpp"

namespace stillframe::capture {
namespace {

using arena::RecordState;

struct GatedRig {
  GatedDevice* gate;
  Rig rig;
  explicit GatedRig(std::uint64_t slots, std::uint64_t scratch_bytes = 1 << 20,
                    std::uint64_t fence_deadline_ms = 60'000)
      : GatedRig(std::make_unique<GatedDevice>(), slots, scratch_bytes, fence_deadline_ms) {}
  ~GatedRig() { gate->allow_all(); }

 private:
  GatedRig(std::unique_ptr<GatedDevice> device, std::uint64_t slots, std::uint64_t scratch_bytes,
           std::uint64_t fence_deadline_ms)
      : gate(device.get()), rig(slots, std::move(device), scratch_bytes, fence_deadline_ms) {}
};

const std::vector<State::Tensor> kTensors{{2 * kChunkBytes + 77, true}, {500, false}, {0, true}, {kChunkBytes, true}};

TEST(Copier, TheSnapshotHoldsTheValuesOfTheCallThoughTrainingGoesOnAfterTheFence) {
  State state(kTensors);
  Rig rig(16);
  for (unsigned step = 1; step <= 6; ++step) {
    state.set(step);
    const std::vector<std::byte> expected = state.image();
    const auto handle = rig.copier->submit(state.job(step), soon());
    ASSERT_TRUE(handle.ok()) << handle.status().message();
    state.set(1, 77);  // unguarded: may change as soon as the call returns
    ASSERT_TRUE(rig.copier->fence(soon()).ok());
    state.set(99);
    ASSERT_TRUE(rig.copier->wait_idle(soon()));
    const arena::RecordView view = rig.view(*handle);
    EXPECT_EQ(view.state, RecordState::sealed);
    EXPECT_EQ(view.step, step);
    EXPECT_TRUE(rig.image(*handle) == expected) << "step " << step;
    EXPECT_EQ(rig.daemon.descriptor(view), state.job(step).descriptor);
    rig.give_back(*handle);
  }
  EXPECT_EQ(rig.copier->trainer_side().free_slots(100), 16U);
}

TEST(Copier, UnguardedTensorsAreTakenInTheCallAndNotLater) {
  State state(kTensors);
  GatedRig gated(16);
  const std::vector<std::byte> expected = state.image();
  const auto handle = gated.rig.copier->submit(state.job(1), soon());
  ASSERT_TRUE(handle.ok());
  state.set(1, 50);  // not one byte has been copied by the device yet
  gated.gate->allow_all();
  ASSERT_TRUE(gated.rig.copier->fence(soon()).ok());
  ASSERT_TRUE(gated.rig.copier->wait_idle(soon()));
  EXPECT_TRUE(gated.rig.image(*handle) == expected);
}

TEST(Copier, UnguardedTensorsLargerThanTheScratchAreCopiedBeforeTheCallReturns) {
  State state({{kChunkBytes + 5, true}, {kChunkBytes, false}});
  Rig rig(16, device::make_host_device(), /*scratch_bytes=*/100);
  const std::vector<std::byte> expected = state.image();
  Job job = state.job(1);
  const auto progress = job.progress;
  const auto handle = rig.copier->submit(std::move(job), soon());
  state.set(60);
  ASSERT_TRUE(handle.ok());
  EXPECT_EQ(progress->info().state, SnapshotState::captured);
  EXPECT_TRUE(rig.image(*handle) == expected);
}

TEST(Copier, ACallThatCannotCopyUnguardedTensorsInTimeAbandonsTheSnapshot) {
  State state({{kChunkBytes, false}});
  GatedRig gated(16, /*scratch_bytes=*/100);
  Job job = state.job(1);
  const auto progress = job.progress;
  const auto handle = gated.rig.copier->submit(std::move(job), now());
  ASSERT_TRUE(handle.ok());
  gated.gate->allow_all();
  ASSERT_TRUE(gated.rig.copier->wait_idle(soon()));
  EXPECT_EQ(progress->info().state, SnapshotState::abandoned);
  EXPECT_EQ(gated.rig.view(*handle).state, RecordState::abandoned);
}

TEST(Copier, IsBusyWhileItCopiesAndNothingHasChangedThen) {
  State state(kTensors);
  GatedRig gated(16);
  const auto first = gated.rig.copier->submit(state.job(1), soon());
  ASSERT_TRUE(first.ok());
  gated.gate->wait_for_a_copy();
  EXPECT_FALSE(gated.rig.copier->wait_idle(now()));
  EXPECT_EQ(gated.rig.copier->submit(state.job(2), soon()).status().code(), Code::busy);
  EXPECT_EQ(gated.rig.daemon.records().size(), 1U);
  gated.gate->allow_all();
  ASSERT_TRUE(gated.rig.copier->fence(soon()).ok());
  ASSERT_TRUE(gated.rig.copier->wait_idle(soon()));
  EXPECT_TRUE(gated.rig.copier->submit(state.job(2), soon()).ok());
}

TEST(Copier, IsBusyWhileTheArenaHoldsEarlierSnapshots) {
  State state({{4 * kChunkBytes, true}});
  Rig rig(8);  // one snapshot of 4 + 1 chunks, not two
  const auto first = rig.copier->submit(state.job(1), soon());
  ASSERT_TRUE(first.ok() && rig.copier->fence(soon()).ok() && rig.copier->wait_idle(soon()));
  EXPECT_EQ(rig.copier->submit(state.job(2), soon()).status().code(), Code::busy);
  EXPECT_EQ(rig.daemon.records().size(), 1U);
  rig.give_back(*first);
  EXPECT_TRUE(rig.copier->submit(state.job(2), soon()).ok());
}

TEST(Copier, AStateTooLargeEvenForARingIsRefused) {
  State state({{20 * kChunkBytes, true}});
  Rig rig(5);
  EXPECT_EQ(rig.copier->submit(state.job(1), soon()).status().code(), Code::no_space);
  EXPECT_TRUE(rig.daemon.records().empty());
}

TEST(Copier, AStateOfNothingIsASnapshotToo) {
  State state({{0, true}, {0, false}});
  Rig rig(8);
  const auto handle = rig.copier->submit(state.job(1), soon());
  ASSERT_TRUE(handle.ok() && rig.copier->fence(soon()).ok() && rig.copier->wait_idle(soon()));
  EXPECT_EQ(rig.view(*handle).state, RecordState::sealed);
  EXPECT_EQ(rig.view(*handle).image_bytes, 0U);
}

TEST(Copier, ASnapshotIsConfirmedByItsFenceAndNotBefore) {
  State state(kTensors);
  Rig rig(16);
  const auto handle = rig.copier->submit(state.job(1), soon());
  ASSERT_TRUE(handle.ok() && rig.copier->wait_idle(soon()));
  EXPECT_EQ(rig.view(*handle).state, RecordState::sealed);
  EXPECT_EQ(rig.view(*handle).flags & arena::kConfirmed, 0U);
  ASSERT_TRUE(rig.copier->fence(soon()).ok());
  EXPECT_EQ(rig.view(*handle).flags & arena::kConfirmed, arena::kConfirmed);
  EXPECT_TRUE(rig.copier->fence(soon()).ok()) << "a fence with nothing pending passes";
}

// Its image waits in memory, and only what is confirmed can take its place.
TEST(Copier, TheFenceConfirmsWhatWasCapturedAndCouldNotBeWritten) {
  State state(kTensors);
  Rig rig(16);
  Job job = state.job(1);
  const auto progress = job.progress;
  const auto handle = rig.copier->submit(std::move(job), soon());
  ASSERT_TRUE(handle.ok() && rig.copier->wait_idle(soon()));
  progress->end(SnapshotState::failed, Code::no_space, "no room");
  ASSERT_TRUE(rig.copier->fence(soon()).ok());
  EXPECT_EQ(rig.view(*handle).flags & arena::kConfirmed, arena::kConfirmed);
}

TEST(Copier, TakingTheNextSnapshotDoesNotConfirmTheOneBefore) {
  State state(kTensors);
  Rig rig(16);
  const auto first = rig.copier->submit(state.job(1), soon());
  ASSERT_TRUE(first.ok() && rig.copier->wait_idle(soon()));
  const auto second = rig.copier->submit(state.job(2), soon());
  ASSERT_TRUE(second.ok() && rig.copier->wait_idle(soon()));
  EXPECT_EQ(rig.view(*first).flags & arena::kConfirmed, 0U) << "nobody has looked whether a tensor moved";
  rig.copier->confirm(*first);
  EXPECT_EQ(rig.view(*first).flags & arena::kConfirmed, arena::kConfirmed);
  EXPECT_EQ(rig.view(*second).flags & arena::kConfirmed, 0U);
}

TEST(Copier, CancelledInMidCopyItIsAbandonedAndItsSlotsComeBack) {
  GatedRig gated(16);
  Rig& rig = gated.rig;
  State state(kTensors);
  Job job = state.job(5);
  const auto progress = job.progress;
  const auto handle = rig.copier->submit(std::move(job), soon());
  ASSERT_TRUE(handle.ok());
  gated.gate->allow(1);
  gated.gate->wait_for_a_copy();
  rig.copier->cancel("the test wants it", /*only_ring=*/true);  // the whole snapshot fits: no ring, not cancelled
  rig.copier->cancel("the test says so", /*only_ring=*/false);
  rig.copier->cancel("too late to matter", /*only_ring=*/false);
  gated.gate->allow_all();
  ASSERT_TRUE(rig.copier->wait_idle(soon()));
  EXPECT_EQ(rig.view(*handle).state, RecordState::abandoned);
  const TicketInfo info = progress->info();
  EXPECT_EQ(info.state, SnapshotState::abandoned);
  EXPECT_NE(info.error.find("step 5"), std::string::npos) << info.error;
  EXPECT_NE(info.error.find("the test says so"), std::string::npos) << info.error;
  EXPECT_TRUE(rig.copier->fence(soon()).ok());
  EXPECT_EQ(rig.view(*handle).flags & arena::kConfirmed, 0U);
  rig.give_back(*handle);
  EXPECT_EQ(rig.copier->trainer_side().free_slots(100), 16U);
  const std::vector<std::byte> expected = state.image();
  const auto next = rig.copier->submit(state.job(6), soon());
  ASSERT_TRUE(next.ok() && rig.copier->fence(soon()).ok() && rig.copier->wait_idle(soon()));
  EXPECT_TRUE(rig.image(*next) == expected) << "the next snapshot is whole";
}

TEST(Copier, AFenceWhoseDeadlinePassesAbandonsTheSnapshotAndTrainingGoesOn) {
  State state(kTensors);
  GatedRig gated(16);
  Job job = state.job(3);
  const auto progress = job.progress;
  const auto handle = gated.rig.copier->submit(std::move(job), soon());
  ASSERT_TRUE(handle.ok());
  gated.gate->wait_for_a_copy();
  const Status late = gated.rig.copier->fence(base::Deadline::after_ms(5));
  EXPECT_EQ(late.code(), Code::deadline);
  EXPECT_NE(late.message().find("step 3"), std::string::npos);
  EXPECT_TRUE(gated.rig.copier->fence(now()).ok()) << "the next update is not held up by a snapshot that is lost";
  gated.gate->allow_all();
  ASSERT_TRUE(gated.rig.copier->wait_idle(soon()));
  EXPECT_EQ(gated.rig.view(*handle).state, RecordState::abandoned);
  EXPECT_EQ(gated.rig.view(*handle).flags & arena::kConfirmed, 0U);
  EXPECT_EQ(progress->info().state, SnapshotState::abandoned);
  EXPECT_GT(progress->info().fence_seconds, 0);
}

// The fence's deadline and the seal at the same moment: what the fence says is what has become of the snapshot.
TEST(Copier, AFenceThatSaysAbandonedIsRightAndOneThatPassesConfirms) {
  State state({{1000, true}});
  GatedRig gated(16);
  for (int round = 0; round < 4000; ++round) {
    const auto handle = gated.rig.copier->submit(state.job(round), soon());
    ASSERT_TRUE(handle.ok());
    gated.gate->wait_for_a_copy();
    gated.gate->allow(1);
    // From the last chunk to the seal is where the two meet.
    const arena::RecordView copying = gated.rig.view(*handle);
    while (!gated.rig.daemon.filled_slot(copying, 0)) std::this_thread::yield();
    for (int spin = 0; spin < round % 40; ++spin) (void)base::system_clock().monotonic_ns();
    const Status passed = gated.rig.copier->fence(now());
    ASSERT_TRUE(gated.rig.copier->wait_idle(soon()));
    const arena::RecordView view = gated.rig.view(*handle);
    ASSERT_EQ(view.state, passed.ok() ? RecordState::sealed : RecordState::abandoned) << "round " << round;
    ASSERT_EQ(view.flags & arena::kConfirmed, passed.ok() ? std::uint32_t{arena::kConfirmed} : 0U);
    gated.rig.give_back(*handle);
  }
}

TEST(Copier, AnErrorOfTheDeviceAbandonsTheSnapshotAndIsSaid) {
  State state(kTensors);
  GatedRig gated(16);
  gated.gate->fail_copies({Code::io_error, "the card fell off the bus"});
  Job job = state.job(1);
  const auto progress = job.progress;
  const auto handle = gated.rig.copier->submit(std::move(job), soon());
  ASSERT_TRUE(handle.ok());
  gated.gate->allow_all();
  ASSERT_TRUE(gated.rig.copier->wait_idle(soon()));
  EXPECT_EQ(gated.rig.view(*handle).state, RecordState::abandoned);
  EXPECT_NE(progress->info().error.find("fell off the bus"), std::string::npos);
  EXPECT_EQ(progress->wait(SnapshotState::captured, now()).code(), Code::io_error);
}

TEST(Copier, ASnapshotThatTheDaemonFailsInMidCopyIsAbandoned) {
  State state(kTensors);
  GatedRig gated(16);
  Job job = state.job(1);
  const auto progress = job.progress;
  const auto handle = gated.rig.copier->submit(std::move(job), soon());
  ASSERT_TRUE(handle.ok());
  gated.gate->wait_for_a_copy();
  ASSERT_TRUE(gated.rig.daemon.advance(gated.rig.view(*handle), RecordState::copying, RecordState::failed));
  gated.gate->allow_all();
  ASSERT_TRUE(gated.rig.copier->wait_idle(soon()));
  EXPECT_EQ(gated.rig.view(*handle).state, RecordState::abandoned);
  EXPECT_EQ(progress->wait(SnapshotState::captured, now()).code(), Code::io_error);
  gated.rig.give_back(*handle);
  EXPECT_EQ(gated.rig.copier->trainer_side().free_slots(100), 16U);
}

TEST(Copier, ClosedInMidCopyItEndsAndLeavesAnAbandonedRecord) {
  State state(kTensors);
  GatedRig gated(16);
  Job job = state.job(1);
  const auto progress = job.progress;
  const auto handle = gated.rig.copier->submit(std::move(job), soon());
  ASSERT_TRUE(handle.ok());
  gated.gate->wait_for_a_copy();
  auto closer = base::Thread::start("closer", [&] { gated.rig.copier.reset(); });
  ASSERT_TRUE(closer.ok());
  gated.gate->allow(2);
  gated.gate->allow_all();
  closer->join();
  const arena::RecordView view = gated.rig.view(*handle);
  EXPECT_TRUE(view.state == RecordState::abandoned || view.state == RecordState::sealed);
  EXPECT_FALSE(progress->copying());
}

// A device whose first streams cannot be made.
class ShortOfThreads final : public device::Device {
 public:
  [[nodiscard]] std::string name() const override { return "short"; }
  [[nodiscard]] Result<std::unique_ptr<device::Stream>> create_stream(const std::string& name) override {
    if (refusals_ > 0) {
      --refusals_;
      return Status(Code::no_space, "no thread for it");
    }
    return host_->create_stream(name);
  }
  [[nodiscard]] Result<std::unique_ptr<device::TrainingStream>> training_stream(std::uintptr_t handle) override {
    return host_->training_stream(handle);
  }
  [[nodiscard]] Result<std::unique_ptr<device::PinnedMemory>> pin(std::span<std::byte> range) override {
    return host_->pin(range);
  }
  [[nodiscard]] Result<std::unique_ptr<device::DeviceMemory>> allocate(std::size_t bytes) override {
    return host_->allocate(bytes);
  }

 private:
  std::unique_ptr<device::Device> host_ = device::make_host_device();
  int refusals_ = 2;
};

TEST(Copier, AStreamThatCannotBeMadeFailsTheSnapshotAndTheNextOneTriesAgain) {
  State state(kTensors);
  Rig rig(16, std::make_unique<ShortOfThreads>());
  EXPECT_EQ(rig.copier->prepare(*state.plan).code(), Code::no_space);
  EXPECT_EQ(rig.copier->submit(state.job(1), soon()).status().code(), Code::no_space);
  const auto handle = rig.copier->submit(state.job(2), soon());
  ASSERT_TRUE(handle.ok()) << handle.status().message();
  ASSERT_TRUE(rig.copier->fence(soon()).ok());
  ASSERT_TRUE(rig.copier->wait_idle(soon()));
  EXPECT_TRUE(rig.image(*handle) == state.image());
}

TEST(Copier, ASnapshotRightAfterAFenceIsNotSkipped) {
  State state({{100, true}});
  Rig rig(64);
  for (std::int64_t step = 1; step <= 3000; ++step) {
    const auto handle = rig.copier->submit(state.job(step), soon());
    ASSERT_TRUE(handle.ok()) << "step " << step << ": " << handle.status().message();
    ASSERT_TRUE(rig.copier->fence(soon()).ok());
    if (step % 4 != 0) continue;
    ASSERT_TRUE(rig.copier->wait_idle(soon()));
    for (const arena::RecordView& seen : rig.daemon.records()) rig.give_back({seen.record, seen.snapshot_id});
  }
}

// A ring whose daemon has died: the copies that are under way still read the tensors.
TEST(Copier, AFenceAfterACancellationReturnsOnlyOnceNothingIsReadAnyMore) {
  State state({{4 * kChunkBytes, true}});
  GatedRig gated(16);
  const auto handle = gated.rig.copier->submit(state.job(1), soon());
  ASSERT_TRUE(handle.ok());
  gated.gate->wait_for_a_copy();
  gated.rig.copier->cancel("the daemon died", /*only_ring=*/false);
  EXPECT_FALSE(gated.rig.copier->fence(base::Deadline::after_ms(50)).ok()) << "a copy waits at the gate";
  gated.gate->allow_all();
  ASSERT_TRUE(gated.rig.copier->wait_idle(soon()));
  EXPECT_EQ(gated.rig.view(*handle).flags & arena::kConfirmed, 0U);
}

}  // namespace
}  // namespace stillframe::capture
