// How much memory a trainer gets: two images, one, a ring, or a refusal with the figures.
#include "daemon/grant.hpp"

#include <gmock/gmock.h>

namespace stillframe::test {
namespace {

using arena::Mode;
using daemon::ArenaWish;
using daemon::decide_grant;
using testing::HasSubstr;

constexpr std::uint64_t kPlenty = 1ULL << 40;

// Budget that holds exactly so many slots.
std::uint64_t budget_of(std::uint64_t slots) { return arena::control_bytes(slots) + slots * kChunkBytes; }

struct Case {
  const char* name;
  std::uint64_t image_chunks;
  std::uint64_t budget_slots;
  Mode mode;
  std::uint64_t committed;
};

class Grant : public testing::TestWithParam<Case> {};

TEST_P(Grant, FollowsTheBudget) {
  const Case& expected = GetParam();
  const ArenaWish wish{expected.image_chunks * kChunkBytes, 1000, 0, 0};
  const auto grant = decide_grant(wish, budget_of(expected.budget_slots), kPlenty);
  if (expected.mode == Mode::none) {
    EXPECT_EQ(grant.status().code(), Code::no_space);
    return;
  }
  ASSERT_TRUE(grant.ok()) << grant.status().message();
  EXPECT_EQ(grant->mode, expected.mode);
  EXPECT_EQ(grant->committed_slots, expected.committed);
  EXPECT_LE(budget_of(grant->slots), budget_of(expected.budget_slots)) << "the budget is a hard limit";
}

// An image of n chunks needs n + 1 slots: one for its descriptor. A ring needs six. Memory comes in segments of 64
// slots, as far as the budget goes.
INSTANTIATE_TEST_SUITE_P(
    Table, Grant,
    testing::Values(Case{"Twice", 10, 22, Mode::twofold, 22}, Case{"WholeSegments", 10, 100, Mode::twofold, 64},
                    Case{"AlmostTwice", 10, 21, Mode::single, 21}, Case{"Once", 10, 11, Mode::single, 11},
                    Case{"AlmostOnce", 10, 10, Mode::ring, 10}, Case{"SmallestRing", 10, 6, Mode::ring, 6},
                    Case{"LessThanARing", 10, 5, Mode::none, 0}, Case{"EmptyImage", 0, 2, Mode::twofold, 2},
                    Case{"NoBudget", 10, 0, Mode::none, 0}),
    [](const auto& one) { return std::string(one.param.name); });

TEST(GrantOfASharedBudget, WhatOtherTrainersUseIsNotGrantedAgain) {
  const ArenaWish wish{10 * kChunkBytes, 1000, 0, 0};
  const std::uint64_t control = arena::control_bytes(arena::slots_in_budget(budget_of(100)));
  const auto grant = decide_grant(wish, budget_of(100), control + 12 * kChunkBytes);
  ASSERT_TRUE(grant.ok());
  EXPECT_EQ(grant->mode, Mode::single);
  EXPECT_EQ(grant->committed_slots, 12U);
}

TEST(GrantOfASharedBudget, ARefusalNamesBothLimitsAndWhatIsNeeded) {
  const auto refused = decide_grant({10 * kChunkBytes, 1000, 0, 0}, 3 * kChunkBytes, 1000);
  EXPECT_EQ(refused.status().code(), Code::no_space);
  EXPECT_THAT(refused.status().message(), HasSubstr("10.0 MiB"));
  EXPECT_THAT(refused.status().message(), HasSubstr("3.0 MiB"));
  EXPECT_THAT(refused.status().message(), HasSubstr("arena.budget_bytes"));
}

TEST(GrantForARarePersist, TakesRoomForTwoImagesOrIsRefusedWithTheFigures) {
  const ArenaWish wish{10 * kChunkBytes, 1000, 0, 0, true};
  const auto granted = decide_grant(wish, budget_of(22), kPlenty);
  ASSERT_TRUE(granted.ok()) << granted.status().message();
  EXPECT_EQ(granted->mode, Mode::twofold);
  for (const std::uint64_t slots : {21, 11, 6}) {
    const auto refused = decide_grant(wish, budget_of(slots), kPlenty);
    EXPECT_EQ(refused.status().code(), Code::invalid_argument) << slots;
    EXPECT_THAT(refused.status().message(), HasSubstr("persist_every_steps"));
    EXPECT_THAT(refused.status().message(), HasSubstr("22.0 MiB")) << "what is needed";
  }
}

TEST(GrantOfAGrowingArena, NeverShrinksAndNeverOutgrowsItsSlots) {
  const auto smaller = decide_grant({2 * kChunkBytes, 1000, 200, 100}, budget_of(200), kPlenty);
  ASSERT_TRUE(smaller.ok());
  EXPECT_EQ(smaller->committed_slots, 100U);
  const auto larger = decide_grant({40 * kChunkBytes, 1000, 50, 22}, budget_of(50), kPlenty);
  ASSERT_TRUE(larger.ok());
  EXPECT_EQ(larger->committed_slots, 50U);
  EXPECT_EQ(larger->mode, Mode::single);
  const auto nothing_free = decide_grant({40 * kChunkBytes, 1000, 50, 22}, budget_of(50), 0);
  ASSERT_TRUE(nothing_free.ok());
  EXPECT_EQ(nothing_free->committed_slots, 22U);
  EXPECT_EQ(nothing_free->mode, Mode::ring);
}

TEST(GrantOfHostileSizes, OverflowNothing) {
  EXPECT_FALSE(decide_grant({~0ULL, ~0ULL, 0, 0}, budget_of(100), kPlenty).ok());
}

}  // namespace
}  // namespace stillframe::test
