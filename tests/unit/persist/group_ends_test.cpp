// What a rank's end, absence or full disk does to the step of all, and what its memory gives back.
#include "unit/persist/group_rig.hpp"

namespace stillframe::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class GroupEnding : public GroupPersisting {
 protected:
  // All bytes of a snapshot, and no seal yet.
  Shot fill(std::uint32_t rank, std::int64_t step) {
    Shot shot = ranks_[rank].trainer->begin(step, layout_of(rank));
    ranks_[rank].trainer->fill_all(shot);
    return shot;
  }
  [[nodiscard]] bool all_reach(const std::vector<Shot>& shots, RecordState state) {
    bool all = true;
    for (std::uint32_t rank = 0; rank < kRanks; ++rank) all = ranks_[rank].trainer->reaches(shots[rank], state) && all;
    return all;
  }
  [[nodiscard]] bool all_drain() {
    return wait_until([this] { return ranks_[0].persister->drained() && ranks_[1].persister->drained(); });
  }
  // Its line breaks, and it comes back with its memory, to the same daemon.
  void come_back(std::uint32_t rank) {
    ranks_[rank].persister->finish();
    ranks_[rank].persister.reset();
    start_rank(rank);
  }
  [[nodiscard]] std::uint32_t who_verifies(std::int64_t step) {
    const auto verifies = [&](std::uint32_t rank) { return ranks_[rank].persister->verifies(name_of(step)); };
    EXPECT_TRUE(wait_until([&] { return verifies(0) || verifies(1); }));
    return verifies(0) ? 0 : 1;
  }
};

TEST_F(GroupEnding, WhenBothDieAndOneHadNotSealedNothingIsLeft) {
  start_group();
  const Shot first = capture(0, 7);
  const Shot second = fill(1, 7);
  ASSERT_TRUE(wait_until([&] { return ranks_[1].persister->counters().chunks_written == 2; }));
  ranks_[0].persister->trainer_died();
  ranks_[1].persister->trainer_died();
  EXPECT_TRUE(all_drain());
  EXPECT_TRUE(ranks_[0].trainer->reaches(first, RecordState::failed));
  EXPECT_THAT(steps(), IsEmpty());
  EXPECT_TRUE(wait_until([&] { return leftovers().empty(); }));
  EXPECT_FALSE(is_captured(0, first));
  EXPECT_FALSE(is_captured(1, second));
}

TEST_F(GroupEnding, WhenBothDieAfterTheirSealsTheCheckpointIsWrittenAllTheSame) {
  start_group();
  const std::vector<Shot> shots{capture(0, 7), capture(1, 7)};
  ranks_[1].persister->trainer_died();
  ranks_[0].persister->trainer_died();
  EXPECT_TRUE(all_reach(shots, RecordState::durable));
  EXPECT_TRUE(all_drain());
  expect_whole(7, shots);
  EXPECT_FALSE(marks(7).verified) << "nobody has confirmed it";
}

TEST_F(GroupEnding, WhatADeadRankHasNotConfirmedStaysDurableAndIsAwaitedNoLonger) {
  start_group();
  const std::vector<Shot> shots{capture(0, 7), capture(1, 7)};
  ASSERT_TRUE(all_reach(shots, RecordState::durable));
  ranks_[0].trainer->side().confirm(shots[0].handle);
  ranks_[1].persister->trainer_died();
  EXPECT_TRUE(all_drain());
  EXPECT_TRUE(ranks_[0].trainer->is_done(shots[0])) << "its record is the trainer's again";
  EXPECT_EQ(ranks_[0].trainer->state(shots[0]), RecordState::durable);
  EXPECT_FALSE(marks(7).verified);
  EXPECT_FALSE(marks(7).bad);
}

TEST_F(GroupEnding, ARankWhoseLineBreaksWhileTheStepIsWrittenComesBackToIt) {
  start_group();
  const Shot first = capture(0, 7);
  const Shot second = fill(1, 7);
  ASSERT_TRUE(wait_until([&] { return ranks_[1].persister->counters().chunks_written == 2; }));
  ASSERT_TRUE(
      wait_until([&] { return ranks_[0].persister->counters().phase == "waiting for the other ranks with step 7"; }));
  come_back(1);
  ASSERT_TRUE(ranks_[1].trainer->side().seal(second.handle));
  EXPECT_TRUE(all_reach({first, second}, RecordState::durable));
  expect_whole(7, {first, second});
  EXPECT_TRUE(wait_until([&] { return leftovers().empty(); }));
}

TEST_F(GroupEnding, AVerdictThatLeavesNoMarkIsHeardByARankThatWasAway) {
  start_group();
  const std::vector<Shot> shots{capture(0, 7), capture(1, 7)};
  ASSERT_TRUE(all_reach(shots, RecordState::durable));
  const std::uint32_t stays = who_verifies(7);
  const std::uint32_t away = 1 - stays;
  ranks_[away].trainer->side().confirm(shots[away].handle);
  ranks_[away].persister->finish();
  ranks_[away].persister.reset();
  mem_.fail({EnvOp::rename, Code::io_error, 1, true, std::string(format::kVerifiedMark)});
  ranks_[stays].trainer->side().confirm(shots[stays].handle);
  ASSERT_TRUE(wait_until([&] { return ranks_[stays].persister->drained(); }));
  EXPECT_FALSE(marks(7).verified);
  start_rank(away);
  EXPECT_TRUE(ranks_[away].trainer->is_done(shots[away])) << "or its record would be held for ever";
  EXPECT_EQ(ranks_[away].trainer->state(shots[away]), RecordState::durable);
}

TEST_F(GroupEnding, WhatAFullDiskTookNoneOfIsGivenBackAndTheNextStepIsCommitted) {
  start_group();
  const std::uint64_t free_slots = ranks_[0].trainer->free_slots();
  hold_at(EnvOp::write_at, format::data_file(1));  // until both have sealed
  mem_.fail({EnvOp::write_at, Code::no_space, 1, false, format::data_file(1)});
  const std::vector<Shot> refused{capture(0, 7), capture(1, 7)};
  gate_.open();
  ASSERT_TRUE(all_reach(refused, RecordState::failed));
  EXPECT_TRUE(ranks_[0].trainer->is_done(refused[0]));
  EXPECT_EQ(ranks_[0].trainer->free_slots(), free_slots) << "no successor of a group restores from memory";
  EXPECT_THAT(ranks_[0].news.of("failed")[0].error, HasSubstr("rank 1: "));
  const std::vector<Shot> shots{capture(0, 8), capture(1, 8)};
  EXPECT_TRUE(all_reach(shots, RecordState::durable));
  EXPECT_THAT(steps(), ElementsAre(8));
  expect_whole(8, shots);
}

TEST_F(GroupEnding, WhileAFellowIsWaitedForTheMemoryOfWhatIsDurableComesBack) {
  start_group();
  const std::vector<Shot> shots{capture(0, 7), capture(1, 7)};
  ASSERT_TRUE(all_reach(shots, RecordState::durable));
  const Shot next = fill(0, 8);
  ASSERT_TRUE(
      wait_until([&] { return ranks_[0].persister->counters().phase == "waiting for the other ranks with step 8"; }));
  const std::uint64_t before = ranks_[0].trainer->free_slots();
  ASSERT_TRUE(ranks_[0].trainer->side().seal(next.handle));
  EXPECT_TRUE(wait_until([&] { return ranks_[0].trainer->free_slots() > before; }))
      << "a newer image is whole, and the trainer goes on";
}

TEST_F(GroupEnding, RanksThatTakeOtherStepsCommitThoseThatAllHave) {
  start_group();
  const std::vector<Shot> alone{capture(0, 2), capture(0, 4),
                                ranks_[1].trainer->capture_unless_failed(3, layout_of(1))};
  EXPECT_TRUE(ranks_[1].trainer->is_done(alone[2]));
  const std::vector<Shot> shots{capture(0, 6), capture(1, 6)};
  EXPECT_TRUE(all_reach(shots, RecordState::durable));
  EXPECT_THAT(steps(), ElementsAre(6));
  expect_whole(6, shots);
}

}  // namespace
}  // namespace stillframe::test
