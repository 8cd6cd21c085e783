// The C ABI without a daemon: a NULL is an answer, never a crash.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "stillframe/stillframe.h"
#include "support/temp_dir.hpp"

namespace stillframe::test {
namespace {

class CAbi : public testing::Test {
 protected:
  static void expect_refused(sf_code code) {
    EXPECT_EQ(code, SF_INVALID_ARGUMENT);
    EXPECT_NE(std::strlen(sf_last_error()), 0U);
  }
};

TEST_F(CAbi, EveryFunctionRefusesNullHandles) {
  sf_client_options options{};
  options.struct_bytes = sizeof options;
  sf_client* client = nullptr;
  sf_plan* plan = nullptr;
  sf_ticket* ticket = nullptr;
  sf_reader* reader = nullptr;
  const char* text = nullptr;
  sf_snapshot_request request{};
  request.struct_bytes = sizeof request;
  sf_ticket_info info{};
  info.struct_bytes = sizeof info;
  sf_look* look = nullptr;
  std::int32_t fits = 0;
  int tuple = 0;
  expect_refused(sf_look_create(nullptr, &tuple, 0, &look));
  expect_refused(sf_look_fits(nullptr, &tuple, 0, &fits));
  sf_look_destroy(nullptr);
  expect_refused(sf_client_open(nullptr, &client));
  expect_refused(sf_client_open(&options, nullptr));
  expect_refused(sf_client_settle(nullptr, 0));
  expect_refused(sf_client_close(nullptr, 0));
  expect_refused(sf_client_status(nullptr, &text));
  expect_refused(sf_client_next_warning(nullptr, &text));
  expect_refused(sf_client_set_block_seconds(nullptr, 1));
  expect_refused(sf_client_reserve(nullptr, 1, 1, SF_HOST, 0));
  expect_refused(sf_client_reserve_behind(nullptr, 1, 1, SF_HOST));
  expect_refused(sf_plan_create(nullptr, nullptr, 0, 0, &plan));
  expect_refused(sf_plan_describe(nullptr, &text));
  expect_refused(sf_snapshot(nullptr, &request, &ticket));
  expect_refused(sf_fence(nullptr, nullptr, 0, 0));
  expect_refused(sf_wait_copied(nullptr, nullptr, 0, 0));
  expect_refused(sf_place(nullptr, nullptr, nullptr, 0, 0));
  expect_refused(sf_ticket_get(nullptr, &info));
  EXPECT_EQ(sf_ticket_state(nullptr), -1);
  expect_refused(sf_ticket_wait(nullptr, SF_STATE_DURABLE, 0));
  expect_refused(sf_ticket_withdraw(nullptr, "x"));
  expect_refused(sf_reader_open(nullptr, &reader));
  expect_refused(sf_reader_open("x", nullptr));
  expect_refused(sf_reader_next(nullptr, "x"));
  expect_refused(sf_reader_manifest(nullptr, &text));
  expect_refused(sf_reader_name(nullptr, &text));
  expect_refused(sf_reader_skipped(nullptr, &text));
  expect_refused(sf_reader_read(nullptr, 0, nullptr, 0, 0));
  expect_refused(sf_pin(nullptr, "x"));
  expect_refused(sf_unpin(nullptr));
  sf_client_destroy(nullptr);
  sf_plan_destroy(nullptr);
  sf_ticket_destroy(nullptr);
  sf_reader_destroy(nullptr);
}

TEST_F(CAbi, AStoreThatIsNotGivenIsAnErrorWithWords) {
  sf_client_options options{};
  options.struct_bytes = sizeof options;
  sf_client* client = nullptr;
  expect_refused(sf_client_open(&options, &client));
  EXPECT_NE(std::string(sf_last_error()).find("store"), std::string::npos);
  options.store = "somewhere";
  options.rank = -1;
  expect_refused(sf_client_open(&options, &client));
  EXPECT_EQ(client, nullptr);
}

TEST_F(CAbi, FieldsThatAnOlderCallerDoesNotKnowAreNotRead) {
  sf_client_options options{};
  std::memset(&options, 0xff, sizeof options);
  options.struct_bytes = sizeof(std::uint32_t);  // knows no field at all: the store is not given
  sf_client* client = nullptr;
  expect_refused(sf_client_open(&options, &client));
  EXPECT_NE(std::string(sf_last_error()).find("store is empty"), std::string::npos);
}

TEST_F(CAbi, AnEmptyStoreHasNothingToRead) {
  const TempDir dir;
  sf_reader* reader = nullptr;
  EXPECT_EQ(sf_reader_open(dir.path().c_str(), &reader), SF_NOT_FOUND);
  EXPECT_EQ(reader, nullptr);
}

TEST_F(CAbi, TheVersionIsThatOfTheHeader) {
  EXPECT_EQ(sf_abi_version(), SF_ABI_VERSION);
  EXPECT_STREQ(sf_version(), "0.1.0");
}

TEST_F(CAbi, MoreCopyThreadsThanThereMayBeAreRefusedWithTheLimit) {
  sf_client_options options{};
  options.struct_bytes = sizeof options;
  const TempDir dir;
  const std::string store = dir.path() + "/store";
  options.store = store.c_str();
  options.copy_threads = 17;
  sf_client* client = nullptr;
  expect_refused(sf_client_open(&options, &client));
  EXPECT_NE(std::string(sf_last_error()).find("copy_threads is 1 to 16, not 17"), std::string::npos) << sf_last_error();
  EXPECT_EQ(client, nullptr);
}

// A field that began in the padding at the end of the structure before it would be read from an older caller's stack.
TEST_F(CAbi, WhatLiesBehindAnOlderCallersOptionsIsNotRead) {
  constexpr std::size_t kOlderBytes = 144;  // up to capture_check, and padding
  static_assert(offsetof(sf_client_options, capture_check) + sizeof(int32_t) <= kOlderBytes);
  static_assert(offsetof(sf_client_options, copy_threads) >= kOlderBytes);
  sf_client_options options{};
  options.struct_bytes = kOlderBytes;
  options.capture_check = 99;
  options.copy_threads = 17;
  sf_client* client = nullptr;
  expect_refused(sf_client_open(&options, &client));
  EXPECT_EQ(std::string(sf_last_error()).find("copy_threads"), std::string::npos) << sf_last_error();
}

}  // namespace
}  // namespace stillframe::test
