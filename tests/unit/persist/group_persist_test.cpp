// Persisters of one group over real arenas: one checkpoint for all, or none.
#include "format/writer_words.hpp"
#include "unit/persist/group_rig.hpp"

namespace stillframe::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

TEST_F(GroupPersisting, TwoRanksCommitOneCheckpoint) {
  start_group();
  const std::vector<Shot> shots{capture(0, 7), capture(1, 7)};
  for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
    ASSERT_TRUE(ranks_[rank].trainer->reaches(shots[rank], RecordState::durable)) << "rank " << rank;
    EXPECT_TRUE(wait_until([&] { return is_captured(rank, shots[rank]); }));
    EXPECT_TRUE(ranks_[rank].news.comes("captured"));
    ASSERT_TRUE(ranks_[rank].news.comes("durable"));
    EXPECT_EQ(ranks_[rank].news.of("durable")[0].name, name_of(7));
  }
  EXPECT_THAT(steps(), ElementsAre(7));
  EXPECT_THAT(leftovers(), IsEmpty());
  expect_whole(7, shots);
}

// One manifest for all: each rank restores it.
TEST_F(GroupPersisting, AllWriteWhatTheOldestOfThemReads) {
  ranks_[1].reads_format = 1;
  start_group();
  const std::vector<Shot> shots{capture(0, 7), capture(1, 7)};
  ASSERT_TRUE(ranks_[0].trainer->reaches(shots[0], RecordState::durable));
  expect_whole(7, shots);
  const auto reader = store::CheckpointReader::open(store_, name_of(7)).value();
  EXPECT_EQ(reader->manifest().version, 1U);
  EXPECT_EQ(format::said_level(reader->manifest().writer), "");
  ranks_[1].persister.reset();
  ranks_[1].reads_format = format::kFormatVersion;
  start_rank(1);
  EXPECT_EQ(group_->reads_format(), 1U) << "a process of the group reads no more because it came back";
}

TEST_F(GroupPersisting, NothingIsCapturedOrPublishedBeforeTheLastRankHasSealed) {
  start_group();
  const Shot first = capture(0, 7);
  const Shot second = ranks_[1].trainer->begin(7, layout_of(1));
  ranks_[1].trainer->fill_all(second);
  ASSERT_TRUE(wait_until([&] { return ranks_[1].persister->counters().chunks_written == 2; }));
  ASSERT_TRUE(
      wait_until([&] { return ranks_[0].persister->counters().phase == "waiting for the other ranks with step 7"; }));
  EXPECT_FALSE(is_captured(0, first));
  EXPECT_THAT(steps(), IsEmpty());
  EXPECT_FALSE(ranks_[0].persister->drained());
  ASSERT_TRUE(ranks_[1].trainer->side().seal(second.handle));
  EXPECT_TRUE(ranks_[0].trainer->reaches(first, RecordState::durable));
  EXPECT_TRUE(is_captured(0, first));
}

TEST_F(GroupPersisting, ARankThatDiesBeforeItsSealLeavesNone) {
  start_group();
  const Shot first = capture(0, 7);
  const Shot second = ranks_[1].trainer->begin(7, layout_of(1));
  ranks_[1].trainer->fill_all(second);
  ASSERT_TRUE(wait_until([&] { return ranks_[1].persister->counters().chunks_written == 2; }));
  ranks_[1].persister->trainer_died();
  ASSERT_TRUE(ranks_[0].trainer->reaches(first, RecordState::failed));
  ASSERT_TRUE(ranks_[0].news.comes("failed"));
  EXPECT_THAT(ranks_[0].news.of("failed")[0].error, HasSubstr("rank 1 ended before it had sealed it"));
  EXPECT_TRUE(ranks_[0].trainer->is_done(first));
  EXPECT_THAT(steps(), IsEmpty());
  EXPECT_TRUE(wait_until([&] { return leftovers().empty(); }));
  EXPECT_TRUE(wait_until([&] { return ranks_[0].persister->drained() && ranks_[1].persister->drained(); }));
  EXPECT_FALSE(is_captured(0, first));
}

TEST_F(GroupPersisting, ARankThatDiesAfterItsSealIsPartOfTheCheckpoint) {
  start_group();
  const Shot second = capture(1, 7);
  ranks_[1].persister->trainer_died();
  const Shot first = capture(0, 7);
  ASSERT_TRUE(ranks_[0].trainer->reaches(first, RecordState::durable));
  expect_whole(7, {first, second});
}

TEST_F(GroupPersisting, ADeadRankWithoutTheStepLeavesNone) {
  start_group();
  ranks_[1].persister->trainer_died();
  const Shot first = ranks_[0].trainer->capture_unless_failed(7, layout_of(0));
  ASSERT_TRUE(ranks_[0].news.comes("failed"));
  EXPECT_THAT(ranks_[0].news.of("failed")[0].error, HasSubstr("rank 1 ended before it had a snapshot of it"));
  EXPECT_TRUE(ranks_[0].trainer->is_done(first));
  EXPECT_THAT(steps(), IsEmpty());
}

TEST_F(GroupPersisting, WhatOneRankGivesUpOrSkipsIsGivenUpByAllAndTheNextIsTaken) {
  start_group();
  const Shot abandoned = ranks_[1].trainer->begin(1, layout_of(1));
  const Shot first = capture(0, 1);
  ranks_[1].trainer->side().abandon(abandoned.handle);
  ASSERT_TRUE(ranks_[0].news.comes("failed"));
  EXPECT_THAT(ranks_[0].news.of("failed")[0].error, HasSubstr("rank 1 gave it up"));
  const Shot skipped = capture(0, 2);
  const std::vector<Shot> shots{capture(0, 3), capture(1, 3)};
  ASSERT_TRUE(ranks_[0].trainer->reaches(shots[0], RecordState::durable));
  ASSERT_TRUE(ranks_[1].trainer->reaches(shots[1], RecordState::durable));
  EXPECT_THAT(steps(), ElementsAre(3));
  EXPECT_THAT(ranks_[0].news.of("failed"), SizeIs(2));
  EXPECT_THAT(leftovers(), IsEmpty());
  expect_whole(3, shots);
}

TEST_F(GroupPersisting, ATornRankWithdrawsTheStepOfAll) {
  start_group();
  const Shot first = ranks_[0].trainer->begin(7, layout_of(0));
  ranks_[0].trainer->fill_all(first);
  const Shot second = capture(1, 7);
  ranks_[1].trainer->side().withdraw(second.handle);
  ASSERT_TRUE(ranks_[1].news.comes("withdrawn"));
  ASSERT_TRUE(ranks_[0].news.comes("failed"));
  EXPECT_FALSE(ranks_[0].trainer->side().seal(first.handle)) << "it had heard of that before its seal";
  EXPECT_THAT(steps(), IsEmpty());
}

TEST_F(GroupPersisting, WhoDoesNotSealInTimeIsNamed) {
  start_group(/*deadline_ms=*/1);
  const Shot first = capture(0, 7);
  ASSERT_TRUE(ranks_[0].news.comes("failed"));
  EXPECT_EQ(ranks_[0].news.of("failed")[0].code, Code::deadline);
  EXPECT_THAT(ranks_[0].news.of("failed")[0].error, HasSubstr("rank 1 had not sealed it"));
}

// Rank 1's persister is still busy with an earlier step: only its record says that it has sealed this one.
TEST_F(GroupPersisting, ASlowDiskIsNotAMissingSeal) {
  enter_all(/*deadline_ms=*/0);
  const Shot first = capture(0, 7);
  const std::uint64_t round = group_->join(0, oldest_of(0));
  group_->sealed(round, 0);
  const Shot second = capture(1, 7);
  EXPECT_EQ(group_->look(round, 0), persist::GroupCommit::Turn::wait);
  group_->look_at_seals();
  EXPECT_TRUE(is_captured(0, first));
  EXPECT_TRUE(is_captured(1, second));
}

TEST_F(GroupPersisting, WhatIsGivenUpIsNotCalledCaptured) {
  enter_all(kPatienceMs);
  const Shot first = capture(0, 7);
  const std::uint64_t round = group_->join(0, oldest_of(0));
  EXPECT_TRUE(group_->obstruct(round, Code::no_space, "the disk is full"));
  const Shot second = capture(1, 7);
  group_->look_at_seals();
  EXPECT_FALSE(is_captured(0, first));
  EXPECT_FALSE(is_captured(1, second));
}

TEST_F(GroupPersisting, APartOfAnotherStepIsRefusedWithTheRound) {
  enter_all(kPatienceMs);
  const std::vector<Shot> shots{capture(0, 7), capture(1, 7)};
  const std::uint64_t round = group_->join(0, oldest_of(0));
  EXPECT_EQ(group_->join(1, oldest_of(1)), round);
  for (std::uint32_t rank = 0; rank < kRanks; ++rank) group_->ready(round, rank, 100, true);
  EXPECT_EQ(group_->turn(round, 0), persist::GroupCommit::Turn::open);
  group_->opened(round, group_->opening(round), nullptr);
  persist::GroupCommit::Part part;
  part.view = oldest_of(0);
  part.view.step = 8;
  EXPECT_FALSE(group_->part_done(round, 0, std::move(part)));
  EXPECT_EQ(group_->look(round, 1), persist::GroupCommit::Turn::off);
}

TEST_F(GroupPersisting, ARankThatTheGroupDoesNotHaveIsRefused) {
  enter_all(kPatienceMs);
  EXPECT_EQ(group_->enter(kRanks, member_of(0)).code(), Code::invalid_argument);
  group_->trainer_died(kRanks);
  group_->leave(kRanks);
  EXPECT_TRUE(group_->is_open());
}

TEST_F(GroupPersisting, TheRecordOfASkippedStepIsAwaitedAndNotTakenForABrokenOne) {
  start_group();
  const auto marker = ranks_[1].trainer->side().begin({7, 0, 0, kUtcNs});
  ASSERT_TRUE(marker.ok());
  const Shot first = capture(0, 7);
  ASSERT_TRUE(wait_until([&] { return ranks_[1].persister->counters().phase == "copying step 7"; }));
  ranks_[1].trainer->side().abandon(*marker);
  ASSERT_TRUE(ranks_[0].news.comes("failed"));
  EXPECT_THAT(ranks_[0].news.of("failed")[0].error, HasSubstr("rank 1 gave it up"));
  EXPECT_TRUE(ranks_[0].trainer->is_done(first));
  EXPECT_THAT(ranks_[1].news.of("failed"), IsEmpty());
}

TEST_F(GroupPersisting, WhatIsAbandonedAfterItsRankHadStoppedIsToldToTheFellows) {
  start_group();
  const Shot second = ranks_[1].trainer->begin(7, layout_of(1));
  ranks_[1].trainer->fill_all(second);
  const Shot first = capture(0, 7);
  ASSERT_TRUE(wait_until([&] { return ranks_[1].persister->counters().chunks_written == 2; }));
  ranks_[1].persister->finish();
  ASSERT_TRUE(wait_until([&] { return ranks_[1].persister->counters().phase == "idle"; }));
  ranks_[1].trainer->side().abandon(second.handle);
  ASSERT_TRUE(ranks_[0].news.comes("failed"));
  EXPECT_THAT(ranks_[0].news.of("failed")[0].error, HasSubstr("rank 1 gave it up"));
  EXPECT_TRUE(ranks_[0].trainer->is_done(first));
}

TEST_F(GroupPersisting, ARankThatWasAwayAtTheVerdictTakesItFromTheStore) {
  start_group();
  const std::vector<Shot> shots{capture(0, 7), capture(1, 7)};
  for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
    ASSERT_TRUE(ranks_[rank].trainer->reaches(shots[rank], RecordState::durable));
  }
  const auto verifies = [&](std::uint32_t rank) { return ranks_[rank].persister->verifies(name_of(7)); };
  ASSERT_TRUE(wait_until([&] { return verifies(0) || verifies(1); }));
  const std::uint32_t stays = verifies(0) ? 0 : 1;
  const std::uint32_t away = 1 - stays;
  ranks_[away].trainer->side().confirm(shots[away].handle);
  ranks_[away].persister.reset();
  ranks_[stays].trainer->side().confirm(shots[stays].handle);
  ASSERT_TRUE(ranks_[stays].trainer->reaches(shots[stays], RecordState::verified));
  EXPECT_EQ(ranks_[away].trainer->state(shots[away]), RecordState::durable);
  start_rank(away);
  EXPECT_TRUE(ranks_[away].trainer->reaches(shots[away], RecordState::verified));
  EXPECT_TRUE(ranks_[away].news.comes("verified"));
}

TEST_F(GroupPersisting, VerifiedOnceAllRanksHaveConfirmed) {
  start_group();
  const std::vector<Shot> shots{capture(0, 7), capture(1, 7)};
  for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
    ASSERT_TRUE(ranks_[rank].trainer->reaches(shots[rank], RecordState::durable));
  }
  ranks_[0].trainer->side().confirm(shots[0].handle);
  EXPECT_TRUE(wait_until([&] { return ranks_[0].persister->drained() && ranks_[1].persister->drained(); }));
  EXPECT_FALSE(marks(7).verified) << "rank 1 has not confirmed";
  ranks_[1].trainer->side().confirm(shots[1].handle);
  for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
    ASSERT_TRUE(ranks_[rank].trainer->reaches(shots[rank], RecordState::verified)) << "rank " << rank;
  }
  EXPECT_TRUE(marks(7).verified);
}

TEST_F(GroupPersisting, OneTornRankMakesAPublishedCheckpointBad) {
  start_group();
  const std::vector<Shot> shots{capture(0, 7), capture(1, 7)};
  for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
    ASSERT_TRUE(ranks_[rank].trainer->reaches(shots[rank], RecordState::durable));
  }
  ranks_[0].trainer->side().confirm(shots[0].handle);
  ranks_[1].trainer->side().withdraw(shots[1].handle);
  for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
    EXPECT_TRUE(ranks_[rank].trainer->reaches(shots[rank], RecordState::failed)) << "rank " << rank;
  }
  EXPECT_TRUE(marks(7).bad);
}

TEST_F(GroupPersisting, AFailureOfTheDiskIsTriedAgainByAll) {
  start_group();
  mem_.fail({EnvOp::sync, Code::io_error, 1, false, ".partial"});
  const std::vector<Shot> shots{capture(0, 7), capture(1, 7)};
  ASSERT_TRUE(ranks_[0].trainer->reaches(shots[0], RecordState::durable));
  ASSERT_TRUE(ranks_[1].trainer->reaches(shots[1], RecordState::durable));
  expect_whole(7, shots);
  EXPECT_TRUE(wait_until([&] { return leftovers().empty(); }));
}

TEST_F(GroupPersisting, ANewDaemonGoesOnWithWhatAllHadSealed) {
  start_group();
  const Shot second = ranks_[1].trainer->begin(7, layout_of(1));
  ranks_[1].trainer->fill_all(second);
  const Shot first = capture(0, 7);
  ASSERT_TRUE(wait_until([&] { return ranks_[1].persister->counters().chunks_written == 2; }));
  for (RankRig& rank : ranks_) rank.persister->finish();
  EXPECT_TRUE(wait_until([&] { return ranks_[0].persister->drained() && ranks_[1].persister->drained(); }))
      << "a daemon that stops does not wait for a rank that is still copied";
  for (RankRig& rank : ranks_) rank.persister.reset();
  EXPECT_THAT(steps(), IsEmpty());
  EXPECT_THAT(leftovers(), IsEmpty());
  begin_group();
  start_rank(0);
  ASSERT_TRUE(ranks_[1].trainer->side().seal(second.handle));
  start_rank(1);
  ASSERT_TRUE(ranks_[0].trainer->reaches(first, RecordState::durable));
  ASSERT_TRUE(ranks_[1].trainer->reaches(second, RecordState::durable));
  expect_whole(7, {first, second});
}

TEST_F(GroupPersisting, WhatADaemonHadPublishedIsDurableForAllAndVerifiedOnce) {
  start_group();
  const std::vector<Shot> shots{capture(0, 7), capture(1, 7)};
  for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
    ASSERT_TRUE(ranks_[rank].trainer->reaches(shots[rank], RecordState::durable));
  }
  for (RankRig& rank : ranks_) rank.persister.reset();
  begin_group();
  for (std::uint32_t rank = 0; rank < kRanks; ++rank) start_rank(rank);
  for (std::uint32_t rank = 0; rank < kRanks; ++rank) ranks_[rank].trainer->side().confirm(shots[rank].handle);
  for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
    EXPECT_TRUE(ranks_[rank].trainer->reaches(shots[rank], RecordState::verified)) << "rank " << rank;
  }
  EXPECT_THAT(steps(), ElementsAre(7));
}

TEST_F(GroupPersisting, IsCalledCheckedWhenEveryRankThatHasBytesOnGpusComparedThem) {
  start_group();
  ranks_[1].trainer->from_gpu = true;  // the first has none
  for (const bool checked : {true, false}) {
    const std::int64_t step = checked ? 7 : 8;
    const Shot first = capture(0, step);
    const Shot second = ranks_[1].trainer->begin(step, layout_of(1));
    ranks_[1].trainer->fill_all(second);
    if (checked) ranks_[1].trainer->side().set_checked(second.handle);
    ASSERT_TRUE(ranks_[1].trainer->side().seal(second.handle));
    ASSERT_TRUE(ranks_[0].trainer->reaches(first, RecordState::durable));
    const auto reader = store::CheckpointReader::open(store_, name_of(step));
    ASSERT_TRUE(reader.ok()) << message_of(reader);
    EXPECT_EQ(format::says_checked((*reader)->manifest().writer), checked) << (*reader)->manifest().writer;
  }
}

}  // namespace
}  // namespace stillframe::test
