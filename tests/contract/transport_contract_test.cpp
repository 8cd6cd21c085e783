// What every Connection promises (src/transport/transport.hpp), for a listened and connected socket and for the pair.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "base/thread.hpp"
#include "transport/transport.hpp"

namespace stillframe::transport {
namespace {

using base::Deadline;
using base::UniqueFd;

using Ends = std::pair<Connection, Connection>;

Result<Ends> listened_and_connected() {
  std::string folder = (std::filesystem::temp_directory_path() / "sf-transport-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) return Status(Code::io_error, "cannot make a folder for the test");
  const auto remove = [](const std::string* path) {
    std::filesystem::remove_all(*path);
    delete path;
  };
  const std::unique_ptr<const std::string, decltype(remove)> removed_at_the_end(new std::string(folder), remove);
  SF_ASSIGN(const Listener listener, Listener::listen(folder + "/daemon.sock"));
  SF_ASSIGN(Connection client, connect(folder + "/daemon.sock", Deadline::after_ms(10'000)));
  SF_ASSIGN(Connection server, listener.try_accept());
  return Ends(std::move(client), std::move(server));
}

struct TransportUnderTest {
  std::string label;
  std::function<Result<Ends>()> make;

  friend void PrintTo(const TransportUnderTest& transport, std::ostream* out) { *out << transport.label; }
};

class TransportContract : public testing::TestWithParam<TransportUnderTest> {
 protected:
  void SetUp() override {
    auto ends = GetParam().make();
    ASSERT_TRUE(ends.ok()) << ends.status().message();
    near_ = std::move(ends->first);
    far_ = std::move(ends->second);
  }
  [[nodiscard]] static Deadline soon() { return Deadline::after_ms(30'000); }
  [[nodiscard]] static Deadline now() { return Deadline::after_ms(0); }

  static Message expect_message(const Connection& from) {
    auto received = from.receive(soon());
    EXPECT_TRUE(received.ok()) << received.status().message();
    if (!received.ok()) return {};
    EXPECT_TRUE(received->has_value()) << "the connection is closed";
    return received->has_value() ? std::move(**received) : Message{};
  }
  static void expect_closed(const Connection& connection) {
    auto received = connection.receive(soon());
    ASSERT_TRUE(received.ok()) << received.status().message();
    EXPECT_FALSE(received->has_value());
  }
  static void expect_sent(const Status& status) { EXPECT_TRUE(status.ok()) << status.message(); }

  // Two ends of a pipe: {to read, to write}.
  static std::array<UniqueFd, 2> pipe_ends() {
    std::array<int, 2> ends{-1, -1};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
    return {UniqueFd(ends[0]), UniqueFd(ends[1])};
  }
  // True when every writing end of the pipe is closed, in this process and in messages under way.
  static bool no_writer_left(const UniqueFd& reading_end) {
    pollfd polled{reading_end.get(), POLLIN, 0};
    return ::poll(&polled, 1, 0) > 0 && (polled.revents & POLLHUP) != 0;
  }
  // Past the door's own limits, as a hostile peer would.
  static void send_raw(const Connection& connection, std::size_t bytes, std::size_t descriptors, int fd) {
    std::string text(bytes, 'x');
    iovec part{text.data(), text.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 64)> control{};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (descriptors > 0) {
      header.msg_control = control.data();
      header.msg_controllen = CMSG_SPACE(sizeof(int) * descriptors);
      cmsghdr* first = CMSG_FIRSTHDR(&header);
      first->cmsg_level = SOL_SOCKET;
      first->cmsg_type = SCM_RIGHTS;
      first->cmsg_len = CMSG_LEN(sizeof(int) * descriptors);
      const std::vector<int> copies(descriptors, fd);
      std::memcpy(CMSG_DATA(first), copies.data(), sizeof(int) * descriptors);
    }
    ASSERT_EQ(::sendmsg(connection.native_handle(), &header, MSG_NOSIGNAL), static_cast<ssize_t>(bytes))
        << "errno " << errno;
  }

  Connection near_;
  Connection far_;
};

TEST_P(TransportContract, BordersBetweenMessagesAreKept) {
  expect_sent(near_.send("one", {}, soon()));
  expect_sent(near_.send(std::string_view("t\0o", 3), {}, soon()));
  expect_sent(near_.send("three", {}, soon()));
  EXPECT_EQ(expect_message(far_).text, "one");
  EXPECT_EQ(expect_message(far_).text, std::string("t\0o", 3));
  EXPECT_EQ(expect_message(far_).text, "three");
}

TEST_P(TransportContract, MessagesGoBothWays) {
  expect_sent(near_.send("ping", {}, soon()));
  expect_sent(far_.send("pong", {}, soon()));
  EXPECT_EQ(expect_message(far_).text, "ping");
  EXPECT_EQ(expect_message(near_).text, "pong");
}

TEST_P(TransportContract, TheLargestMessageArrivesWhole) {
  std::string text(kMaxMessageBytes, 'a');
  text.back() = 'z';
  expect_sent(near_.send(text, {}, soon()));
  EXPECT_EQ(expect_message(far_).text, text);
}

TEST_P(TransportContract, PassedDescriptorsArriveInOrderAndAreUsable) {
  std::array<std::array<UniqueFd, 2>, kMaxPassedDescriptors> pipes;
  std::vector<int> writing_ends;
  for (auto& pipe : pipes) {
    pipe = pipe_ends();
    writing_ends.push_back(pipe[1].get());
  }
  expect_sent(near_.send("take these", writing_ends, soon()));
  for (auto& pipe : pipes) pipe[1].reset();
  Message message = expect_message(far_);
  EXPECT_EQ(message.text, "take these");
  ASSERT_EQ(message.descriptors.size(), kMaxPassedDescriptors);
  for (std::size_t i = 0; i < kMaxPassedDescriptors; ++i) {
    const char sent = static_cast<char>('0' + i);
    char read = 0;
    ASSERT_EQ(::write(message.descriptors[i].get(), &sent, 1), 1);
    ASSERT_EQ(::read(pipes[i][0].get(), &read, 1), 1);
    EXPECT_EQ(read, sent);
  }
}

TEST_P(TransportContract, DescriptorsStayWithTheirMessage) {
  const auto pipe = pipe_ends();
  expect_sent(near_.send("without", {}, soon()));
  expect_sent(near_.send("with", std::array{pipe[1].get()}, soon()));
  expect_sent(near_.send("without again", {}, soon()));
  EXPECT_EQ(expect_message(far_).descriptors.size(), 0U);
  EXPECT_EQ(expect_message(far_).descriptors.size(), 1U);
  EXPECT_EQ(expect_message(far_).descriptors.size(), 0U);
}

TEST_P(TransportContract, EveryDescriptorIsCloseOnExecAndTheSocketsDoNotBlock) {
  const auto pipe = pipe_ends();
  expect_sent(near_.send("fd", std::array{pipe[1].get()}, soon()));
  const Message message = expect_message(far_);
  ASSERT_EQ(message.descriptors.size(), 1U);
  for (const int fd : {near_.native_handle(), far_.native_handle(), message.descriptors[0].get()}) {
    EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0) << "descriptor " << fd;
  }
  for (const int fd : {near_.native_handle(), far_.native_handle()}) {
    EXPECT_NE(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0) << "descriptor " << fd;
  }
}

TEST_P(TransportContract, WhatIsOverALimitIsRefusedAndNothingIsSent) {
  const std::string too_long(kMaxMessageBytes + 1, 'x');
  const std::vector<int> too_many(kMaxPassedDescriptors + 1, near_.native_handle());
  EXPECT_EQ(near_.send(too_long, {}, soon()).code(), Code::invalid_argument);
  EXPECT_EQ(near_.send("x", too_many, soon()).code(), Code::invalid_argument);
  EXPECT_EQ(near_.send("", {}, soon()).code(), Code::invalid_argument);
  EXPECT_EQ(near_.send("x", std::array{-1}, soon()).code(), Code::invalid_argument);
  EXPECT_EQ(far_.try_receive().status().code(), Code::deadline);
}

TEST_P(TransportContract, AnOverlongMessageOfAHostilePeerIsCorrupt) {
  ASSERT_NO_FATAL_FAILURE(send_raw(near_, kMaxMessageBytes + 1, 0, -1));
  EXPECT_EQ(far_.receive(soon()).status().code(), Code::corrupt);
}

TEST_P(TransportContract, TooManyDescriptorsOfAHostilePeerAreCorruptAndNoneLeaks) {
  auto pipe = pipe_ends();
  ASSERT_NO_FATAL_FAILURE(send_raw(near_, 1, kMaxPassedDescriptors + 3, pipe[1].get()));
  pipe[1].reset();
  EXPECT_FALSE(no_writer_left(pipe[0]));
  EXPECT_EQ(far_.receive(soon()).status().code(), Code::corrupt);
  EXPECT_TRUE(no_writer_left(pipe[0])) << "a passed descriptor is still open";
}

TEST_P(TransportContract, DescriptorsOfAnOverlongMessageDoNotLeak) {
  auto pipe = pipe_ends();
  ASSERT_NO_FATAL_FAILURE(send_raw(near_, kMaxMessageBytes + 1, 2, pipe[1].get()));
  pipe[1].reset();
  EXPECT_EQ(far_.receive(soon()).status().code(), Code::corrupt);
  EXPECT_TRUE(no_writer_left(pipe[0])) << "a passed descriptor is still open";
}

TEST_P(TransportContract, DescriptorsOfADroppedMessageAreClosed) {
  auto pipe = pipe_ends();
  expect_sent(near_.send("fd", std::array{pipe[1].get()}, soon()));
  pipe[1].reset();
  expect_message(far_);
  EXPECT_TRUE(no_writer_left(pipe[0]));
}

TEST_P(TransportContract, AClosedPeerIsTheEndOfTheStreamAfterItsLastMessage) {
  expect_sent(near_.send("last words", {}, soon()));
  near_.close();
  EXPECT_FALSE(near_.valid());
  EXPECT_EQ(expect_message(far_).text, "last words");
  expect_closed(far_);
  EXPECT_EQ(far_.send("anybody?", {}, soon()).code(), Code::unavailable);
}

TEST_P(TransportContract, AClosedPeerIsKnownBeforeItsLastMessageIsRead) {
  expect_sent(near_.send("last words", {}, soon()));
  EXPECT_FALSE(far_.peer_closed());
  near_.close();
  EXPECT_TRUE(far_.peer_closed());
  EXPECT_EQ(expect_message(far_).text, "last words");
}

TEST_P(TransportContract, APeerThatClosesWithoutReadingStillDeliversWhatItSent) {
  expect_sent(far_.send("never read", {}, soon()));
  expect_sent(near_.send("last words", {}, soon()));
  near_.close();
  EXPECT_EQ(expect_message(far_).text, "last words");
  expect_closed(far_);
}

TEST_P(TransportContract, NothingToReceiveIsADeadline) {
  EXPECT_EQ(near_.try_receive().status().code(), Code::deadline);
  EXPECT_EQ(near_.receive(now()).status().code(), Code::deadline);
  EXPECT_EQ(near_.receive(Deadline::after_ms(5)).status().code(), Code::deadline);
}

TEST_P(TransportContract, APeerThatDoesNotReadIsADeadlineAndLosesNothing) {
  constexpr std::size_t kMostTries = 10'000;
  const std::string text(64 * 1024, 'x');
  std::size_t sent = 0;
  Status refused;
  while (sent < kMostTries && refused.ok()) {
    refused = near_.send(text, {}, now());
    if (refused.ok()) ++sent;
  }
  EXPECT_EQ(refused.code(), Code::deadline) << refused.message();
  for (std::size_t i = 0; i < sent; ++i) EXPECT_EQ(expect_message(far_).text.size(), text.size()) << "message " << i;
  expect_sent(near_.send("room again", {}, soon()));
  EXPECT_EQ(expect_message(far_).text, "room again");
}

TEST_P(TransportContract, ASenderGoesOnWhenThePeerReads) {
  constexpr std::size_t kMessages = 200;
  const std::string text(64 * 1024, 'x');
  auto sender = base::Thread::start("sender", [&] {
    for (std::size_t i = 0; i < kMessages; ++i) expect_sent(near_.send(text, {}, soon()));
  });
  ASSERT_TRUE(sender.ok());
  for (std::size_t i = 0; i < kMessages; ++i)
    EXPECT_EQ(expect_message(far_).text.size(), text.size()) << "message " << i;
}

TEST_P(TransportContract, ThePeerIsThisProcess) {
  for (const Connection* end : {&near_, &far_}) {
    const auto peer = end->peer();
    ASSERT_TRUE(peer.ok()) << peer.status().message();
    EXPECT_EQ(peer->pid, ::getpid());
    EXPECT_EQ(peer->uid, ::geteuid());
    EXPECT_EQ(peer->gid, ::getegid());
  }
}

TEST_P(TransportContract, ShutdownWakesAReceiverInAnotherThread) {
  Result<std::optional<Message>> received = Status(Code::internal, "the receiver did not run");
  auto receiver = base::Thread::start("receiver", [&] {
    expect_sent(near_.send("receiving", {}, soon()));
    received = near_.receive(soon());
  });
  ASSERT_TRUE(receiver.ok());
  EXPECT_EQ(expect_message(far_).text, "receiving");
  near_.shutdown();
  receiver->join();
  ASSERT_TRUE(received.ok()) << received.status().message();
  EXPECT_FALSE(received->has_value());
  expect_closed(far_);
}

TEST_P(TransportContract, AMovedConnectionCarriesOn) {
  Connection moved = std::move(near_);
  expect_sent(moved.send("still here", {}, soon()));
  EXPECT_EQ(expect_message(far_).text, "still here");
}

INSTANTIATE_TEST_SUITE_P(All, TransportContract,
                         testing::Values(TransportUnderTest{"Listened", listened_and_connected},
                                         TransportUnderTest{"Pair", connected_pair}),
                         [](const auto& test) { return test.param.label; });

}  // namespace
}  // namespace stillframe::transport
