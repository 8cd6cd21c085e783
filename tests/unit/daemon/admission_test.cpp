// Whom a daemon serves, and how its configuration says it.
#include "daemon/admission.hpp"

#include <gmock/gmock.h>

#include "daemon/config.hpp"

namespace stillframe::daemon {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;

TEST(Admission, ItsOwnUserAndRootAreServedWhateverIsAllowed) {
  for (const std::vector<uid_t>& allowed : {std::vector<uid_t>{}, std::vector<uid_t>{1001}}) {
    EXPECT_TRUE(may_use(1000, allowed, 1000).ok());
    EXPECT_TRUE(may_use(1000, allowed, 0).ok());
  }
}

TEST(Admission, AnotherUserIsServedOnlyWhenAllowedAndElseToldWhichKeyWouldAllowIt) {
  EXPECT_TRUE(may_use(1000, {1001, 1002}, 1002).ok());
  for (const std::vector<uid_t>& allowed : {std::vector<uid_t>{}, std::vector<uid_t>{1001}}) {
    const Status refused = may_use(1000, allowed, 1003);
    EXPECT_EQ(refused.code(), Code::invalid_argument);
    EXPECT_THAT(refused.message(),
                AllOf(HasSubstr("user 1003"), HasSubstr("user 1000"), HasSubstr("daemon.allowed_uids")));
  }
  EXPECT_FALSE(may_use(0, {}, 1000).ok()) << "a daemon of root serves nobody else unasked";
}

TEST(Admission, TheKeyTakesAListInTheFileAndTextOnTheCommandLine) {
  const auto listed = parse_config("[daemon]\nallowed_uids = [1000, 4_294_967_294]\n", "d.toml");
  ASSERT_TRUE(listed.ok()) << listed.status().message();
  EXPECT_THAT(listed->allowed_uids, ElementsAre(1000, 4294967294U));
  Config config;
  ASSERT_TRUE(set_config_key(config, "daemon.allowed_uids", "1000,1001 , 0").ok());
  EXPECT_THAT(config.allowed_uids, ElementsAre(1000, 1001, 0));
  ASSERT_TRUE(set_config_key(config, "daemon.allowed_uids", "").ok());
  EXPECT_TRUE(config.allowed_uids.empty());
}

TEST(Admission, WhatIsNoUserIdIsRefusedAndSaid) {
  constexpr const char* kKey =
      "d.toml:2: daemon.allowed_uids: expected a list of at most 64 user ids, each a whole number";
  const auto refused = [](const std::string& value) {
    const auto parsed = parse_config("[daemon]\nallowed_uids = " + value + "\n", "d.toml");
    return parsed.ok() ? std::string("taken") : parsed.status().message();
  };
  EXPECT_THAT(refused("[-1]"), AllOf(HasSubstr(kKey), EndsWith("found \"-1\"")));
  EXPECT_THAT(refused("[1000, 4294967295]"), EndsWith("found \"4294967295\""));
  EXPECT_THAT(refused("[\"alice\"]"), EndsWith("found \"alice\""));
  EXPECT_THAT(refused("[1000.5]"), AllOf(HasSubstr(kKey), EndsWith("found a value of type array")));
  EXPECT_THAT(refused("\"1000,,1001\""), EndsWith("found \"\""));
  EXPECT_THAT(refused("true"), EndsWith("found a value of type boolean"));
  std::string many = "1";
  for (std::size_t i = 1; i < kMostAllowedUids; ++i) many += ", 1";
  EXPECT_EQ(refused("[" + many + "]"), "taken");
  EXPECT_THAT(refused("[" + many + ", 1]"), EndsWith("found more of them"));
  Config config;
  EXPECT_THAT(set_config_key(config, "daemon.allowed_uids", "1000,x").message(),
              AllOf(HasSubstr("--daemon-allowed-uids: expected"), EndsWith("found \"x\"")));
  EXPECT_TRUE(config.allowed_uids.empty()) << "nothing was changed";
}

}  // namespace
}  // namespace stillframe::daemon
