// Who may sit down where: the places of a run's group, and when the next generation begins.
#include "daemon/generation.hpp"

#include <gmock/gmock.h>

namespace stillframe::daemon {
namespace {

using testing::HasSubstr;

Seated seat(std::uint32_t rank, std::int64_t pid, bool living = true) {
  return {"default", rank, 2, pid, living, /*away=*/false, /*open=*/living, "g1"};
}

protocol::Hello hello(std::uint32_t rank, std::int64_t pid, std::uint32_t world_size = 2) {
  protocol::Hello made;
  made.store = "/runs/gpt";
  made.run = "main";
  made.group = "default";
  made.rank = rank;
  made.world_size = world_size;
  made.pid = pid;
  return made;
}

TEST(PlaceOf, TheFirstBeginsAGenerationAndTheNextRankJoinsIt) {
  const Placement first = place_of({}, hello(0, 10));
  EXPECT_TRUE(first.refused.ok());
  EXPECT_EQ(first.generation, "");
  const Placement second = place_of({seat(0, 10)}, hello(1, 11));
  EXPECT_TRUE(second.refused.ok());
  EXPECT_EQ(second.generation, "g1");
}

TEST(PlaceOf, APlaceThatALivingProcessHasIsRefusedWithItsPidAndRank) {
  const Placement placement = place_of({seat(0, 10), seat(1, 11)}, hello(1, 12));
  EXPECT_EQ(placement.refused.code(), Code::busy);
  EXPECT_THAT(placement.refused.message(), HasSubstr("process 11, rank 1 of 2"));
}

TEST(PlaceOf, WhileOneOfAnEndedGenerationLivesTheNextDoesNotBegin) {
  std::vector<Seated> sessions{seat(0, 10), seat(1, 11, /*living=*/false)};
  sessions[0].open = false;
  EXPECT_THAT(place_of(sessions, hello(1, 12)).refused.message(), HasSubstr("process 10, rank 0"));
  sessions[0].living = false;
  const Placement placement = place_of(sessions, hello(1, 12));
  EXPECT_TRUE(placement.refused.ok());
  EXPECT_EQ(placement.generation, "") << "a new one";
}

TEST(PlaceOf, WhoComesBackBelongsToItsOwnGeneration) {
  protocol::Hello back = hello(1, 11);
  back.generation = "g1";
  back.adopt = true;
  EXPECT_EQ(place_of({}, back).generation, "g1") << "under a new daemon it is the first";
  EXPECT_EQ(place_of({seat(0, 10)}, back).generation, "g1");
  std::vector<Seated> others{seat(0, 20)};
  others[0].generation = "g2";
  EXPECT_EQ(place_of(others, back).refused.code(), Code::busy) << "the group was started anew without it";
}

TEST(PlaceOf, WhoseLineBrokeTakesItsOwnPlaceAgain) {
  std::vector<Seated> sessions{seat(0, 10), seat(1, 11)};
  sessions[1].away = true;
  protocol::Hello back = hello(1, 11);
  back.generation = "g1";
  const Placement placement = place_of(sessions, back);
  EXPECT_TRUE(placement.refused.ok());
  EXPECT_EQ(placement.generation, "g1");
  back.pid = 12;
  EXPECT_EQ(place_of(sessions, back).refused.code(), Code::busy);
}

TEST(PlaceOf, OtherSizesAndGroupsAndATrainerAloneDoNotSitDownAmongThem) {
  EXPECT_EQ(place_of({seat(0, 10)}, hello(1, 11, 4)).refused.code(), Code::busy);
  EXPECT_EQ(place_of({seat(0, 10)}, hello(0, 11, 1)).refused.code(), Code::busy);
  protocol::Hello other = hello(1, 11);
  other.group = "other";
  EXPECT_EQ(place_of({seat(0, 10)}, other).refused.code(), Code::busy);
}

TEST(PlaceOf, AGenerationIsOfOneGroupAndSize) {
  protocol::Hello larger = hello(3, 12, 4);
  larger.generation = "g1";
  const Placement placement = place_of({seat(0, 10)}, larger);
  EXPECT_EQ(placement.refused.code(), Code::invalid_argument);
  EXPECT_THAT(placement.refused.message(), HasSubstr("with 2 ranks"));
  protocol::Hello other = hello(1, 12);
  other.generation = "g1";
  other.group = "other";
  EXPECT_EQ(place_of({seat(0, 10)}, other).refused.code(), Code::invalid_argument);
}

TEST(PlaceOf, WhatWasAdoptedIsJoinedByItsIdOnly) {
  Seated adopted = seat(0, 10);
  adopted.rebuilt = true;
  EXPECT_EQ(place_of({adopted}, hello(1, 12)).refused.code(), Code::busy)
      << "a process of a group that is started anew";
  protocol::Hello fellow = hello(1, 11);
  fellow.generation = "g1";
  const Placement placement = place_of({adopted}, fellow);
  EXPECT_TRUE(placement.refused.ok());
  EXPECT_EQ(placement.generation, "g1");
}

TEST(PlaceOf, ACheckpointerOpenedAnewWithoutItsMemoryDoesNotTakeItsOldPlace) {
  Seated old = seat(0, 10);
  old.away = true;
  EXPECT_EQ(place_of({old}, hello(0, 10)).generation, "g1") << "nothing was captured there yet";
  old.has_arena = true;
  const Placement alone = place_of({old}, hello(0, 10));
  EXPECT_TRUE(alone.refused.ok());
  EXPECT_EQ(alone.generation, "") << "a new one";
  EXPECT_EQ(place_of({old, seat(1, 11)}, hello(0, 10)).refused.code(), Code::busy) << "a fellow of the old one lives";
  protocol::Hello back = hello(0, 10);
  back.generation = "g1";
  EXPECT_EQ(place_of({old, seat(1, 11)}, back).generation, "g1") << "the same checkpointer on a new line";
}

TEST(PlaceOf, ARankIsBelowTheSizeOfItsGroupWhichIsBounded) {
  EXPECT_EQ(place_of({}, hello(2, 10, 2)).refused.code(), Code::invalid_argument);
  EXPECT_EQ(place_of({}, hello(0, 10, 0)).refused.code(), Code::invalid_argument);
  EXPECT_EQ(place_of({}, hello(0, 10, kMostRanks + 1)).refused.code(), Code::invalid_argument);
}

}  // namespace
}  // namespace stillframe::daemon
