// Trainer and daemon at the same time over an arena much smaller than the image.
#include <gtest/gtest.h>

#include "arena_steps.hpp"
#include "base/thread.hpp"

namespace stillframe::arena {
namespace {

using steps::make_arena;
using steps::soon;
using steps::SteppedTrainer;

constexpr std::uint64_t kSnapshots = 6;
// 8 slots, 2 chunks of descriptor: the least ring there is.
constexpr std::uint64_t kSlots = 8;
SnapshotFacts facts_of(std::uint64_t step) {
  return {static_cast<std::int64_t>(step), 21 * kChunkBytes + 24, kChunkBytes + 104, 0};
}

// Reads one snapshot as it is filled, gives each chunk back, and moves the record on to its end.
void consume(const Arena& arena, const DaemonSide& daemon, std::uint64_t snapshot_id) {
  const base::Deadline deadline = soon();
  std::uint64_t next = 0;
  for (;;) {
    ASSERT_FALSE(deadline.expired()) << "snapshot " << snapshot_id << " stopped at chunk " << next;
    const std::uint32_t seen = daemon.signal();
    const auto records = daemon.records();
    const auto found = std::find_if(records.begin(), records.end(),
                                    [&](const RecordView& view) { return view.snapshot_id == snapshot_id; });
    const auto slot = found == records.end() ? std::nullopt : daemon.filled_slot(*found, next);
    if (slot && next < found->image_chunks()) {
      ASSERT_TRUE(steps::holds(arena.chunk(*slot), steps::word_of(snapshot_id, SlotKind::image, next)))
          << "snapshot " << snapshot_id << " chunk " << next;
      daemon.release_chunk(*found, next++, *slot);
      daemon.wake_trainer();
    } else if (found != records.end() && found->state == RecordState::sealed) {
      ASSERT_EQ(next, found->image_chunks()) << "sealed with chunks missing";
      ASSERT_EQ(found->step, static_cast<std::int64_t>(snapshot_id));
      ASSERT_TRUE(daemon.descriptor(*found).has_value());
      EXPECT_TRUE(daemon.advance(*found, RecordState::sealed, RecordState::durable));
      daemon.release_all(*found);
      daemon.done(*found);
      return;
    } else {
      daemon.wait(seen, deadline);
    }
  }
}

TEST(TwoSides, ATrainerAndADaemonShareARingOfEightChunksOverSeveralSnapshots) {
  const Arena arena = make_arena(kSlots);
  ASSERT_EQ(mode_of(kSlots, 22, 2), Mode::ring);
  bool all_taken = true;
  auto trainer = base::Thread::start("trainer", [&] {
    std::vector<SnapshotHandle> waiting;
    for (std::uint64_t i = 1; i <= kSnapshots && all_taken; ++i) {
      SteppedTrainer one(arena, facts_of(i));
      all_taken = one.run_steps(one.step_count());
      waiting.push_back(one.handle());
      std::erase_if(waiting, [&](const SnapshotHandle& handle) { return one.side().recycle(handle); });
    }
  });
  ASSERT_TRUE(trainer.ok());
  const DaemonSide daemon(arena);
  for (std::uint64_t id = 1; id <= kSnapshots; ++id) ASSERT_NO_FATAL_FAILURE(consume(arena, daemon, id));
  trainer->join();
  EXPECT_TRUE(all_taken);
  EXPECT_EQ(TrainerSide(arena).free_slots(100), kSlots);
}

TEST(TwoSides, ALeaseWakesWhenTheDaemonGivesAChunkBack) {
  const Arena arena = make_arena(1);
  TrainerSide side(arena);
  const auto handle = side.begin(facts_of(1));
  ASSERT_TRUE(handle.ok());
  const auto first = side.lease(*handle, SlotKind::image, 0, steps::now());
  ASSERT_TRUE(first.ok());
  side.mark_filled(*handle, *first);
  auto daemon = base::Thread::start("daemon", [&] {
    const DaemonSide daemon_side(arena);
    daemon_side.release_all(*daemon_side.view(handle->record));
  });
  ASSERT_TRUE(daemon.ok());
  const base::Deadline deadline = soon();
  EXPECT_TRUE(side.lease(*handle, SlotKind::image, 1, deadline).ok());
  EXPECT_FALSE(deadline.expired());
}

// A record is used again for another snapshot while the daemon looks at it: what it sees is of one snapshot.
TEST(TwoSides, AViewIsNeverMadeOfTwoSnapshots) {
  const Arena arena = make_arena(1);
  std::atomic<bool> stop{false};
  auto writer = base::Thread::start("writer", [&] {
    TrainerSide trainer(arena);
    const DaemonSide daemon(arena);
    for (std::int64_t step = 1; step <= 20'000; ++step) {
      const auto handle = trainer.begin({step, 100, 100, step});
      if (!handle.ok()) break;
      const RecordView view = *daemon.view(handle->record);
      // Odd steps are sealed and verified, even ones are abandoned.
      if (step % 2 == 1) {
        (void)trainer.seal(*handle);
        (void)daemon.advance(view, RecordState::sealed, RecordState::durable);
        (void)daemon.advance(view, RecordState::durable, RecordState::verified);
      } else {
        trainer.abandon(*handle);
      }
      daemon.done(view);
      (void)trainer.recycle(*handle);
    }
    stop = true;
  });
  ASSERT_TRUE(writer.ok());
  const DaemonSide daemon(arena);
  std::uint64_t mixed = 0;
  while (!stop) {
    for (const RecordView& view : daemon.records()) {
      const bool odd = view.step % 2 == 1;
      const bool of_odd = view.state == RecordState::sealed || view.state == RecordState::durable ||
                          view.state == RecordState::verified;
      mixed += view.taken_unix_ns != view.step;
      mixed += (of_odd && !odd) || (view.state == RecordState::abandoned && odd);
    }
  }
  EXPECT_EQ(mixed, 0U);
}

}  // namespace
}  // namespace stillframe::arena
