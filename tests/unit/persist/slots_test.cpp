// When the arena's memory comes back to the trainer, in each of the three modes.
#include <atomic>

#include "unit/persist/persist_rig.hpp"

namespace stillframe::test {
namespace {

using testing::ElementsAre;

using Slots = PersistTest;

TEST_F(Slots, TwofoldKeepsTheLastWholeImageUntilANewerOneIsSealed) {
  start(8);  // three chunks and a descriptor, twice
  const Shot first = trainer_->capture(1, three_chunk_layout());
  trainer_->side().confirm(first.handle);
  ASSERT_TRUE(trainer_->reaches(first, RecordState::verified));
  ASSERT_TRUE(drains());
  EXPECT_EQ(trainer_->free_slots(), 4U);
  EXPECT_FALSE(trainer_->done_now(first));

  const Shot second = trainer_->begin(2, three_chunk_layout());
  trainer_->fill_all(second);
  EXPECT_EQ(trainer_->free_slots(), 0U) << "a snapshot being copied is no image yet";
  EXPECT_FALSE(trainer_->done_now(first));
  ASSERT_TRUE(trainer_->side().seal(second.handle));
  ASSERT_TRUE(trainer_->is_done(first));
  EXPECT_EQ(trainer_->free_slots(), 4U);
  ASSERT_TRUE(trainer_->reaches(second, RecordState::durable));
}

TEST_F(Slots, TwofoldKeepsTheLastImageWhenTheNextIsAbandoned) {
  start(8);
  const Shot first = trainer_->capture(1, three_chunk_layout());
  trainer_->side().confirm(first.handle);
  ASSERT_TRUE(trainer_->reaches(first, RecordState::verified));
  const Shot cut_off = trainer_->begin(2, three_chunk_layout());
  trainer_->fill_all(cut_off);
  trainer_->side().abandon(cut_off.handle);
  ASSERT_TRUE(trainer_->is_done(cut_off));
  EXPECT_FALSE(trainer_->done_now(first));
  EXPECT_EQ(trainer_->free_slots(), 4U);
}

TEST_F(Slots, SingleGivesThemBackAtDurableAndNotBefore) {
  start(5);
  hold_at(EnvOp::rename_no_replace, "step000001");
  const Shot first = trainer_->capture(1, three_chunk_layout());
  ASSERT_TRUE(wait_until([&] { return gate_.arrived(); }));
  EXPECT_EQ(trainer_->free_slots(), 1U);
  gate_.open();
  ASSERT_TRUE(trainer_->reaches(first, RecordState::durable));
  ASSERT_TRUE(wait_until([&] { return trainer_->free_slots() == 5; }));
  EXPECT_FALSE(trainer_->done_now(first)) << "it is not verified yet";
  trainer_->side().confirm(first.handle);
  ASSERT_TRUE(trainer_->is_done(first));
}

TEST_F(Slots, WhoHearsThatItIsDurableFindsRoom) {
  std::atomic<std::uint64_t> free_at_the_news{0};
  on_durable_ = [&] { free_at_the_news = trainer_->free_slots(); };
  start(5);
  const Shot first = trainer_->capture(1, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(first, RecordState::durable));
  EXPECT_EQ(free_at_the_news, 5U);
}

TEST_F(Slots, ARingGivesAChunkBackOnlyOnceItsBytesAreSynced) {
  constexpr std::uint64_t kSlots = 6;
  constexpr std::uint64_t kChunks = 20;
  start(kSlots);
  std::atomic<std::uint64_t> filled{0};
  std::atomic<std::uint64_t> too_early{0};
  std::uint64_t written = 0;
  std::uint64_t synced = 0;
  std::uint64_t under_sync = 0;
  std::uint64_t syncs = 0;
  // Called on the persister's thread before each call, so that no chunk is given back while we count.
  env_.observe([&](EnvOp op, const std::string& path) {
    if (path.find(format::data_file(0)) == std::string::npos) return;
    synced = under_sync;
    const std::uint64_t filled_by_now = filled;  // before the slots are counted: never more given back than there are
    std::uint64_t held = 0;
    for (std::uint64_t i = 0; i < kSlots; ++i) {
      const arena::ChunkSlot& slot = arena_->slot(i);
      if (slot.state.load() == arena::SlotState::filled && slot.kind == arena::SlotKind::image) ++held;
    }
    if (filled_by_now > held + synced) ++too_early;
    if (op == EnvOp::write_at) ++written;
    if (op == EnvOp::sync) {
      under_sync = written;
      ++syncs;
    }
  });
  const Shot shot = trainer_->begin(1, layout_of_chunks(kChunks));
  trainer_->fill_descriptor(shot);
  for (std::uint64_t chunk = 0; chunk < kChunks; ++chunk) {
    trainer_->fill_chunk(shot, chunk);
    ++filled;
  }
  ASSERT_TRUE(trainer_->side().seal(shot.handle));
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  EXPECT_EQ(too_early, 0U);
  EXPECT_GE(syncs, kChunks / kSlots);
  EXPECT_TRUE(holds(shot));
}

TEST_F(Slots, AFullRingWaitsForTheSync) {
  start(6);
  hold_at(EnvOp::sync, format::data_file(0));
  const Shot shot = trainer_->begin(1, layout_of_chunks(10));
  trainer_->fill_descriptor(shot);
  for (std::uint64_t chunk = 0; chunk < 5; ++chunk) trainer_->fill_chunk(shot, chunk);
  ASSERT_TRUE(wait_until([&] { return gate_.arrived(); }));
  EXPECT_EQ(trainer_->free_slots(), 0U);
  EXPECT_EQ(trainer_->side().lease(shot.handle, arena::SlotKind::image, 5, base::Deadline::after_ms(0)).status().code(),
            Code::deadline);
  gate_.open();
  for (std::uint64_t chunk = 5; chunk < 10; ++chunk) trainer_->fill_chunk(shot, chunk);
  ASSERT_TRUE(trainer_->side().seal(shot.handle));
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  EXPECT_TRUE(holds(shot));
  ASSERT_TRUE(wait_until([&] { return trainer_->free_slots() == 6; }));
}

TEST_F(Slots, ManySnapshotsGoThroughOneArena) {
  start(8, /*keep_last=*/2);
  Shot last;
  for (std::int64_t step = 1; step <= 12; ++step) {
    last = trainer_->begin(step, three_chunk_layout());
    trainer_->fill_all(last);
    trainer_->side().confirm(last.handle);
    ASSERT_TRUE(trainer_->side().seal(last.handle));
    ASSERT_TRUE(trainer_->reaches(last, RecordState::verified));
    for (std::uint32_t record = 0; record < arena::kMaxSnapshots; ++record) {
      const auto view = arena::DaemonSide(*arena_).view(record);
      if (view) (void)trainer_->side().recycle({record, view->snapshot_id});
    }
  }
  ASSERT_TRUE(drains());
  EXPECT_THAT(steps(), ElementsAre(12, 11));
  EXPECT_TRUE(holds(last));
}

}  // namespace
}  // namespace stillframe::test
