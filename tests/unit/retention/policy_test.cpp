#include "retention/policy.hpp"

#include <gmock/gmock.h>

#include <sstream>

namespace stillframe::retention {
namespace {

using testing::HasSubstr;

// "5v 4 3b 2vp": sequences, newest first, with v(erified), b(ad), p(inned).
std::vector<Fact> facts_of(const std::string& text) {
  std::vector<Fact> facts;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    Fact fact;
    fact.sequence = std::stoull(word);
    fact.name = "c" + std::to_string(fact.sequence);
    fact.verified = word.find('v') != std::string::npos;
    fact.bad = word.find('b') != std::string::npos;
    fact.pinned = word.find('p') != std::string::npos;
    facts.push_back(fact);
  }
  return facts;
}

std::string kept(const std::vector<Decision>& decisions) {
  std::string text;
  for (const auto& decision : decisions) {
    if (decision.keep) text += (text.empty() ? "" : " ") + std::to_string(decision.sequence);
  }
  return text;
}

struct Case {
  std::string name;
  std::uint32_t keep_last;
  std::string facts;
  std::string kept;
};

class Table : public testing::TestWithParam<Case> {};

TEST_P(Table, Keeps) {
  const Case& c = GetParam();
  const auto decisions = plan(Policy{c.keep_last}, facts_of(c.facts));
  EXPECT_EQ(kept(decisions), c.kept);
  ASSERT_EQ(decisions.size(), facts_of(c.facts).size());
  for (const auto& decision : decisions) EXPECT_FALSE(decision.reasons.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Retention, Table,
    testing::Values(Case{"NothingToDecide", 3, "", ""}, Case{"FewerThanPlaces", 3, "2v 1v", "2 1"},
                    Case{"TheNewestStay", 2, "5v 4v 3v 2v 1v", "5 4"}, Case{"OrderIsBySequence", 1, "1v 3v 2v", "3"},
                    Case{"DurableOnesTakePlaces", 2, "5 4 3v 2v 1v", "5 4 3"},
                    Case{"NewestVerifiedStaysBeyondItsPlace", 1, "5 4 3 2v 1v", "5 4 3 2"},
                    Case{"NothingGoesWhileNoneIsVerified", 1, "5 4 3 2 1", "5 4 3 2 1"},
                    Case{"NothingGoesThatIsNewerThanTheVerified", 1, "4 3 2v 1", "4 3 2"},
                    Case{"BadTakesNoPlace", 2, "5v 4b 3v 2v 1v", "5 3"},
                    Case{"BadStaysWhileNothingNewerIsVerified", 1, "3b 2v 1b", "3 2"},
                    Case{"BadAndVerifiedCountsAsBad", 1, "3vb 2v 1v", "3 2"},
                    Case{"AllBadStay", 1, "3b 2b 1b", "3 2 1"}, Case{"PinnedStays", 1, "4v 3v 2p 1v", "4 2"},
                    Case{"PinnedBadStays", 1, "4v 3bp 1v", "4 3"}, Case{"PinnedIsNoVerification", 1, "3p 2 1", "3 2 1"},
                    Case{"ZeroNeverMeansAll", 0, "3v 2v 1v", "3 2 1"}),
    [](const auto& one) { return one.param.name; });

TEST(Policy, ZeroIsRefusedWithTheFieldAndWhatWasExpected) {
  const Status refused = check(Policy{0});
  EXPECT_EQ(refused.code(), Code::invalid_argument);
  EXPECT_THAT(refused.message(), HasSubstr("keep_last"));
  EXPECT_THAT(refused.message(), HasSubstr("at least 1"));
  EXPECT_TRUE(check(Policy{1}).ok());
}

TEST(Policy, ARemovalSaysWhichVerifiedCheckpointStandsForIt) {
  const auto decisions = plan(Policy{1}, facts_of("3 2v 1v"));
  ASSERT_FALSE(decisions.at(2).keep);
  EXPECT_THAT(decisions[2].reasons.front(), HasSubstr("'c2' is newer and verified"));
}

}  // namespace
}  // namespace stillframe::retention
