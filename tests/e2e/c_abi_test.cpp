// The C ABI against a real daemon: tickets that outlive their client, older callers, forked children.
#include <sys/wait.h>

#include <cstddef>
#include <cstring>

#include "e2e/rig.hpp"
#include "stillframe/stillframe.h"

namespace stillframe::test {
namespace {

class CAbiWithDaemon : public DaemonTest {
 protected:
  ~CAbiWithDaemon() override {
    sf_ticket_destroy(ticket_);
    sf_plan_destroy(plan_);
    sf_client_destroy(client_);
  }
  void open_client() {
    start_daemon();
    const std::string socket_path = socket();
    const std::string store = store_path();
    sf_client_options options{};
    options.struct_bytes = sizeof options;
    options.store = store.c_str();
    options.socket = socket_path.c_str();
    ASSERT_EQ(sf_client_open(&options, &client_), SF_OK) << sf_last_error();
  }
  void make_plan() {
    const std::uint64_t shape[] = {kFloats};
    const sf_entry entry{"values", "F32", shape, 1, SF_ENTRY_GUARDED, SF_HOST};
    ASSERT_EQ(sf_plan_create(client_, &entry, 1, kPatienceMs, &plan_), SF_OK) << sf_last_error();
  }
  void snapshot(std::int64_t step) {
    state_.set(step);
    const void* data[] = {state_.values.data()};
    sf_snapshot_request request{};
    request.struct_bytes = sizeof request;
    request.step = step;
    request.data = data;
    ASSERT_EQ(sf_snapshot(plan_, &request, &ticket_), SF_OK) << sf_last_error();
    ASSERT_EQ(sf_fence(client_, nullptr, 0, 0), SF_OK) << sf_last_error();
  }
  // The exit status of a forked child that makes one call: 100 plus its code.
  template <typename Call>
  static int in_a_child(const Call& call) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(20);  // a child that hangs is a failure, not a hanging test
      ::_exit(100 + call());
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  State state_;
  sf_client* client_ = nullptr;
  sf_plan* plan_ = nullptr;
  sf_ticket* ticket_ = nullptr;
};

TEST_F(CAbiWithDaemon, ATicketOutlivesItsClient) {
  open_client();
  make_plan();
  snapshot(3);
  ASSERT_EQ(sf_ticket_wait(ticket_, SF_STATE_VERIFIED, kPatienceMs), SF_OK) << sf_last_error();
  ASSERT_EQ(sf_client_close(client_, kPatienceMs), SF_OK) << sf_last_error();
  sf_plan_destroy(plan_);
  plan_ = nullptr;
  sf_client_destroy(client_);
  client_ = nullptr;
  sf_ticket_info info{};
  info.struct_bytes = sizeof info;
  ASSERT_EQ(sf_ticket_get(ticket_, &info), SF_OK);
  EXPECT_EQ(info.state, SF_STATE_VERIFIED);
  EXPECT_EQ(info.step, 3);
  EXPECT_NE(std::strlen(info.name), 0U);
  EXPECT_EQ(sf_ticket_wait(ticket_, SF_STATE_VERIFIED, 0), SF_OK);
  EXPECT_EQ(sf_ticket_withdraw(ticket_, "too late"), SF_UNAVAILABLE);
}

TEST_F(CAbiWithDaemon, NullsInsideValidCallsAreRefused) {
  open_client();
  const char* text = nullptr;
  sf_plan* plan = nullptr;
  const std::uint64_t shape[] = {kFloats};
  EXPECT_EQ(sf_client_status(client_, nullptr), SF_INVALID_ARGUMENT);
  EXPECT_EQ(sf_client_next_warning(client_, nullptr), SF_INVALID_ARGUMENT);
  EXPECT_EQ(sf_plan_create(client_, nullptr, 1, 1000, &plan), SF_INVALID_ARGUMENT);
  for (const sf_entry& entry : {sf_entry{nullptr, "F32", shape, 1, 0, SF_HOST}, sf_entry{"a", nullptr, shape, 1, 0, SF_HOST},
                                sf_entry{"a", "F32", nullptr, 1, 0, SF_HOST},
                                sf_entry{"a", "F32", shape, 1, 0, -2}}) {
    EXPECT_EQ(sf_plan_create(client_, &entry, 1, 1000, &plan), SF_INVALID_ARGUMENT);
  }
  make_plan();
  EXPECT_EQ(sf_plan_describe(plan_, nullptr), SF_INVALID_ARGUMENT);
  EXPECT_EQ(sf_plan_describe(plan_, &text), SF_OK);
  sf_snapshot_request request{};
  request.struct_bytes = sizeof request;
  EXPECT_EQ(sf_snapshot(plan_, &request, &ticket_), SF_INVALID_ARGUMENT);
  const void* data[] = {nullptr};
  request.data = data;
  EXPECT_EQ(sf_snapshot(plan_, &request, &ticket_), SF_INVALID_ARGUMENT);
  EXPECT_EQ(sf_snapshot(plan_, &request, nullptr), SF_INVALID_ARGUMENT);
  snapshot(1);
  EXPECT_EQ(sf_ticket_get(ticket_, nullptr), SF_INVALID_ARGUMENT);
  EXPECT_EQ(sf_ticket_wait(ticket_, SF_STATE_FAILED, 0), SF_INVALID_ARGUMENT);
}

TEST_F(CAbiWithDaemon, AnOlderCallersStructsAreNeitherReadNorWrittenBeyondTheirEnd) {
  open_client();
  make_plan();
  snapshot(3);
  sf_ticket_info info;
  std::memset(&info, 0x5a, sizeof info);
  info.struct_bytes = offsetof(sf_ticket_info, sequence);
  ASSERT_EQ(sf_ticket_get(ticket_, &info), SF_OK);
  EXPECT_EQ(info.step, 3);
  EXPECT_EQ(info.struct_bytes, offsetof(sf_ticket_info, sequence));
  EXPECT_EQ(info.sequence, 0x5a5a5a5a5a5a5a5aULL);
  EXPECT_EQ(info.raw_bytes, 0x5a5a5a5a5a5a5a5aULL);
}

TEST_F(CAbiWithDaemon, EveryCallInAForkedChildIsUnavailableAndTheParentGoesOn) {
  open_client();
  make_plan();
  snapshot(3);
  constexpr int kUnavailable = 100 + SF_UNAVAILABLE;
  const char* text = nullptr;
  sf_ticket_info info{};
  info.struct_bytes = sizeof info;
  const void* data[] = {state_.values.data()};
  sf_snapshot_request request{};
  request.struct_bytes = sizeof request;
  request.data = data;
  sf_ticket* ticket = nullptr;
  sf_plan* plan = nullptr;
  EXPECT_EQ(in_a_child([&] { return sf_client_settle(client_, 1000); }), kUnavailable);
  EXPECT_EQ(in_a_child([&] { return sf_client_close(client_, 1000); }), kUnavailable);
  EXPECT_EQ(in_a_child([&] { return sf_client_status(client_, &text); }), kUnavailable);
  EXPECT_EQ(in_a_child([&] { return sf_client_next_warning(client_, &text); }), kUnavailable);
  EXPECT_EQ(in_a_child([&] { return sf_plan_create(client_, nullptr, 0, 1000, &plan); }), kUnavailable);
  EXPECT_EQ(in_a_child([&] { return sf_plan_describe(plan_, &text); }), kUnavailable);
  EXPECT_EQ(in_a_child([&] { return sf_snapshot(plan_, &request, &ticket); }), kUnavailable);
  EXPECT_EQ(in_a_child([&] { return sf_fence(client_, nullptr, 0, 1000); }), kUnavailable);
  EXPECT_EQ(in_a_child([&] { return sf_ticket_get(ticket_, &info); }), kUnavailable);
  EXPECT_EQ(in_a_child([&] { return sf_ticket_wait(ticket_, SF_STATE_VERIFIED, 1000); }), kUnavailable);
  EXPECT_EQ(in_a_child([&] { return sf_ticket_withdraw(ticket_, "x"); }), kUnavailable);
  EXPECT_EQ(in_a_child([&] {
              sf_ticket_destroy(ticket_);
              sf_plan_destroy(plan_);
              sf_client_destroy(client_);
              return 0;
            }),
            100);
  ASSERT_EQ(sf_ticket_wait(ticket_, SF_STATE_VERIFIED, kPatienceMs), SF_OK) << sf_last_error();
  EXPECT_EQ(sf_client_close(client_, kPatienceMs), SF_OK) << sf_last_error();
}

TEST_F(CAbiWithDaemon, AWithdrawnTicketIsTornAndItsCheckpointNeverCounts) {
  open_client();
  make_plan();
  snapshot(3);
  ASSERT_EQ(sf_ticket_wait(ticket_, SF_STATE_CAPTURED, kPatienceMs), SF_OK) << sf_last_error();
  ASSERT_EQ(sf_ticket_withdraw(ticket_, "weight moved"), SF_OK);
  sf_ticket_info info{};
  info.struct_bytes = sizeof info;
  ASSERT_EQ(sf_ticket_get(ticket_, &info), SF_OK);
  EXPECT_EQ(info.state, SF_STATE_ABANDONED);
  EXPECT_NE(std::string(info.error).find("weight moved"), std::string::npos);
  EXPECT_EQ(sf_ticket_wait(ticket_, SF_STATE_VERIFIED, kPatienceMs), SF_CORRUPT);
}

}  // namespace
}  // namespace stillframe::test
