// One snapshot from lease to recycle, and what must hold between several.
#include <gtest/gtest.h>

#include <set>

#include "arena_steps.hpp"

namespace stillframe::arena {
namespace {

using steps::make_arena;
using steps::now;
using steps::soon;
using steps::SteppedTrainer;

constexpr SnapshotFacts kFacts{7, 3 * kChunkBytes + 10, kChunkBytes + 100, 1'700'000'000'000'000'000};

void take(SteppedTrainer& trainer) { ASSERT_TRUE(trainer.run_steps(trainer.step_count())); }

TEST(SnapshotLife, ASealedSnapshotIsReadWholeAndItsRecordComesBack) {
  const Arena arena = make_arena(8);
  SteppedTrainer trainer(arena, kFacts);
  take(trainer);
  const DaemonSide daemon(arena);
  const auto records = daemon.records();
  ASSERT_EQ(records.size(), 1U);
  const RecordView view = records.front();
  EXPECT_EQ(view.state, RecordState::sealed);
  EXPECT_EQ(view.snapshot_id, 1U);
  EXPECT_EQ(view.step, 7);
  EXPECT_EQ(view.image_chunks(), 4U);
  EXPECT_EQ(view.descriptor_chunks(), 2U);
  EXPECT_EQ(view.taken_unix_ns, kFacts.taken_unix_ns);
  EXPECT_EQ(view.flags, std::uint32_t{kConfirmed} | kSealed);
  EXPECT_TRUE(steps::is_whole(arena, view));

  TrainerSide& side = trainer.side();
  daemon.set_sequence(view, 99);
  EXPECT_TRUE(daemon.advance(view, RecordState::sealed, RecordState::durable));
  EXPECT_TRUE(daemon.advance(view, RecordState::durable, RecordState::verified));
  const auto progress = side.progress(trainer.handle());
  ASSERT_TRUE(progress.has_value());
  EXPECT_EQ(progress->state, RecordState::verified);
  EXPECT_EQ(progress->sequence, 99U);
  EXPECT_FALSE(side.recycle(trainer.handle())) << "the daemon is not done with it";
  daemon.release_all(view);
  daemon.done(view);
  EXPECT_TRUE(side.recycle(trainer.handle()));
  EXPECT_FALSE(side.recycle(trainer.handle()));
  EXPECT_FALSE(side.progress(trainer.handle()).has_value());
  EXPECT_TRUE(daemon.records().empty());
  EXPECT_EQ(side.free_slots(100), 8U);
}

TEST(SnapshotLife, CapturedIsTakenBackFromARecordThatHasBecomeAnothers) {
  const Arena arena = make_arena(8);
  SteppedTrainer trainer(arena, kFacts);
  take(trainer);
  const DaemonSide daemon(arena);
  const RecordView before = daemon.records().front();
  EXPECT_TRUE(daemon.mark_captured(before));
  EXPECT_NE(daemon.view(before.record)->flags & kCaptured, 0U);
  daemon.release_all(before);
  daemon.done(before);
  ASSERT_TRUE(trainer.side().recycle(trainer.handle()));
  const auto next = trainer.side().begin(kFacts);
  ASSERT_TRUE(next.ok());
  ASSERT_EQ(next->record, before.record);
  EXPECT_FALSE(daemon.mark_captured(before));
  EXPECT_EQ(daemon.view(before.record)->flags & kCaptured, 0U) << "the next one is still being copied";
}

TEST(SnapshotLife, ASlotInUseIsNeverLeasedAgain) {
  const Arena arena = make_arena(8, 6);
  TrainerSide side(arena);
  const auto handle = side.begin(kFacts);
  ASSERT_TRUE(handle.ok());
  std::set<std::uint64_t> leased;
  for (std::uint64_t i = 0; i < 6; ++i) {
    const auto slot = side.lease(*handle, SlotKind::image, i, now());
    ASSERT_TRUE(slot.ok()) << slot.status().message();
    EXPECT_LT(*slot, 6U) << "only committed slots have memory";
    EXPECT_TRUE(leased.insert(*slot).second);
    if (i % 2 == 0) side.mark_filled(*handle, *slot);
  }
  EXPECT_EQ(side.lease(*handle, SlotKind::image, 6, now()).status().code(), Code::deadline);
  EXPECT_EQ(side.free_slots(100), 0U);
}

TEST(SnapshotLife, ALeaseThatGetsNothingEndsAtItsDeadline) {
  const Arena arena = make_arena(1);
  TrainerSide side(arena);
  const auto handle = side.begin(kFacts);
  ASSERT_TRUE(handle.ok() && side.lease(*handle, SlotKind::image, 0, now()).ok());
  const std::int64_t before = base::system_clock().monotonic_ns();
  const auto refused = side.lease(*handle, SlotKind::image, 1, base::Deadline::after_ms(30));
  EXPECT_EQ(refused.status().code(), Code::deadline);
  EXPECT_GE(base::system_clock().monotonic_ns() - before, 30'000'000);
}

TEST(SnapshotLife, EveryLeaseCountsTheGenerationUpAndForgetsTheHash) {
  const Arena arena = make_arena(1);
  TrainerSide side(arena);
  const DaemonSide daemon(arena);
  const auto handle = side.begin(kFacts);
  ASSERT_TRUE(handle.ok());
  for (std::uint64_t i = 0; i < 5; ++i) {
    const auto slot = side.lease(*handle, SlotKind::image, i, now());
    ASSERT_TRUE(slot.ok());
    EXPECT_EQ(arena.slot(0).generation.load(), i + 1);
    EXPECT_FALSE(daemon.hash(0).has_value());
    side.mark_filled(*handle, *slot);
    daemon.set_hash(0, i + 1, base::xxh128(std::as_bytes(std::span(&i, 1))));
    daemon.release_chunk(*daemon.view(handle->record), i, 0);
  }
}

TEST(SnapshotLife, GivingOneSnapshotsSlotsBackLeavesTheOthersAlone) {
  const Arena arena = make_arena(20);
  SteppedTrainer first(arena, kFacts);
  SteppedTrainer second(arena, kFacts);
  SteppedTrainer third(arena, kFacts);
  take(first);
  take(second);
  take(third);
  const DaemonSide daemon(arena);
  const auto records = daemon.records();
  ASSERT_EQ(records.size(), 3U);
  daemon.release_all(records[1]);
  EXPECT_EQ(first.side().free_slots(100), 2U + 6U);
  EXPECT_TRUE(steps::is_whole(arena, records[0]));
  EXPECT_FALSE(steps::is_whole(arena, records[1]));
  EXPECT_TRUE(steps::is_whole(arena, records[2]));
}

TEST(SnapshotLife, RecordsComeOldestFirstAndNumbersAreNeverUsedTwice) {
  const Arena arena = make_arena(1);
  TrainerSide side(arena);
  const DaemonSide daemon(arena);
  std::uint64_t last = 0;
  std::vector<SnapshotHandle> open;
  for (int round = 0; round < 40; ++round) {
    auto begun = side.begin(kFacts);
    if (!begun.ok()) {
      EXPECT_EQ(begun.status().code(), Code::busy);
      EXPECT_EQ(open.size(), kMaxSnapshots);
      for (const std::size_t place : {std::size_t{5}, std::size_t{2}, std::size_t{0}}) {
        side.abandon(open[place]);
        daemon.done(*daemon.view(open[place].record));
        ASSERT_TRUE(side.recycle(open[place]));
        open.erase(open.begin() + static_cast<std::ptrdiff_t>(place));
      }
      continue;
    }
    EXPECT_GT(begun->snapshot_id, last);
    last = begun->snapshot_id;
    open.push_back(*begun);
    std::vector<std::uint64_t> seen;
    for (const RecordView& view : daemon.records()) seen.push_back(view.snapshot_id);
    EXPECT_EQ(seen.size(), open.size());
    EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  }
}

TEST(SnapshotLife, StatesMoveOnlyFromTheStateTheyStandIn) {
  const Arena arena = make_arena(8);
  SteppedTrainer trainer(arena, kFacts);
  ASSERT_TRUE(trainer.step());
  const DaemonSide daemon(arena);
  const RecordView view = *daemon.view(trainer.handle().record);
  EXPECT_FALSE(daemon.advance(view, RecordState::sealed, RecordState::durable)) << "nothing is durable before its seal";
  ASSERT_TRUE(trainer.run_steps(trainer.step_count() - 1));
  EXPECT_FALSE(daemon.advance(view, RecordState::durable, RecordState::verified));
  EXPECT_TRUE(daemon.advance(view, RecordState::sealed, RecordState::durable));
  EXPECT_FALSE(daemon.advance(view, RecordState::sealed, RecordState::durable));
  EXPECT_FALSE(trainer.side().seal(trainer.handle())) << "a seal does not take a durable snapshot back";
  EXPECT_EQ(daemon.view(view.record)->state, RecordState::durable);
}

TEST(SnapshotLife, ASnapshotThatTheDaemonFailedIsNotSealed) {
  const Arena arena = make_arena(8);
  SteppedTrainer trainer(arena, kFacts);
  ASSERT_TRUE(trainer.run_steps(trainer.seal_step()));
  const DaemonSide daemon(arena);
  const RecordView view = *daemon.view(trainer.handle().record);
  ASSERT_TRUE(daemon.advance(view, RecordState::copying, RecordState::failed));
  EXPECT_FALSE(trainer.step());
  EXPECT_EQ(daemon.view(view.record)->state, RecordState::failed);
  trainer.side().abandon(trainer.handle());
  EXPECT_EQ(daemon.view(view.record)->state, RecordState::abandoned);
}

TEST(SnapshotLife, ASnapshotThatWasAbandonedCannotBeMovedOn) {
  const Arena arena = make_arena(8);
  SteppedTrainer trainer(arena, kFacts);
  ASSERT_TRUE(trainer.run_steps(5));
  const DaemonSide daemon(arena);
  const RecordView view = *daemon.view(trainer.handle().record);
  trainer.side().abandon(trainer.handle());
  EXPECT_FALSE(daemon.advance(view, RecordState::copying, RecordState::failed));
  EXPECT_FALSE(trainer.side().seal(trainer.handle()));
}

TEST(SnapshotLife, AFlagForASnapshotLongGoneDoesNotReachTheNextOne) {
  const Arena arena = make_arena(1);
  TrainerSide side(arena);
  const DaemonSide daemon(arena);
  const auto first = side.begin(kFacts);
  ASSERT_TRUE(first.ok());
  side.abandon(*first);
  daemon.done(*daemon.view(first->record));
  ASSERT_TRUE(side.recycle(*first));
  const auto second = side.begin(kFacts);
  ASSERT_TRUE(second.ok());
  ASSERT_EQ(second->record, first->record);
  side.withdraw(*first);
  side.confirm(*first);
  EXPECT_EQ(daemon.view(second->record)->flags, 0U);
  EXPECT_FALSE(side.recycle(*first));
  EXPECT_FALSE(side.progress(*first).has_value());
}

TEST(SnapshotLife, ARecordWhoseChecksumIsWrongIsNotTakenForASnapshot) {
  const Arena arena = make_arena(8);
  SteppedTrainer trainer(arena, kFacts);
  take(trainer);
  const DaemonSide daemon(arena);
  SnapshotRecord& record = arena.record(0);
  for (std::uint64_t* field : {&record.snapshot_id, &record.image_bytes, &record.descriptor_bytes, &record.checksum}) {
    for (const unsigned bit : {0U, 20U, 63U}) {
      *field ^= 1ULL << bit;
      EXPECT_TRUE(daemon.records().empty());
      *field ^= 1ULL << bit;
    }
  }
  record.step ^= 1;
  EXPECT_FALSE(daemon.view(0).has_value());
  record.step ^= 1;
  record.taken_unix_ns ^= 1;
  EXPECT_FALSE(daemon.view(0).has_value());
  record.taken_unix_ns ^= 1;
  EXPECT_TRUE(daemon.view(0).has_value());
}

TEST(SnapshotLife, ARecordOfImpossibleSizesIsNotTakenForASnapshot) {
  const Arena arena = make_arena(4);
  TrainerSide side(arena);
  const DaemonSide daemon(arena);
  ASSERT_TRUE(side.begin({1, kMaxImageBytes + 1, 100, 0}).ok());
  ASSERT_TRUE(side.begin({1, 100, kMaxManifestBytes + 1, 0}).ok());
  EXPECT_TRUE(daemon.records().empty());
  EXPECT_FALSE(daemon.view(kMaxSnapshots).has_value());
}

TEST(SnapshotLife, InARingAChunkStandsInThePlaceOfTheOneThatLeft) {
  const Arena arena = make_arena(8);
  TrainerSide side(arena);
  const DaemonSide daemon(arena);
  const auto handle = side.begin({1, 20 * kChunkBytes, 100, 0});
  ASSERT_TRUE(handle.ok());
  const RecordView view = *daemon.view(handle->record);
  for (std::uint64_t i = 0; i < 20; ++i) {
    const auto slot = side.lease(*handle, SlotKind::image, i, soon());
    ASSERT_TRUE(slot.ok());
    EXPECT_FALSE(daemon.filled_slot(view, i).has_value()) << "leased is not filled";
    side.mark_filled(*handle, *slot);
    ASSERT_EQ(daemon.filled_slot(view, i), *slot);
    if (i >= 8) {
      EXPECT_FALSE(daemon.filled_slot(view, i - 8).has_value()) << "a chunk that left is not taken for its heir";
    }
    EXPECT_FALSE(daemon.filled_slot(view, i + 8).has_value());
    if (i >= 3) daemon.release_chunk(view, i - 3, *daemon.filled_slot(view, i - 3));
  }
}

TEST(SnapshotLife, ADescriptorIsThereOnlyWhenItsLastChunkIs) {
  const Arena arena = make_arena(8);
  SteppedTrainer trainer(arena, kFacts);
  ASSERT_TRUE(trainer.run_steps(6));
  const DaemonSide daemon(arena);
  const RecordView view = *daemon.view(trainer.handle().record);
  EXPECT_FALSE(daemon.descriptor(view).has_value());
  ASSERT_TRUE(trainer.step());
  EXPECT_EQ(daemon.descriptor(view)->size(), kFacts.descriptor_bytes);
}

TEST(SnapshotLife, WaitingReturnsAtOnceWhenSomethingHasHappenedSince) {
  const Arena arena = make_arena(8);
  const DaemonSide daemon(arena);
  const std::uint32_t seen = daemon.signal();
  SteppedTrainer trainer(arena, kFacts);
  ASSERT_TRUE(trainer.step());
  EXPECT_NE(daemon.signal(), seen);
  const base::Deadline far = soon();
  daemon.wait(seen, far);
  EXPECT_FALSE(far.expired());
  const std::uint32_t before_wake = daemon.signal();
  daemon.wake_self();
  daemon.wait(before_wake, far);
  EXPECT_FALSE(far.expired());
}

}  // namespace
}  // namespace stillframe::arena
