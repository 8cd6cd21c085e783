// A captured snapshot that gives way to a newer one (overrun: latest): one side has it, never both.
#include "unit/persist/persist_rig.hpp"

namespace stillframe::test {
namespace {

using Superseded = PersistTest;

TEST_F(Superseded, OneThatWaitsGivesItsChunksAtOnceWhileAnotherIsWritten) {
  start(8);  // three chunks and a descriptor, twice
  hold_at(EnvOp::rename_no_replace, "step000001");
  const Shot written = trainer_->capture(1, three_chunk_layout());
  ASSERT_TRUE(wait_until([&] { return gate_.arrived(); }));
  const Shot waiting = trainer_->capture(2, three_chunk_layout());
  EXPECT_EQ(trainer_->free_slots(), 0U);
  EXPECT_FALSE(trainer_->side().supersede(written.handle)) << "the daemon has begun it";
  EXPECT_TRUE(trainer_->side().supersede(waiting.handle));
  EXPECT_EQ(trainer_->free_slots(), 4U);
  const Shot newest = trainer_->capture(3, three_chunk_layout());
  gate_.open();
  ASSERT_TRUE(trainer_->reaches(newest, RecordState::durable));
  EXPECT_TRUE(trainer_->is_done(waiting)) << "its record is the trainer's again";
  EXPECT_TRUE(trainer_->side().recycle(waiting.handle));
  EXPECT_THAT(steps(), testing::ElementsAre(3, 1));
}

TEST_F(Superseded, WhatIsCopiedDurableOrGivenUpDoesNotGiveWay) {
  start(8);
  const Shot durable = trainer_->capture(1, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(durable, RecordState::durable));
  EXPECT_FALSE(trainer_->side().supersede(durable.handle));
  const Shot copying = trainer_->begin(2, three_chunk_layout());
  EXPECT_FALSE(trainer_->side().supersede(copying.handle));
  trainer_->side().abandon(copying.handle);
  EXPECT_FALSE(trainer_->side().supersede(copying.handle));
}

TEST_F(Superseded, RecordsComeBackWhileAnotherIsStillBeingWritten) {
  start(12);
  const Shot written = trainer_->begin(1, three_chunk_layout());
  trainer_->fill_descriptor(written);
  trainer_->fill_chunk(written, 0);
  ASSERT_TRUE(wait_until([&] { return persister_->counters().chunks_written == 1; }));
  for (std::int64_t step = 2; step < 2 + 2 * arena::kMaxSnapshots; ++step) {
    const Shot waiting = trainer_->capture(step, three_chunk_layout());
    ASSERT_TRUE(trainer_->side().supersede(waiting.handle));
    ASSERT_TRUE(trainer_->is_done(waiting));
    ASSERT_TRUE(trainer_->side().recycle(waiting.handle));
  }
}

// Between the trainer's word and the last slot it frees.
TEST_F(Superseded, ATrainerThatDiesOverItLeavesNothingBehind) {
  arena_ = std::make_unique<arena::Arena>(make_arena(8));
  trainer_ = std::make_unique<ArenaTrainer>(*arena_);
  const Shot shot = trainer_->capture(1, three_chunk_layout());
  arena_->record(shot.handle.record).flags.fetch_or(arena::kSuperseded);
  start_daemon();
  EXPECT_FALSE(trainer_->done_now(shot)) << "its trainer lives and frees it by itself";
  persister_->trainer_died();
  ASSERT_TRUE(trainer_->is_done(shot));
  EXPECT_TRUE(drains()) << "whoever settles waits for nothing";
  EXPECT_THAT(steps(), testing::IsEmpty());
}

}  // namespace
}  // namespace stillframe::test
