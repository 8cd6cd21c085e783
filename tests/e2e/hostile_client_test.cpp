// Clients that send nonsense, say nothing, or never read: the others are served.
#include <sys/socket.h>

#include "e2e/rig.hpp"
#include "protocol/messages.hpp"

namespace stillframe::test {
namespace {

using testing::HasSubstr;

class HostileClient : public DaemonTest {
 protected:
  [[nodiscard]] transport::Connection raw() const {
    auto connected = transport::connect(socket(), base::Deadline::after_ms(5000));
    EXPECT_TRUE(connected.ok()) << message_of(connected);
    return connected.ok() ? std::move(connected).value() : transport::Connection();
  }
  void expect_a_trainer_is_served() {
    State state;
    auto checkpointer = open(state, "good");
    SF_ASSERT_OK(checkpointer);
    const auto ticket = checkpointer->snapshot(1);
    SF_ASSERT_OK(ticket);
    SF_ASSERT_OK(checkpointer->fence());
    SF_ASSERT_OK(ticket->wait_verified(kPatienceMs));
    SF_ASSERT_OK(checkpointer->close(kPatienceMs));
  }
  [[nodiscard]] static protocol::Hello hello(const std::string& store) {
    protocol::Hello hello;
    hello.client_version = "0";
    hello.store = store;
    hello.run = "main";
    hello.group = "default";
    hello.pid = ::getpid();
    return hello;
  }
};

TEST_F(HostileClient, NonsenseIsAnsweredOrTheClientDroppedAndTheDaemonGoesOn) {
  start_daemon();
  const std::string valid = protocol::encode(hello(store_path()));
  const std::vector<std::string> nonsense{"x",
                                          "{}",
                                          "null",
                                          "[[[[[[[[",
                                          R"({"type": "welcome"})",
                                          R"({"type": "hello", "protocol": 99})",
                                          valid.substr(0, 40),
                                          valid,
                                          protocol::encode(protocol::Settle{}),
                                          protocol::encode(protocol::Bye{}),
                                          protocol::encode(protocol::ArenaRequest{~0ULL, ~0ULL}),
                                          std::string(100'000, '{'),
                                          std::string(300, '\0')};
  for (const std::string& text : nonsense) {
    const auto connection = raw();
    SF_ASSERT_OK(connection.send(text, {}, base::Deadline::after_ms(1000)));
    const auto answer = connection.receive(base::Deadline::after_ms(5000));
    ASSERT_TRUE(answer.ok()) << text.substr(0, 40) << ": " << message_of(answer);
    if (!answer->has_value()) continue;
    const auto message = protocol::decode((*answer)->text);
    SF_ASSERT_OK(message);
    EXPECT_TRUE(std::holds_alternative<protocol::Failure>(*message)) << text.substr(0, 40);
  }
  expect_a_trainer_is_served();
}

TEST_F(HostileClient, AMessageLongerThanTheLimitDropsItsSenderOnly) {
  start_daemon();
  const auto connection = raw();
  const std::string tall(transport::kMaxMessageBytes + 1000, ' ');
  ASSERT_GT(::send(connection.native_handle(), tall.data(), tall.size(), MSG_NOSIGNAL), 0);
  const auto answer = connection.receive(base::Deadline::after_ms(5000));
  EXPECT_TRUE(!answer.ok() || !answer->has_value()) << "it is hung up on";
  expect_a_trainer_is_served();
}

TEST_F(HostileClient, AHelloWithSomethingElseThanAnArenaIsRefused) {
  start_daemon();
  const auto connection = raw();
  auto adopting = hello(store_path());
  adopting.adopt = true;
  const auto pidfd = transport::open_pidfd(::getpid());
  SF_ASSERT_OK(pidfd);
  const std::vector<int> descriptors{pidfd->get(), pidfd->get()};
  SF_ASSERT_OK(connection.send(protocol::encode(adopting), descriptors, base::Deadline::after_ms(1000)));
  const auto answer = connection.receive(base::Deadline::after_ms(5000));
  SF_ASSERT_OK(answer);
  ASSERT_TRUE(answer->has_value());
  const auto message = protocol::decode((*answer)->text);
  SF_ASSERT_OK(message);
  ASSERT_TRUE(std::holds_alternative<protocol::Failure>(*message));
  State state;
  SF_ASSERT_OK(open(state));  // the run was not left locked by it
}

TEST_F(HostileClient, WhoSaysNothingHoldsNobodyUp) {
  start_daemon();
  std::vector<transport::Connection> silent;
  for (int i = 0; i < 20; ++i) silent.push_back(raw());
  expect_a_trainer_is_served();
}

TEST_F(HostileClient, WhoNeverReadsHoldsNobodyUp) {
  start_daemon();
  const auto deaf = raw();
  const std::string question = protocol::encode(protocol::StatusRequest{});
  // As many questions as the daemon takes without an answer being read.
  for (int i = 0; i < 5000; ++i) {
    if (!deaf.send(question, {}, base::Deadline::after_ms(20)).ok()) break;
  }
  const auto from = base::system_clock().monotonic_ns();
  EXPECT_TRUE(daemon_answers());
  expect_a_trainer_is_served();
  EXPECT_LT(base::system_clock().monotonic_ns() - from, 20'000'000'000);
}

TEST_F(HostileClient, OneMoreThanTheLimitIsTurnedAwayAndTheOthersKeepTheirPlaces) {
  start_daemon({"daemon.max_clients=2"});
  const auto first = raw();
  const auto second = raw();
  for (const auto* one : {&first, &second}) {
    SF_ASSERT_OK(one->send(protocol::encode(protocol::StatusRequest{}), {}, base::Deadline::after_ms(1000)));
    SF_ASSERT_OK(one->receive(base::Deadline::after_ms(5000)));
  }
  const auto third = raw();
  const auto answer = third.receive(base::Deadline::after_ms(5000));
  SF_ASSERT_OK(answer);
  ASSERT_TRUE(answer->has_value());
  EXPECT_THAT((*answer)->text, HasSubstr("daemon.max_clients"));
  SF_ASSERT_OK(first.send(protocol::encode(protocol::StatusRequest{}), {}, base::Deadline::after_ms(1000)));
  SF_ASSERT_OK(first.receive(base::Deadline::after_ms(5000)));
}

TEST_F(HostileClient, APlaceIsFreeAgainOnceItsClientHasLeft) {
  start_daemon({"daemon.max_clients=1"});
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(wait_until([&] { return static_cast<bool>(daemon_answers()); }, 5000)) << i;
  }
}

}  // namespace
}  // namespace stillframe::test
