// Limits of bytes: what they may take beyond the rules, and what they never take.
#include <limits>

#include "unit/retention/facts.hpp"

namespace stillframe::retention {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr std::uint64_t kPlenty = 1ULL << 50U;

// Four checkpoints of 100 bytes that keep_last = 4 keeps, in a store of `store_bytes`.
Policy keeping_four() { return policy_of({{"keep_last", "4"}, {"max_bytes", "500"}}); }

Plan planned(const Policy& policy, const std::string& facts, const Space& space) {
  return plan(policy, facts_of(facts), kLater, space);
}

TEST(MaxBytes, WithinTheLimitNothingMoreGoes) {
  EXPECT_EQ(kept(planned(keeping_four(), "4v 3v 2v 1v", {400, kPlenty, 100})), "4 3 2 1");
}

TEST(MaxBytes, TheOldestGoUntilTheNextOneFits) {
  const Plan result = planned(keeping_four(), "4v 3v 2v 1v", {400, kPlenty, 101});
  EXPECT_EQ(kept(result), "4 3 2");
  EXPECT_EQ(result.missing_bytes, 0U);
  EXPECT_EQ(kept(planned(keeping_four(), "4v 3v 2v 1v", {400, kPlenty, 250})), "4 3");
}

TEST(MaxBytes, AfterACommitTheStoreItselfMustFit) {
  EXPECT_EQ(kept(planned(keeping_four(), "4v 3v 2v 1v", {620, kPlenty, 0})), "4 3");
}

TEST(MaxBytes, WhatTheRulesRemoveCounts) {
  Policy policy = keeping_four();
  policy.keep_last = 3;
  EXPECT_EQ(kept(planned(policy, "4v 3v 2v 1v", {400, kPlenty, 200})), "4 3 2") << "the rule's removal is enough";
  EXPECT_EQ(kept(planned(policy, "4v 3v 2v 1v", {400, kPlenty, 201})), "4 3");
}

TEST(MaxBytes, TheReasonNamesTheLimitWithItsFigures) {
  const Plan result = planned(keeping_four(), "4v 3v 2v 1v", {400, kPlenty, 150});
  EXPECT_THAT(
      reasons_of(result, 1),
      AllOf(HasSubstr("max_bytes = 500 B: the store takes 400 B and the next checkpoint needs 150 B"),
            HasSubstr("'c4' is newer and verified"), HasSubstr("else it would stay: number 4 of keep_last = 4")));
}

TEST(MinFree, TheReserveStaysFree) {
  const Policy policy = policy_of({{"keep_last", "4"}, {"min_free_bytes", "1000"}});
  EXPECT_EQ(kept(planned(policy, "4v 3v 2v 1v", {400, 1100, 100})), "4 3 2 1");
  const Plan result = planned(policy, "4v 3v 2v 1v", {400, 1099, 100});
  EXPECT_EQ(kept(result), "4 3 2");
  EXPECT_THAT(
      reasons_of(result, 1),
      HasSubstr("min_free_bytes = 1000 B: the file system has 1.1 KiB free and the next checkpoint needs 100 B"));
}

TEST(MinFree, WithoutAReserveTheCheckpointItselfMustFit) {
  const Policy policy = policy_of({{"keep_last", "4"}});
  EXPECT_EQ(kept(planned(policy, "4v 3v 2v 1v", {400, 0, 0})), "4 3 2 1");
  EXPECT_EQ(kept(planned(policy, "4v 3v 2v 1v", {400, 99, 100})), "4 3 2");
}

TEST(Limits, TheLargerShortageCounts) {
  Policy policy = keeping_four();
  policy.min_free_bytes = 1000;
  const Plan result = planned(policy, "4v 3v 2v 1v", {450, 850, 100});
  EXPECT_EQ(kept(result), "4") << "50 over max_bytes, 250 below min_free_bytes";
  EXPECT_THAT(reasons_of(result, 1), AllOf(HasSubstr("max_bytes"), HasSubstr("min_free_bytes")));
}

TEST(Limits, WithoutSpaceNoLimitIsLookedAt) {
  EXPECT_EQ(kept(plan(policy_of({{"max_bytes", "1"}, {"keep_last", "2"}}), facts_of("2v 1v"), kLater, std::nullopt)),
            "2 1");
}

struct Case {
  std::string name;
  std::vector<std::pair<std::string, std::string>> words;
  std::string facts;
  std::string protected_ones;
};

class NeverTaken : public testing::TestWithParam<Case> {};

// Just as much is asked for as the others hold; with one byte more nothing can reach it, and nothing goes in vain.
TEST_P(NeverTaken, ByAnyLimit) {
  const Case& c = GetParam();
  Policy policy = policy_of(c.words);
  policy.max_bytes = 10'000;
  const std::size_t all = facts_of(c.facts).size();
  const std::size_t staying = static_cast<std::size_t>(std::ranges::count(c.protected_ones, ' ')) + 1;
  const std::uint64_t others = (all - staying) * kEachBytes;
  const Plan reached = planned(policy, c.facts, {10'000, kPlenty, others});
  EXPECT_EQ(kept(reached), c.protected_ones);
  EXPECT_EQ(reached.missing_bytes, 0U);
  const Plan missed = planned(policy, c.facts, {10'000, kPlenty, others + 1});
  EXPECT_EQ(missed.missing_bytes, 1U);
  EXPECT_EQ(kept(missed), kept(plan(policy, facts_of(c.facts), kLater, std::nullopt)))
      << "a limit that cannot be reached takes nothing beyond the rules";
}

INSTANTIATE_TEST_SUITE_P(
    Limits, NeverTaken,
    testing::Values(Case{"TheNewest", {{"keep_last", "9"}}, "4v 3v 2v 1v", "4"},
                    Case{"TheNewestVerified", {{"keep_last", "9"}}, "4 3v 2v 1v", "4 3"},
                    Case{"TheNewestWhenItIsBad", {{"keep_last", "9"}}, "4b 3v 2v 1v", "4 3"},
                    Case{"WhatIsNewerThanTheVerified", {{"keep_last", "9"}}, "5 4 3 2v 1v", "5 4 3 2"},
                    Case{"SeveralVerified", {{"keep_last", "9"}, {"min_verified", "2"}}, "5v 4 3b 2v 1v", "5 2"},
                    Case{"ThePinned", {{"keep_last", "9"}}, "4v 3v 2vp 1v", "4 2"},
                    Case{"TheBest", {{"keep_last", "9"}, {"keep_best", "loss:min:1"}}, "4v#3 3v#1 2v#2 1v", "4 3"},
                    Case{"AnythingWhileNoneIsVerified", {{"keep_last", "1"}}, "3 2 1", "3 2 1"}),
    [](const auto& one) { return one.param.name; });

TEST(Limits, TheYoungTheRareAndTheUnjudgedMayGo) {
  const Policy policy = policy_of({{"keep_for_seconds", "1d"},
                                   {"keep_every_steps", "10"},
                                   {"keep_every_seconds", "1"},
                                   {"keep_steps", "1"},
                                   {"keep_best", "loss:min:1"},
                                   {"max_bytes", "1000"}});
  EXPECT_EQ(kept(planned(policy, "4v@40#2 3v@30#3 2v@20 1v@1", {1000, kPlenty, 300})), "4");
}

TEST(Limits, WhatFreesNothingStays) {
  auto facts = facts_of("4v 3v 2v 1v");
  facts[3].stored_bytes = 0;
  const Plan result = plan(keeping_four(), facts, kLater, Space{400, kPlenty, 150});
  EXPECT_EQ(kept(result), "4 3 1");
}

TEST(Limits, HugeFiguresDoNotWrapAround) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  auto facts = facts_of("4v 3v 2v 1v");
  for (Fact& fact : facts) fact.stored_bytes = kMost / 2;
  const Plan result = plan(keeping_four(), facts, kLater, Space{kMost, 0, kMost});
  EXPECT_EQ(result.missing_bytes, 0U);
  EXPECT_EQ(kept(result), "4");
  EXPECT_EQ(shortage_bytes(keeping_four(), Space{kMost, kMost, kMost}), kMost - 500);
}

}  // namespace
}  // namespace stillframe::retention
