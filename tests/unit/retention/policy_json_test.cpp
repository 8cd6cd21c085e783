// The policy as JSON: it comes back as it went, and nothing else is taken for one.
#include <gmock/gmock.h>

#include <random>
#include <utility>

#include "retention/policy.hpp"

namespace stillframe::retention {
namespace {

using testing::HasSubstr;

Policy every_word_set() {
  Policy policy;
  policy.keep_last = 5;
  policy.keep_best = {{"loss", false, 2}, {"acc \"top\\1\" \xc3\xa9", true, 1}};
  policy.keep_every_steps = 1000;
  policy.keep_every_seconds = 3600;
  policy.keep_for_seconds = 86'400;
  policy.keep_steps = {-1, 0, 9'000'000'000};
  policy.max_bytes = 1ULL << 40U;
  policy.min_free_bytes = 0;
  policy.min_verified = 2;
  return policy;
}

std::string refusal(const std::string& json) {
  const auto read = policy_from_json(json);
  EXPECT_FALSE(read.ok()) << json;
  EXPECT_EQ(read.status().code(), Code::invalid_argument);
  EXPECT_THAT(read.status().message(), HasSubstr("the retention policy is refused: "));
  return read.status().message();
}

TEST(Json, IsCanonicalWithEveryWordInItsOrder) {
  EXPECT_EQ(policy_to_json(Policy{}),
            R"({"keep_last":3,"keep_best":[],"keep_every_steps":0,"keep_every_seconds":0,"keep_for_seconds":0,)"
            R"("keep_steps":[],"max_bytes":0,"min_free_bytes":67108864,"min_verified":1})");
  Policy policy;
  policy.keep_best = {{"loss", true, 2}};
  policy.keep_steps = {-5, 7};
  EXPECT_THAT(policy_to_json(policy), HasSubstr(R"("keep_best":[{"metric":"loss","mode":"max","count":2}])"));
  EXPECT_THAT(policy_to_json(policy), HasSubstr(R"("keep_steps":[-5,7])"));
}

TEST(Json, ComesBackAsItWent) {
  for (const Policy& policy : {Policy{}, every_word_set()}) {
    const auto back = policy_from_json(policy_to_json(policy));
    ASSERT_TRUE(back.ok()) << back.status().message();
    EXPECT_EQ(*back, policy);
  }
}

TEST(Json, TheLargestPolicyFits) {
  Policy policy;
  for (int i = 0; i < 16; ++i)
    policy.keep_best.push_back({std::string(254, '"') + std::to_string(10 + i), true, 1'000'000});
  policy.keep_steps.assign(1000, INT64_MIN);
  ASSERT_TRUE(check(policy).ok());
  const auto back = policy_from_json(policy_to_json(policy));
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(*back, policy);
}

TEST(Json, AWordLeftOutHasItsDefault) {
  const auto read = policy_from_json(R"({"keep_last": 7})");
  ASSERT_TRUE(read.ok());
  Policy expected;
  expected.keep_last = 7;
  EXPECT_EQ(*read, expected);
  EXPECT_EQ(*policy_from_json("{}"), Policy{});
}

TEST(Json, WhatIsNoPolicyIsRefused) {
  for (const char* json :
       {"", "null", "[]", "3", "{", R"({"keep_last":3}x)", R"({"keep_last":3,"keep_last":4})",
        R"({"keep_best":[{"metric":"a","metric":"b","mode":"min","count":1}]})", "{\"keep_last\":3}\xff"}) {
    EXPECT_THAT(refusal(json), HasSubstr("not one JSON object"));
  }
  EXPECT_THAT(refusal(std::string("{}\0{}", 5)), HasSubstr("not one JSON object"));
  EXPECT_THAT(refusal(R"({"keep_lust":3})"), HasSubstr("expected a known word, found \"keep_lust\""));
}

TEST(Json, AnIllValueNamesItsWord) {
  EXPECT_THAT(refusal(R"({"keep_last":0})"), HasSubstr("keep_last: expected an integer from 1 to 1000000, found 0"));
  EXPECT_THAT(refusal(R"({"keep_last":-1})"), HasSubstr("found -1"));
  EXPECT_THAT(refusal(R"({"keep_last":3.0})"), HasSubstr("keep_last: "));
  EXPECT_THAT(refusal(R"({"keep_last":"3"})"), HasSubstr("found \"3\""));
  EXPECT_THAT(refusal(R"({"keep_last":null})"), HasSubstr("found \"null\""));
  EXPECT_THAT(refusal(R"({"keep_last":[3]})"), HasSubstr("found a value of type array"));
  EXPECT_THAT(refusal(R"({"max_bytes":18446744073709551616})"), HasSubstr("max_bytes: "));
  EXPECT_THAT(refusal(R"({"max_bytes":"1GiB"})"), HasSubstr("max_bytes: "));
  EXPECT_THAT(refusal(R"({"keep_best":{}})"), HasSubstr("keep_best: "));
  EXPECT_THAT(refusal(R"({"keep_best":["loss:min:1"]})"), HasSubstr("keep_best: "));
  EXPECT_THAT(refusal(R"({"keep_steps":7})"), HasSubstr("keep_steps: "));
  EXPECT_THAT(refusal(R"({"keep_steps":[1.5]})"), HasSubstr("found \"1.5\""));
  EXPECT_THAT(refusal(R"({"keep_steps":[9223372036854775808]})"), HasSubstr("keep_steps: "));
}

TEST(Json, ABestRuleHasItsThreeMembersAndNoOther) {
  for (const char* rule :
       {R"({})", R"({"metric":"a","mode":"min"})", R"({"metric":"a","mode":"min","count":1,"more":1})",
        R"({"metric":1,"mode":"min","count":1})", R"({"metric":"a","mode":"low","count":1})",
        R"({"metric":"a","mode":"min","count":0})", R"({"metric":"a","mode":"min","count":-1})",
        R"({"metric":"a","mode":"min","count":4294967297})", R"({"metric":"","mode":"min","count":1})",
        R"({"metric":"a,b","mode":"min","count":1})", R"({"metric":"a\u0000b","mode":"min","count":1})"}) {
    EXPECT_THAT(refusal(std::string(R"({"keep_best":[)") + rule + "]}"), HasSubstr("keep_best: ")) << rule;
  }
}

// Found by the address sanitizer: quoting the value in the error walked it with a stack as deep as its nesting.
TEST(Json, DeepNestingIsNeverBuilt) {
  for (const std::string word : {"keep_best", "keep_last", "keep_lust"}) {
    for (const auto& [open, close] : {std::pair("[", "]"), std::pair("{\"a\":", "}")}) {
      std::string text = "{\"" + word + "\":[";
      for (int i = 0; i < 10'000; ++i) text += open;
      text += "1";
      for (int i = 0; i < 10'000; ++i) text += close;
      EXPECT_THAT(refusal(text + "]}"), HasSubstr("not one JSON object"));
    }
  }
}

TEST(Json, HostileSizesAreRefusedAndQuotedShortly) {
  EXPECT_THAT(refusal(std::string(64 * 1024 + 1, ' ')), HasSubstr("more than 65536 bytes"));
  EXPECT_LT(refusal(std::string(60'000, '[')).size(), 400U);
  EXPECT_LT(refusal(R"({"keep_best":)" + std::string(30'000, '[') + std::string(30'000, ']') + "}").size(), 400U);
  std::string steps = R"({"keep_steps":[0)";
  for (int i = 0; i < 1000; ++i) steps += ",0";
  EXPECT_THAT(refusal(steps + "]}"), HasSubstr("found 1001 steps"));
}

TEST(Json, AnyTextWithAByteChangedIsTakenWholeOrRefused) {
  const std::string good = policy_to_json(every_word_set());
  std::mt19937 random(1);
  for (int round = 0; round < 20'000; ++round) {
    std::string text = good;
    for (auto changes = 1 + random() % 3; changes > 0; --changes) {
      text[random() % text.size()] = static_cast<char>(random() % 256);
    }
    const auto read = policy_from_json(text);
    EXPECT_TRUE(!read.ok() || check(*read).ok()) << text;
  }
}

}  // namespace
}  // namespace stillframe::retention
