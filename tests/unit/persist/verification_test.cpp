// After durable: what is marked verified and when, and what retention may then remove.
#include "unit/persist/persist_rig.hpp"

namespace stillframe::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

using Verifying = PersistTest;

TEST_F(Verifying, NothingIsMarkedVerifiedBeforeTheTrainerHasConfirmedIt) {
  start(8);
  const Shot shot = trainer_->capture(7, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  // A later snapshot goes the whole way meanwhile: the verifier had its turn and passed over the first.
  const Shot later = trainer_->capture(8, three_chunk_layout());
  trainer_->side().confirm(later.handle);
  ASSERT_TRUE(trainer_->reaches(later, RecordState::verified));
  EXPECT_EQ(trainer_->state(shot), RecordState::durable);
  EXPECT_FALSE(marks(7).verified);
  EXPECT_TRUE(drains()) << "what waits for the trainer's word holds nobody up";

  trainer_->side().confirm(shot.handle);
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::verified));
  EXPECT_TRUE(marks(7).verified);
}

TEST_F(Verifying, ConfirmedBeforeItIsDurableIsVerifiedAfterwards) {
  start(8);
  const Shot shot = trainer_->begin(7, three_chunk_layout());
  trainer_->fill_all(shot);
  trainer_->side().confirm(shot.handle);
  ASSERT_TRUE(trainer_->side().seal(shot.handle));
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::verified));
  EXPECT_TRUE(marks(7).verified);
  ASSERT_TRUE(news_.comes("verified"));
  EXPECT_EQ(news_.of("verified")[0].name, name_of(7));
}

TEST_F(Verifying, AnUnconfirmedSnapshotOfADeadTrainerStaysDurableAndIsNeverMarkedVerified) {
  start(8);
  const Shot shot = trainer_->capture(7, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  persister_->trainer_died();
  ASSERT_TRUE(drains());
  EXPECT_EQ(trainer_->state(shot), RecordState::durable);
  EXPECT_FALSE(marks(7).verified);
  EXPECT_FALSE(marks(7).bad);
  EXPECT_TRUE(holds(shot));
}

TEST_F(Verifying, AConfirmedSnapshotOfADeadTrainerIsStillVerified) {
  start(8);
  hold_at(EnvOp::rename_no_replace, "step000007");
  const Shot shot = trainer_->capture(7, three_chunk_layout());
  trainer_->side().confirm(shot.handle);
  ASSERT_TRUE(wait_until([&] { return gate_.arrived(); }));
  persister_->trainer_died();
  gate_.open();
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::verified));
  ASSERT_TRUE(drains());
  EXPECT_TRUE(marks(7).verified);
}

TEST_F(Verifying, RetentionKeepsTheLastVerifiedOnes) {
  start(8, /*keep_last=*/2);
  for (std::int64_t step = 1; step <= 5; ++step) {
    const Shot shot = trainer_->capture(step, three_chunk_layout());
    trainer_->side().confirm(shot.handle);
    ASSERT_TRUE(trainer_->reaches(shot, RecordState::verified));
    ASSERT_TRUE(drains());
  }
  EXPECT_THAT(steps(), ElementsAre(5, 4));
}

TEST_F(Verifying, NothingOldIsRemovedBeforeANewerOneIsVerified) {
  start(8, /*keep_last=*/1);
  const Shot good = trainer_->capture(1, three_chunk_layout());
  trainer_->side().confirm(good.handle);
  ASSERT_TRUE(trainer_->reaches(good, RecordState::verified));
  const Shot unconfirmed = trainer_->capture(2, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(unconfirmed, RecordState::durable));
  ASSERT_TRUE(drains());
  EXPECT_THAT(steps(), ElementsAre(2, 1));
  EXPECT_TRUE(holds(good));
}

TEST_F(Verifying, AFlippedBitOnTheDiskIsFoundMarkedBadAndRetentionSparesTheOlder) {
  start(8, /*keep_last=*/1);
  const Shot good = trainer_->capture(1, three_chunk_layout());
  trainer_->side().confirm(good.handle);
  ASSERT_TRUE(trainer_->reaches(good, RecordState::verified));
  const Shot rotten = trainer_->capture(2, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(rotten, RecordState::durable));
  SF_ASSERT_OK(flip_bit(mem_, file_of(store_, name_of(2), format::data_file(0)), 4242));
  trainer_->side().confirm(rotten.handle);
  ASSERT_TRUE(trainer_->reaches(rotten, RecordState::failed));
  ASSERT_TRUE(drains());
  EXPECT_TRUE(marks(2).bad);
  EXPECT_FALSE(marks(2).verified);
  EXPECT_TRUE(holds(good));
  ASSERT_EQ(news_.of("failed").size(), 1U);
  EXPECT_NE(news_.of("failed")[0].error.find(name_of(2)), std::string::npos);
  EXPECT_EQ(persister_->counters().consecutive_failures, 1U);
}

TEST_F(Verifying, AMarkThatCannotBeWrittenLeavesItDurable) {
  start(8);
  const Shot shot = trainer_->capture(1, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  mem_.fail({EnvOp::rename, Code::io_error, 1, true, std::string(format::kVerifiedMark)});
  trainer_->side().confirm(shot.handle);
  ASSERT_TRUE(drains());
  EXPECT_EQ(trainer_->state(shot), RecordState::durable);
  EXPECT_FALSE(marks(1).verified);
  EXPECT_THAT(news_.of("verified"), IsEmpty());
}

// By this status says what a power loss would cost.
TEST_F(Verifying, TheArenaTellsWhenTheNewestDurableSnapshotWasTakenAndABadOneGivesWayToTheOneBefore) {
  start(8);
  const arena::DaemonSide daemon(*arena_);
  EXPECT_EQ(daemon.durable_taken(), 0);
  const Shot good = trainer_->capture(7, three_chunk_layout());
  trainer_->side().confirm(good.handle);
  ASSERT_TRUE(trainer_->reaches(good, RecordState::verified));
  EXPECT_EQ(daemon.durable_taken(), ArenaTrainer::taken_ns(7));
  const Shot torn = trainer_->capture(8, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(torn, RecordState::durable));
  EXPECT_EQ(daemon.durable_taken(), ArenaTrainer::taken_ns(8));
  trainer_->side().withdraw(torn.handle);
  EXPECT_TRUE(wait_until([&] { return daemon.durable_taken() == ArenaTrainer::taken_ns(7); }));
}

TEST_F(Verifying, ATimeThatCannotBeHidesNoLaterOne) {
  start(8);
  const arena::DaemonSide daemon(*arena_);
  const Shot wrong = trainer_->capture(INT64_MAX - 2'000'000'000, three_chunk_layout());
  trainer_->side().confirm(wrong.handle);
  ASSERT_TRUE(trainer_->reaches(wrong, RecordState::verified));
  const Shot right = trainer_->capture(8, three_chunk_layout());
  trainer_->side().confirm(right.handle);
  ASSERT_TRUE(trainer_->reaches(right, RecordState::verified));
  EXPECT_EQ(daemon.durable_taken(), ArenaTrainer::taken_ns(8));
}

}  // namespace
}  // namespace stillframe::test
