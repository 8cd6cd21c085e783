// An arena smaller than the state: the copier waits for the daemon to give chunks back, and goes on.
#include "capture_fixture.hpp"

namespace stillframe::capture {
namespace {

using arena::RecordState;

constexpr std::uint64_t kSlots = 6;  // the least ring of one descriptor chunk

// Takes chunks out of the ring as the daemon does, until the snapshot is sealed.
std::vector<std::byte> read_ring(const Rig& rig, std::uint64_t snapshot_id) {
  const base::Deadline deadline = soon();
  std::vector<std::byte> image;
  std::uint64_t next = 0;
  while (!deadline.expired()) {
    const std::uint32_t seen = rig.daemon.signal();
    for (const arena::RecordView& view : rig.daemon.records()) {
      if (view.snapshot_id != snapshot_id) continue;
      while (const auto slot = next < view.image_chunks() ? rig.daemon.filled_slot(view, next) : std::nullopt) {
        const auto chunk = rig.daemon.chunk(*slot).first(std::min(kChunkBytes, view.image_bytes - next * kChunkBytes));
        image.insert(image.end(), chunk.begin(), chunk.end());
        rig.daemon.release_chunk(view, next++, *slot);
        rig.daemon.wake_trainer();
      }
      if (view.state == RecordState::sealed) {
        rig.daemon.release_all(view);
        rig.daemon.done(view);
        return image;
      }
    }
    rig.daemon.wait(seen, deadline);
  }
  ADD_FAILURE() << "snapshot " << snapshot_id << " stopped at chunk " << next;
  return image;
}

TEST(CopierRing, AStateManyTimesTheArenaComesThroughWhole) {
  State state({{19 * kChunkBytes + 33, true}, {3000, false}});
  Rig rig(kSlots);
  for (unsigned step = 1; step <= 3; ++step) {
    state.set(step);
    const std::vector<std::byte> expected = state.image();
    std::vector<std::byte> read;
    auto daemon = base::Thread::start("daemon", [&] { read = read_ring(rig, step); });
    ASSERT_TRUE(daemon.ok());
    const auto handle = rig.copier->submit(state.job(step), soon());
    ASSERT_TRUE(handle.ok()) << handle.status().message();
    ASSERT_EQ(handle->snapshot_id, step);
    ASSERT_TRUE(rig.copier->fence(soon()).ok());
    state.set(90);
    daemon->join();
    ASSERT_TRUE(rig.copier->wait_idle(soon()));
    EXPECT_TRUE(read == expected) << "step " << step;
    EXPECT_TRUE(rig.copier->trainer_side().recycle(*handle));
  }
  EXPECT_EQ(rig.copier->trainer_side().free_slots(100), kSlots);
}

TEST(CopierRing, WithNoDaemonTheFenceEndsAtItsDeadlineAndTheSlotsComeBackLater) {
  State state({{10 * kChunkBytes, true}});
  Rig rig(kSlots);
  const auto handle = rig.copier->submit(state.job(1), soon());
  ASSERT_TRUE(handle.ok());
  EXPECT_EQ(rig.copier->fence(base::Deadline::after_ms(20)).code(), Code::deadline);
  ASSERT_TRUE(rig.copier->wait_idle(soon()));
  EXPECT_EQ(rig.view(*handle).state, RecordState::abandoned);
  rig.give_back(*handle);
  EXPECT_EQ(rig.copier->trainer_side().free_slots(100), kSlots);
}

TEST(CopierRing, AChunkThatNeverComesBackEndsTheSnapshotWithoutAFence) {
  State state({{10 * kChunkBytes, true}});
  Rig rig(kSlots, device::make_host_device(), 1 << 20, /*fence_deadline_ms=*/20);
  Job job = state.job(1);
  const auto progress = job.progress;
  const auto handle = rig.copier->submit(std::move(job), soon());
  ASSERT_TRUE(handle.ok());
  EXPECT_EQ(progress->wait(SnapshotState::captured, soon()).code(), Code::deadline);
  ASSERT_TRUE(rig.copier->wait_idle(soon()));
  EXPECT_EQ(rig.view(*handle).state, RecordState::abandoned);
}

TEST(CopierRing, TheDeathOfTheDaemonCancelsOnlyARing) {
  State state({{10 * kChunkBytes, true}});
  Rig rig(kSlots);
  Job job = state.job(1);
  const auto progress = job.progress;
  const auto handle = rig.copier->submit(std::move(job), soon());
  ASSERT_TRUE(handle.ok());
  rig.copier->cancel("the daemon died", /*only_ring=*/true);
  EXPECT_TRUE(rig.copier->fence(soon()).ok()) << "training goes on at once";
  ASSERT_TRUE(rig.copier->wait_idle(soon()));
  EXPECT_EQ(rig.view(*handle).state, RecordState::abandoned);
  EXPECT_NE(progress->info().error.find("the daemon died"), std::string::npos);
}

TEST(CopierRing, EveryRecordInUseIsBusyAndNotAnError) {
  State state({{100, true}});
  Rig rig(64);
  for (std::uint32_t i = 0; i < arena::kMaxSnapshots; ++i) {
    ASSERT_TRUE(rig.copier->submit(state.job(i), soon()).ok());
    ASSERT_TRUE(rig.copier->wait_idle(soon()));
  }
  EXPECT_EQ(rig.copier->submit(state.job(9), soon()).status().code(), Code::busy);
}

}  // namespace
}  // namespace stillframe::capture
