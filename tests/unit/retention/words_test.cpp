// The words as text and as numbers: what each takes, and what it says when it does not.
#include <gmock/gmock.h>

#include "retention/policy.hpp"

namespace stillframe::retention {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

Policy with(std::string_view word, std::string_view text) {
  Policy policy;
  const Status set = set_word(policy, word, text);
  EXPECT_TRUE(set.ok()) << set.message();
  return policy;
}

// The message; checks that nothing was changed.
std::string refusal(std::string_view word, std::string_view text) {
  Policy policy;
  policy.keep_best = {{"loss", false, 2}};
  policy.keep_steps = {7};
  const Policy before = policy;
  const Status set = set_word(policy, word, text);
  EXPECT_EQ(set.code(), Code::invalid_argument) << word << " took " << text;
  EXPECT_EQ(policy, before) << word << " " << text;
  return set.message();
}

TEST(Words, AreThoseOfTheStructInItsOrder) {
  std::vector<std::string> names;
  for (const Word& word : words()) names.emplace_back(word.name);
  EXPECT_THAT(names, ElementsAre("keep_last", "keep_best", "keep_every_steps", "keep_every_seconds", "keep_for_seconds",
                                 "keep_steps", "max_bytes", "min_free_bytes", "min_verified"));
}

TEST(Words, EachHasAUnitAHelpOfOneLineAndAnExpectation) {
  for (const Word& word : words()) {
    EXPECT_FALSE(word.unit.empty()) << word.name;
    EXPECT_THAT(word.help.size(), AllOf(testing::Gt(10U), testing::Lt(100U))) << word.name;
    EXPECT_FALSE(word.expected.empty()) << word.name;
  }
}

TEST(Text, CountsAreIntegers) {
  EXPECT_EQ(with("keep_last", "12").keep_last, 12U);
  EXPECT_EQ(with("keep_last", " 12 ").keep_last, 12U);
  EXPECT_EQ(with("keep_every_steps", "9223372036854775807").keep_every_steps, 9223372036854775807U);
  EXPECT_EQ(with("min_verified", "2").min_verified, 2U);
  EXPECT_EQ(refusal("keep_last", "0"), "keep_last: expected an integer from 1 to 1000000, found 0");
  EXPECT_EQ(refusal("min_verified", "0"), "min_verified: expected an integer from 1 to 1000000, found 0");
  EXPECT_EQ(refusal("keep_last", "-1"), "keep_last: expected an integer from 1 to 1000000, found -1");
  EXPECT_EQ(refusal("keep_last", "3 s"), "keep_last: expected an integer from 1 to 1000000, found \"3 s\"");
  for (const char* text : {"", "x", "1x", "1.5", "+1", "1000001", "99999999999999999999", "0x10"}) {
    EXPECT_THAT(refusal("keep_last", text), StartsWith("keep_last: expected an integer from 1 to 1000000, found "));
  }
  EXPECT_THAT(refusal("keep_every_steps", "9223372036854775808"), HasSubstr("from 0 to 9223372036854775807"));
}

TEST(Text, DurationsAreSecondsOrHaveASuffix) {
  EXPECT_EQ(with("keep_for_seconds", "90").keep_for_seconds, 90U);
  EXPECT_EQ(with("keep_for_seconds", "90s").keep_for_seconds, 90U);
  EXPECT_EQ(with("keep_for_seconds", "15 m").keep_for_seconds, 900U);
  EXPECT_EQ(with("keep_every_seconds", "2h").keep_every_seconds, 7200U);
  EXPECT_EQ(with("keep_every_seconds", "7d").keep_every_seconds, 604'800U);
  EXPECT_EQ(with("keep_every_seconds", "0").keep_every_seconds, 0U);
  for (const char* text : {"", "h", "1w", "1H", "-1h", "1.5h", "1hh", "1h30m", "36501d", "18446744073709551615d"}) {
    EXPECT_THAT(
        refusal("keep_for_seconds", text),
        StartsWith("keep_for_seconds: expected seconds from 0 to 3153600000, as an integer or with s, m, h or d"));
  }
}

TEST(Text, BytesAreIntegersOrHaveASuffix) {
  EXPECT_EQ(with("max_bytes", "1000").max_bytes, 1000U);
  EXPECT_EQ(with("max_bytes", "1000B").max_bytes, 1000U);
  EXPECT_EQ(with("max_bytes", "3kB").max_bytes, 3000U);
  EXPECT_EQ(with("max_bytes", "3 MB").max_bytes, 3'000'000U);
  EXPECT_EQ(with("max_bytes", "3GB").max_bytes, 3'000'000'000U);
  EXPECT_EQ(with("max_bytes", "3TB").max_bytes, 3'000'000'000'000U);
  EXPECT_EQ(with("min_free_bytes", "1KiB").min_free_bytes, 1024U);
  EXPECT_EQ(with("min_free_bytes", "1MiB").min_free_bytes, 1ULL << 20U);
  EXPECT_EQ(with("min_free_bytes", "1 GiB").min_free_bytes, 1ULL << 30U);
  EXPECT_EQ(with("min_free_bytes", "2TiB").min_free_bytes, 1ULL << 41U);
  for (const char* text : {"", "GiB", "1G", "1gib", "1.5GiB", "-1GiB", "9223372036854775808", "16777216TiB"}) {
    EXPECT_THAT(refusal("max_bytes", text), AllOf(StartsWith("max_bytes: expected bytes from 0 to 9223372036854775807"),
                                                  HasSubstr("kB, MB, GB, TB, KiB, MiB, GiB or TiB")));
  }
}

TEST(Text, BestRulesAreMetricModeAndCount) {
  EXPECT_THAT(with("keep_best", "loss:min:2, accuracy:max:1").keep_best,
              ElementsAre(BestRule{"loss", false, 2}, BestRule{"accuracy", true, 1}));
  EXPECT_THAT(with("keep_best", "val/loss").keep_best, ElementsAre(BestRule{"val/loss", false, 1}));
  EXPECT_THAT(with("keep_best", "top 1 : max").keep_best, ElementsAre(BestRule{"top 1", true, 1}));
  EXPECT_THAT(with("keep_best", "loss:min,loss:max").keep_best, testing::SizeIs(2));
  EXPECT_THAT(with("keep_best", "").keep_best, testing::IsEmpty());
  for (const char* text : {",", "loss,", ":min", "loss:lowest", "loss:min:0", "loss:min:-1", "loss:min:x",
                           "loss:min:1000001", "loss:min:1:2", "loss:2", "loss:min, loss:min:2", "l\noss"}) {
    EXPECT_THAT(refusal("keep_best", text), StartsWith("keep_best: expected a list of at most 16 different "
                                                       "<metric>[:min|max[:<count>]], such as \"loss:min:1"));
  }
  EXPECT_THAT(refusal("keep_best", "loss:min, loss:lowest:3"), HasSubstr("found \"loss:lowest:3\""));
  EXPECT_THAT(refusal("keep_best", "loss:min, loss:min:3"), HasSubstr("found \"loss:min\" twice"));
  EXPECT_THAT(refusal("keep_best", std::string(257, 'x')), HasSubstr("1 to 256 bytes"));
  EXPECT_THAT(refusal("keep_best", "\xff"), HasSubstr("UTF-8"));
}

TEST(Text, AtMostSixteenBestRules) {
  std::string text = "m0";
  for (int i = 1; i < 16; ++i) text += ",m" + std::to_string(i);
  EXPECT_THAT(with("keep_best", text).keep_best, testing::SizeIs(16));
  EXPECT_THAT(refusal("keep_best", text + ",one more"), HasSubstr("found 17 rules"));
}

TEST(Text, StepsAreIntegers) {
  EXPECT_THAT(with("keep_steps", "100,200, -3").keep_steps, ElementsAre(100, 200, -3));
  EXPECT_THAT(with("keep_steps", " ").keep_steps, testing::IsEmpty());
  for (const char* text : {"100,", "1.5", "x", "9223372036854775808", "1 2"}) {
    EXPECT_THAT(refusal("keep_steps", text), StartsWith("keep_steps: expected a list of at most 1000 integers"));
  }
  std::string text = "0";
  for (int i = 1; i < 1000; ++i) text += "," + std::to_string(i);
  EXPECT_THAT(with("keep_steps", text).keep_steps, testing::SizeIs(1000));
  EXPECT_THAT(refusal("keep_steps", text + ",1000"), HasSubstr("found 1001 steps"));
}

TEST(Text, AnUnknownWordIsRefused) {
  EXPECT_EQ(refusal("keep_lust", "1"), "keep_lust: expected a known word, found an unknown one");
}

TEST(Text, AnErrorQuotesAtMostALine) {
  const std::string message = refusal("keep_best", "loss:" + std::string(100'000, 'x'));
  EXPECT_LT(message.size(), 400U);
  EXPECT_THAT(message, testing::Not(HasSubstr("\n")));
}

TEST(Check, NamesTheFirstValueOutOfItsRange) {
  EXPECT_TRUE(check(Policy{}).ok());
  Policy policy;
  policy.keep_last = 0;
  EXPECT_EQ(check(policy).code(), Code::invalid_argument);
  EXPECT_EQ(check(policy).message(), "keep_last: expected an integer from 1 to 1000000, found 0");
  policy = {};
  policy.keep_every_steps = ~0ULL;
  EXPECT_THAT(check(policy).message(),
              StartsWith("keep_every_steps: expected an integer from 0 to 9223372036854775807"));
  policy = {};
  policy.keep_best = {{"a:b", false, 1}};
  EXPECT_THAT(check(policy).message(), HasSubstr("the metric \"a:b\""));
  policy.keep_best = {{"loss", false, 0}};
  EXPECT_THAT(check(policy).message(), HasSubstr("the count 0"));
  policy = {};
  policy.keep_steps.resize(1001);
  EXPECT_THAT(check(policy).message(), HasSubstr("found 1001 steps"));
}

}  // namespace
}  // namespace stillframe::retention
