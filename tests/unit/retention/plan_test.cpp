// The rules, one by one, and the reasons they give.
#include "retention/plan.hpp"

#include <limits>

#include "unit/retention/facts.hpp"

namespace stillframe::retention {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

struct Case {
  std::string name;
  std::vector<std::pair<std::string, std::string>> words;  // beside keep_last = 1
  std::string facts;
  std::string kept;
};

class Rules : public testing::TestWithParam<Case> {};

TEST_P(Rules, Keep) {
  const Case& c = GetParam();
  const Plan result = plan_of(policy_of(c.words), c.facts);
  EXPECT_EQ(kept(result), c.kept);
  ASSERT_EQ(result.decisions.size(), facts_of(c.facts).size());
  for (const Decision& decision : result.decisions) EXPECT_FALSE(decision.reasons.empty());
  EXPECT_EQ(result.missing_bytes, 0U);
}

std::string case_name(const testing::TestParamInfo<Case>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(KeepLast, Rules,
                         testing::Values(Case{"NothingToDecide", {}, "", ""},
                                         Case{"FewerThanPlaces", {{"keep_last", "3"}}, "2v 1v", "2 1"},
                                         Case{"TheNewestStay", {{"keep_last", "2"}}, "5v 4v 3v 2v 1v", "5 4"},
                                         Case{"OrderIsBySequenceNotByStep", {}, "3v@10 2v@30 1v@20", "3"},
                                         Case{"OrderIsNotThatOfTheList", {}, "1v 3v 2v", "3"},
                                         Case{"DurableOnesTakePlaces", {{"keep_last", "2"}}, "5 4 3v 2v 1v", "5 4 3"},
                                         Case{"BadTakesNoPlace", {{"keep_last", "2"}}, "5v 4b 3v 2v 1v", "5 3"},
                                         Case{"ANewRunInAnOldDirectoryDoesNotLoseToHigherSteps",
                                              {{"keep_last", "2"}},
                                              "6v@20 5v@10 4v@4000 3v@3000 2v@2000 1v@1000",
                                              "6 5"}),
                         case_name);

INSTANTIATE_TEST_SUITE_P(
    Protected, Rules,
    testing::Values(Case{"NewestVerifiedStaysBeyondItsPlace", {}, "5 4 3 2v 1v", "5 4 3 2"},
                    Case{"NothingGoesWhileNoneIsVerified", {}, "5 4 3 2 1", "5 4 3 2 1"},
                    Case{"NothingGoesThatIsNewerThanTheVerified", {}, "4 3 2v 1", "4 3 2"},
                    Case{"BadStaysWhileNothingNewerIsVerified", {}, "3b 2v 1b", "3 2"},
                    Case{"TheNewestStaysAlsoWhenItIsBad", {}, "3b 2v 1v", "3 2"},
                    Case{"BadAndVerifiedCountsAsBad", {}, "3vb 2v 1v", "3 2"},
                    Case{"AllBadStay", {}, "3b 2b 1b", "3 2 1"}, Case{"PinnedStays", {}, "4v 3v 2p 1v", "4 2"},
                    Case{"PinnedBadStays", {}, "4v 3bp 1v", "4 3"},
                    Case{"PinnedIsNoVerification", {}, "3p 2 1", "3 2 1"},
                    Case{"MinVerifiedCountsVerifiedOnesOnly", {{"min_verified", "2"}}, "5v 4 3b 2v 1v", "5 2"},
                    Case{"MinVerifiedPassesOverBadOnes", {{"min_verified", "2"}}, "4v 3vb 2v 1v", "4 2"}),
    case_name);

INSTANTIATE_TEST_SUITE_P(
    KeepBest, Rules,
    testing::Values(
        Case{"TheLowest", {{"keep_best", "loss:min:1"}}, "5v#5 4v#1 3v#3 2v#2 1v#4", "5 4"},
        Case{"TheHighestTwo", {{"keep_best", "loss:max:2"}}, "5v#1 4v#2 3v#4 2v#3 1v#0", "5 3 2"},
        Case{"OfEqualsTheNewer", {{"keep_best", "loss:min:1"}}, "4v#9 3v#1 2v#1 1v#1", "4 3"},
        Case{"BadIsNeverTheBest", {{"keep_best", "loss:min:1"}}, "4v#9 3b#0 2v#2 1v#3", "4 2"},
        Case{"NaNIsNeverTheBest", {{"keep_best", "loss:min:1"}}, "4v#9 3v#nan 2v#2 1v#3", "4 2"},
        Case{"NaNIsNeverTheHighest", {{"keep_best", "loss:max:1"}}, "4v#1 3v#nan 2v#2 1v#0", "4 2"},
        Case{"InfinitiesAreNeverTheBest",
             {{"keep_best", "loss:min:1, loss:max:1"}},
             "5v#4 4v#-inf 3v#inf 2v#9 1v#1",
             "5 2 1"},
        Case{"AllNaNKeepsNone", {{"keep_best", "loss:min:2"}}, "3v#nan 2v#nan 1v#nan", "3"},
        Case{"WithoutTheMetricItStays", {{"keep_best", "loss:min:1"}}, "4v#9 3v 2v#2 1v#3", "4 3 2"},
        Case{"WithoutTheMetricItFillsNoPlace", {{"keep_best", "loss:min:2"}}, "5v#9 4v 3v#1 2v#2 1v#3", "5 4 3 2"},
        Case{"WithoutTheMetricABadOneGoes", {{"keep_best", "loss:min:1"}}, "3v#1 2b 1v#2", "3"},
        Case{"SwitchedOffTheMetricSaysNothing", {}, "3v#9 2v#1 1v", "3"},
        Case{"FewerThanPlaces", {{"keep_best", "loss:min:5"}}, "3v#3 2v#1 1v#2", "3 2 1"}),
    case_name);

INSTANTIATE_TEST_SUITE_P(
    KeepEverySteps, Rules,
    testing::Values(
        Case{"TheFirstAtOrAfterEachMultiple",
             {{"keep_every_steps", "100"}},
             "8v@400 7v@350 6v@310 5v@250 4v@199 3v@100 2v@90 1v@0",
             "8 6 5 3 1"},
        Case{
            "ABandWithoutACheckpointIsPassedOver", {{"keep_every_steps", "100"}}, "4v@510 3v@500 2v@20 1v@10", "4 3 1"},
        Case{"BadOnesArePassedOver", {{"keep_every_steps", "100"}}, "5v@230 4v@220 3v@110 2b@100 1v@0", "5 4 3 1"},
        Case{"BelowZeroTheMultiplesGoOn",
             {{"keep_every_steps", "10"}},
             "7v@6 6v@5 5v@0 4v@-5 3v@-10 2v@-11 1v@-12",
             "7 5 3 1"},
        Case{"ANewRunInAnOldDirectoryDoesNotLoseToHigherSteps",
             {{"keep_every_steps", "100"}},
             "9v@210 8v@200 7v@110 6v@100 5v@10 4v@0 3v@200 2v@100 1v@0",
             "9 8 6 4 3 2 1"},
        Case{"ARestartWithinItsBandKeepsTheNewFirst",
             {{"keep_every_steps", "100"}},
             "4v@130 3v@105 2v@140 1v@110",
             "4 3 1"},
        Case{"ARestartBehindTheFirstOfTheBandKeepsTheOldFirst",
             {{"keep_every_steps", "100"}},
             "4v@150 3v@120 2v@140 1v@110",
             "4 1"}),
    case_name);

INSTANTIATE_TEST_SUITE_P(
    KeepEverySeconds, Rules,
    testing::Values(Case{"OneAndTheNextSoMuchLater",
                         {{"keep_every_seconds", "10"}},
                         "6v~40 5v~25 4v~21 3v~20 2v~14 1v~10",
                         "6 3 1"},
                    Case{"AClockThatStandsStillKeepsOne", {{"keep_every_seconds", "10"}}, "4v~5 3v~5 2v~5 1v~5", "4 1"},
                    Case{"AClockThatJumpedBackBeginsAnew",
                         {{"keep_every_seconds", "10"}},
                         "6v~120 5v~115 4v~110 3v~1009 2v~1005 1v~1000",
                         "6 4 1"},
                    Case{"AClockThatJumpedAheadKeepsOneThere",
                         {{"keep_every_seconds", "10"}},
                         "5v~100006 4v~100003 3v~100000 2v~5 1v~0",
                         "5 3 1"},
                    Case{"BadOnesArePassedOver", {{"keep_every_seconds", "10"}}, "4v~50 3v~22 2b~20 1v~10", "4 3 1"}),
    case_name);

INSTANTIATE_TEST_SUITE_P(
    KeepFor, Rules,
    testing::Values(Case{"TheYoungStay", {{"keep_for_seconds", "10"}}, "4v~100 3v~95 2v~90 1v~89", "4 3 2"},
                    Case{"WhatIsOfTheFutureStays", {{"keep_for_seconds", "10"}}, "3v~100 2v~5000000 1v~10", "3 2"},
                    Case{"BadOnesGo", {{"keep_for_seconds", "10"}}, "3v~100 2b~99 1v~98", "3 1"}),
    case_name);

INSTANTIATE_TEST_SUITE_P(KeepSteps, Rules,
                         testing::Values(Case{"TheseStepsAndAllOfThem",
                                              {{"keep_steps", "20, -5"}},
                                              "6v@30 5v@20 4v@10 3v@-5 2v@20 1v@5",
                                              "6 5 3 2"},
                                         Case{"ABadOneGoes", {{"keep_steps", "20"}}, "3v@30 2b@20 1v@10", "3"}),
                         case_name);

INSTANTIATE_TEST_SUITE_P(
    Union, Rules,
    testing::Values(Case{
        "EachRuleAddsItsOwn",
        {{"keep_last", "2"}, {"keep_best", "loss:min:1"}, {"keep_every_steps", "100"}, {"keep_steps", "42"}},
        "8v@230#9 7v@220#8 6v@210#7 5v@200#6 4v@110#1 3v@100#5 2v@42#4 1v@0#3",
        "8 7 5 4 3 2 1"}),
    case_name);

TEST(KeepFor, AgeCountsUpToTheNewestCheckpointNotToNow) {
  const Policy policy = policy_of({{"keep_for_seconds", "10"}});
  EXPECT_EQ(kept(plan_of(policy, "3v~100 2v~95 1v~50", /*now=*/1'000'000)), "3 2") << "nothing new: nothing grows old";
  EXPECT_EQ(kept(plan_of(policy, "3v~100 2v~95 1v~50", /*now=*/102)), "3 2");
}

TEST(KeepFor, AClockThatWentBackMakesNothingOld) {
  const Policy policy = policy_of({{"keep_for_seconds", "10"}});
  EXPECT_EQ(kept(plan_of(policy, "3v~100 2v~95 1v~89", /*now=*/20)), "3 2 1") << "all of them are of the future";
  EXPECT_EQ(kept(plan_of(policy, "3v~20 2v~1005 1v~1000", /*now=*/25)), "3 2 1");
}

TEST(KeepFor, AClockThatJumpedAheadAgesOnlyOnceACheckpointIsTakenUnderIt) {
  const Policy policy = policy_of({{"keep_for_seconds", "10"}, {"keep_last", "2"}});
  EXPECT_EQ(kept(plan_of(policy, "3v~100 2v~95 1v~93", /*now=*/1'000'000)), "3 2 1");
  EXPECT_EQ(kept(plan_of(policy, "4v~1000000 3v~100 2v~95 1v~93", /*now=*/1'000'000)), "4 3")
      << "what another word keeps stays";
}

TEST(Times, TheWholeRangeOfTheClockIsJudgedWithoutOverflow) {
  constexpr auto kLeast = std::numeric_limits<std::int64_t>::min();
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  auto facts = facts_of("3v 2v 1v");
  facts[0].created_unix_seconds = kMost;
  facts[1].created_unix_seconds = 0;
  facts[2].created_unix_seconds = kLeast;
  const Policy policy =
      policy_of({{"keep_for_seconds", "10"}, {"keep_every_seconds", "10"}, {"keep_every_steps", "1"}});
  for (Fact& fact : facts) fact.step = fact.sequence == 2 ? kMost : kLeast;
  EXPECT_EQ(kept(plan(policy, facts, kMost, std::nullopt)), "3 2 1");
  EXPECT_EQ(kept(plan(policy, facts, kLeast, std::nullopt)), "3 2 1");
}

TEST(Reasons, EveryReasonToKeepIsGiven) {
  const Policy policy = policy_of({{"keep_last", "2"}, {"keep_best", "loss:min:1"}, {"keep_steps", "7"}});
  const Plan result = plan_of(policy, "3v#5 2vp@7#1 1v#2");
  EXPECT_THAT(reasons_of(result, 2), AllOf(HasSubstr("pinned"), HasSubstr("number 2 of keep_last = 2"),
                                           HasSubstr("best number 1 of keep_best = loss:min:1: loss 1"),
                                           HasSubstr("step 7 is one of keep_steps")));
  EXPECT_THAT(reasons_of(result, 3), AllOf(HasSubstr("the newest checkpoint"), HasSubstr("min_verified = 1"),
                                           HasSubstr("no newer checkpoint is verified")));
}

TEST(Reasons, ARemovalSaysWhatEachRuleMissedAndWhatStandsForIt) {
  const Policy policy = policy_of({{"keep_best", "loss:min:1"},
                                   {"keep_every_steps", "100"},
                                   {"keep_every_seconds", "1h"},
                                   {"keep_for_seconds", "1"},
                                   {"keep_steps", "9"}});
  const std::string reasons = reasons_of(plan_of(policy, "4v#1 3v#nan 2v#2 1v#3"), 2);
  EXPECT_THAT(reasons,
              AllOf(HasSubstr("'c4' is newer and verified"), HasSubstr("beyond keep_last = 1"),
                    HasSubstr("beyond keep_best = loss:min:1: loss 2"),
                    HasSubstr("'c1' stands for its steps (keep_every_steps = 100)"),
                    HasSubstr("'c1' stands for its time (keep_every_seconds = 3600)"),
                    HasSubstr("2 s old, beyond keep_for_seconds = 1"), HasSubstr("step 2 is none of keep_steps")));
  EXPECT_THAT(reasons_of(plan_of(policy, "4v#1 3v#2 2v#nan 1v#3"), 2),
              HasSubstr("loss is nan, which is never the best"));
}

TEST(Reasons, OneWithoutTheMetricSaysThatItCannotBeJudged) {
  const std::string reasons = reasons_of(plan_of(policy_of({{"keep_best", "loss:min:1"}}), "3v#1 2v 1v#2"), 2);
  EXPECT_THAT(reasons, HasSubstr("has no number 'loss', so that keep_best = loss:min:1 cannot judge it"));
}

TEST(Reasons, ABadOneIsRemovedAsBadAndByNoRule) {
  const std::string reasons = reasons_of(plan_of(policy_of({}), "3v 2b 1v"), 2);
  EXPECT_THAT(reasons,
              AllOf(HasSubstr("marked bad"), HasSubstr("'c3' is newer and verified"), Not(HasSubstr("keep_last"))));
}

TEST(RefusedPolicy, ZeroNeverMeansAll) {
  for (const char* word : {"keep_last", "min_verified"}) {
    Policy policy = policy_of({});
    (word == std::string("keep_last") ? policy.keep_last : policy.min_verified) = 0;
    policy.max_bytes = 1;
    const Plan result = plan(policy, facts_of("3v 2v 1v"), kLater, Space{300, 0, 50});
    EXPECT_EQ(kept(result), "3 2 1");
    EXPECT_THAT(reasons_of(result, 1), AllOf(HasSubstr("refused"), HasSubstr(word)));
    EXPECT_EQ(result.missing_bytes, 349U);
  }
}

}  // namespace
}  // namespace stillframe::retention
