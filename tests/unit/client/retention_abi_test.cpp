// Retention through the C ABI: pins without a daemon, and policies that are refused before one is asked.
#include <gmock/gmock.h>

#include <string>

#include "stillframe/checkpointer.hpp"
#include "stillframe/stillframe.h"
#include "support/store_fixture.hpp"

namespace stillframe::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class Pins : public testing::Test {
 protected:
  std::string address(const std::string& selector) const { return dir_.path() + "/gpt" + selector; }
  bool pinned(const std::string& name) { return store_.marks(name).value().pinned; }
  std::string text(const std::string& name) { return store::mark_text(store_, name, format::kPinnedMark).value(); }
  static std::string said(sf_code code, sf_code expected) {
    EXPECT_EQ(code, expected) << sf_last_error();
    return code == SF_OK ? "" : sf_last_error();
  }

  TempDir dir_;
  store::Store store_ = store::Store::open_or_create(env::posix_env(), dir_.path() + "/gpt").value();
};

TEST_F(Pins, AnAddressChoosesTheCheckpoint) {
  const std::string first = publish(store_, "main", 1).value().name;
  const std::string second = publish(store_, "main", 2).value().name;
  const std::string other = publish(store_, "other", 2).value().name;
  said(sf_pin(address("@1").c_str(), "the one of the paper"), SF_OK);
  EXPECT_TRUE(pinned(first) && !pinned(second) && !pinned(other));
  EXPECT_THAT(text(first), AllOf(testing::StartsWith("pinned 20"), testing::EndsWith(": the one of the paper")));
  said(sf_pin(address("").c_str(), nullptr), SF_OK);
  EXPECT_TRUE(pinned(second) && !pinned(other));
  said(sf_pin(address(":other@latest").c_str(), ""), SF_OK);
  EXPECT_TRUE(pinned(other));
  EXPECT_THAT(text(other), testing::Not(HasSubstr(": ")));
}

TEST_F(Pins, PinningTwiceReplacesTheReasonAndUnpinningTwiceIsNoError) {
  const std::string name = publish(store_, "main", 1).value().name;
  said(sf_pin(address("@1").c_str(), "old"), SF_OK);
  said(sf_pin(address("@1").c_str(), "new"), SF_OK);
  EXPECT_THAT(text(name), AllOf(HasSubstr("new"), testing::Not(HasSubstr("old"))));
  said(sf_unpin(address("@1").c_str()), SF_OK);
  EXPECT_FALSE(pinned(name));
  said(sf_unpin(address("@1").c_str()), SF_OK);
}

TEST_F(Pins, WhatIsNotThereIsSaid) {
  EXPECT_THAT(said(sf_pin(address("@latest").c_str(), ""), SF_NOT_FOUND), HasSubstr("no checkpoint"));
  SF_ASSERT_OK(publish(store_, "main", 1));
  EXPECT_THAT(said(sf_pin(address("@2").c_str(), ""), SF_NOT_FOUND), HasSubstr("2"));
  EXPECT_THAT(said(sf_unpin((address("x") + "@1").c_str()), SF_NOT_FOUND), HasSubstr("gptx"));
  EXPECT_THAT(said(sf_pin(address("@never").c_str(), ""), SF_INVALID_ARGUMENT), HasSubstr("never"));
}

TEST(RetentionOption, APolicyThatCannotBeTakenIsRefusedBeforeAnythingIsTouched) {
  const TempDir dir;
  const std::string store = dir.path() + "/gpt";
  sf_client_options options{};
  options.struct_bytes = sizeof options;
  options.store = store.c_str();
  sf_client* client = nullptr;
  for (const char* json : {"", "{", R"({"keep_last": 0})", R"({"keep_all": 1})"}) {
    options.retention_json = json;
    EXPECT_EQ(sf_client_open(&options, &client), SF_INVALID_ARGUMENT) << json;
    EXPECT_THAT(sf_last_error(), HasSubstr("the retention policy is refused: "));
  }
  CheckpointerOptions wanted;
  wanted.store = store;
  wanted.retention = Retention{.keep_last = 0};
  const auto opened = Checkpointer::open(wanted);
  EXPECT_EQ(opened.status().code(), Code::invalid_argument);
  EXPECT_THAT(opened.status().message(), HasSubstr("keep_last: expected an integer from 1"));
  EXPECT_FALSE(env::posix_env().exists(store).value());
}

}  // namespace
}  // namespace stillframe::test
