// From filled chunks to a checkpoint: what waits for what, and what becomes of a snapshot that does not make it.
#include "unit/persist/persist_rig.hpp"

namespace stillframe::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class Persisting : public PersistTest {
 protected:
  std::uint64_t data_writes() const { return mem_.calls(EnvOp::write_at) - writes_before_; }
  void start(std::uint64_t slots, std::uint32_t keep_last = 3) {
    PersistTest::start(slots, keep_last);
    writes_before_ = mem_.calls(EnvOp::write_at);
  }

 private:
  std::uint64_t writes_before_ = 0;
};

TEST_F(Persisting, ChunksAreWrittenBeforeTheSealAndOnlyTheCommitWaitsForIt) {
  start(8);
  std::atomic<int> chunks_written{0};
  env_.observe([&](EnvOp op, const std::string& path) {
    if (op == EnvOp::write_at && path.find(format::data_file(0)) != std::string::npos) ++chunks_written;
  });
  const Shot shot = trainer_->begin(7, three_chunk_layout());
  trainer_->fill_all(shot);
  ASSERT_TRUE(wait_until([&] { return chunks_written == 3; }));
  EXPECT_THAT(steps(), IsEmpty());
  EXPECT_THAT(leftovers(), testing::SizeIs(1)) << "the partial directory";
  ASSERT_TRUE(trainer_->side().seal(shot.handle));
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  EXPECT_THAT(steps(), ElementsAre(7));
  EXPECT_TRUE(holds(shot));
  EXPECT_THAT(leftovers(), IsEmpty());
}

TEST_F(Persisting, NewsOfADurableSnapshotNameItsCheckpoint) {
  start(8);
  const Shot shot = trainer_->capture(7, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  const auto durable = news_.of("durable");
  ASSERT_EQ(durable.size(), 1U) << "they come before the state";
  EXPECT_EQ(durable[0].name, name_of(7));
  EXPECT_EQ(durable[0].sequence, trainer_->side().progress(shot.handle)->sequence);
  EXPECT_EQ(durable[0].raw_bytes, shot.image.size());
  EXPECT_GT(durable[0].stored_bytes, 0U);
  const auto counters = persister_->counters();
  EXPECT_EQ(counters.durable, 1U);
  EXPECT_EQ(counters.last_durable_step, 7);
}

TEST_F(Persisting, WhatIsDurableIsThereAfterAPowerLoss) {
  start(8);
  const Shot shot = trainer_->capture(7, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  const auto after = mem_.survivor(FaultEnv::kOnlySynced);
  const auto store = store::Store::open(*after, store_.path());
  SF_ASSERT_OK(store);
  SF_ASSERT_OK(check_whole(*store, name_of(7), 7));
}

TEST_F(Persisting, AnAbandonedSnapshotLeavesNoFilesAndGivesItsMemoryBack) {
  start(8);
  const Shot shot = trainer_->begin(7, three_chunk_layout());
  trainer_->fill_descriptor(shot);
  trainer_->fill_chunk(shot, 0);
  ASSERT_TRUE(wait_until([&] { return !leftovers().empty(); }));
  trainer_->side().abandon(shot.handle);
  ASSERT_TRUE(trainer_->is_done(shot));
  EXPECT_THAT(steps(), IsEmpty());
  EXPECT_THAT(leftovers(), IsEmpty());
  EXPECT_EQ(trainer_->free_slots(), 8U);
  EXPECT_TRUE(trainer_->side().recycle(shot.handle));
  EXPECT_THAT(news_.of("failed"), IsEmpty());
}

TEST_F(Persisting, ASnapshotAbandonedBeforeItsDescriptorIsGivenUp) {
  start(8);
  const Shot shot = trainer_->begin(7, three_chunk_layout());
  trainer_->side().abandon(shot.handle);
  ASSERT_TRUE(trainer_->is_done(shot));
  EXPECT_EQ(trainer_->free_slots(), 8U);
}

TEST_F(Persisting, ATrainerThatDiesBeforeTheSealLeavesNothingBehind) {
  start(8);
  const Shot before = trainer_->capture(6, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(before, RecordState::durable));
  const Shot shot = trainer_->begin(7, three_chunk_layout());
  trainer_->fill_all(shot);
  ASSERT_TRUE(wait_until([&] { return !leftovers().empty(); }));
  persister_->trainer_died();
  ASSERT_TRUE(trainer_->is_done(shot));
  EXPECT_TRUE(drains());
  EXPECT_THAT(steps(), ElementsAre(6));
  EXPECT_THAT(leftovers(), IsEmpty());
  EXPECT_TRUE(holds(before));
}

TEST_F(Persisting, ATrainerThatDiesRightAfterTheSealLosesNothing) {
  start(8);
  hold_at(EnvOp::make_dir, ".partial");
  const Shot shot = trainer_->capture(7, three_chunk_layout());
  ASSERT_TRUE(wait_until([&] { return gate_.arrived(); }));
  persister_->trainer_died();
  EXPECT_FALSE(persister_->drained());
  gate_.open();
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  ASSERT_TRUE(drains());
  EXPECT_TRUE(holds(shot));
}

TEST_F(Persisting, ASnapshotWithdrawnBeforeItIsPublishedIsNeverPublished) {
  start(8);
  hold_at(EnvOp::sync, format::data_file(0));
  const Shot shot = trainer_->capture(7, three_chunk_layout());
  ASSERT_TRUE(wait_until([&] { return gate_.arrived(); }));
  trainer_->side().withdraw(shot.handle);
  gate_.open();
  ASSERT_TRUE(trainer_->is_done(shot));
  EXPECT_EQ(trainer_->state(shot), RecordState::failed);
  EXPECT_THAT(steps(), IsEmpty());
  EXPECT_THAT(leftovers(), IsEmpty());
  EXPECT_EQ(trainer_->free_slots(), 8U);
  ASSERT_EQ(news_.of("withdrawn").size(), 1U);
  EXPECT_THAT(news_.of("durable"), IsEmpty());
}

TEST_F(Persisting, ASnapshotWithdrawnAfterItWasPublishedIsMarkedBad) {
  start(8);
  const Shot good = trainer_->capture(6, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(good, RecordState::durable));
  trainer_->side().confirm(good.handle);
  ASSERT_TRUE(trainer_->reaches(good, RecordState::verified));
  const Shot torn = trainer_->capture(7, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(torn, RecordState::durable));
  trainer_->side().withdraw(torn.handle);
  ASSERT_TRUE(trainer_->reaches(torn, RecordState::failed));
  EXPECT_TRUE(marks(7).bad);
  EXPECT_FALSE(marks(7).verified);
  EXPECT_TRUE(marks(6).verified);
  ASSERT_EQ(news_.of("withdrawn").size(), 1U);
  EXPECT_NE(news_.of("withdrawn")[0].error.find("marked bad"), std::string::npos);
}

TEST_F(Persisting, WithdrawnAndConfirmedIsWithdrawn) {
  start(8);
  hold_at(EnvOp::rename_no_replace, "step000007");
  const Shot torn = trainer_->capture(7, three_chunk_layout());
  ASSERT_TRUE(wait_until([&] { return gate_.arrived(); }));
  trainer_->side().confirm(torn.handle);
  trainer_->side().withdraw(torn.handle);
  gate_.open();
  ASSERT_TRUE(trainer_->reaches(torn, RecordState::failed));
  EXPECT_TRUE(marks(7).bad);
  EXPECT_FALSE(marks(7).verified);
  EXPECT_THAT(news_.of("verified"), IsEmpty());
}

TEST_F(Persisting, FinishLeavesASnapshotBeingCopiedForTheNextDaemonAndPersistsASealedOne) {
  start(8);
  hold_at(EnvOp::make_dir, "step000006");
  const Shot sealed = trainer_->capture(6, three_chunk_layout());
  ASSERT_TRUE(wait_until([&] { return gate_.arrived(); }));
  const Shot copying = trainer_->begin(7, three_chunk_layout());
  trainer_->fill_descriptor(copying);
  trainer_->fill_chunk(copying, 0);
  persister_->finish();
  gate_.open();
  ASSERT_TRUE(trainer_->reaches(sealed, RecordState::durable));
  ASSERT_TRUE(drains());
  persister_.reset();
  EXPECT_EQ(trainer_->state(copying), RecordState::copying);
  EXPECT_FALSE(trainer_->done_now(copying));
  EXPECT_THAT(leftovers(), IsEmpty());
  EXPECT_TRUE(holds(sealed));

  start_daemon();
  trainer_->fill_chunk(copying, 1);
  trainer_->fill_chunk(copying, 2);
  ASSERT_TRUE(trainer_->side().seal(copying.handle));
  ASSERT_TRUE(trainer_->reaches(copying, RecordState::durable));
  EXPECT_THAT(steps(), ElementsAre(7, 6));
  EXPECT_TRUE(holds(copying));
}

TEST_F(Persisting, FinishDuringTheCopyLetsGoOfTheSnapshotAtHand) {
  start(8);
  const Shot copying = trainer_->begin(7, three_chunk_layout());
  trainer_->fill_descriptor(copying);
  trainer_->fill_chunk(copying, 0);
  ASSERT_TRUE(wait_until([&] { return !leftovers().empty(); }));
  persister_->finish();
  ASSERT_TRUE(wait_until([&] { return leftovers().empty(); }));
  EXPECT_EQ(trainer_->state(copying), RecordState::copying);
  EXPECT_TRUE(drains());
}

TEST_F(Persisting, AnEmptyImageIsACheckpointToo) {
  start(8);
  const auto layout = format::lay_out({{"empty", DType::f32, {0}}}).value();
  const Shot shot = trainer_->capture(7, layout);
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  EXPECT_TRUE(holds(shot));
}

}  // namespace
}  // namespace stillframe::test
