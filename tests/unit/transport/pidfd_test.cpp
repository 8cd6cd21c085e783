#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

#include "transport/transport.hpp"

namespace stillframe::transport {
namespace {

using base::UniqueFd;

constexpr int kLongestWaitMs = 30'000;

struct Pipe {
  UniqueFd to_read;
  UniqueFd to_write;
};

Pipe open_pipe() {
  std::array<int, 2> ends{-1, -1};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// In a child: returns when the parent has closed its end. Async-signal-safe, as all that runs between fork and _exit.
void wait_for_end_of(const UniqueFd& to_read) {
  char byte = 0;
  while (::read(to_read.get(), &byte, 1) > 0) {
  }
}

bool becomes_readable(int fd) {
  pollfd polled{fd, POLLIN, 0};
  return ::poll(&polled, 1, kLongestWaitMs) == 1 && (polled.revents & POLLIN) != 0;
}

TEST(Pidfd, ALivingProcessHasNotEnded) {
  const auto self = open_pidfd(::getpid());
  ASSERT_TRUE(self.ok()) << self.status().message();
  EXPECT_FALSE(process_ended(self->get()));
  EXPECT_NE(::fcntl(self->get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(Pidfd, AnEndedChildIsSeenWhileItIsAZombie) {
  Pipe life = open_pipe();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    life.to_write.reset();
    wait_for_end_of(life.to_read);
    ::_exit(0);
  }
  const auto pidfd = open_pidfd(child);
  ASSERT_TRUE(pidfd.ok()) << pidfd.status().message();
  EXPECT_FALSE(process_ended(pidfd->get()));
  life.to_write.reset();
  EXPECT_TRUE(becomes_readable(pidfd->get()));
  EXPECT_TRUE(process_ended(pidfd->get()));
  EXPECT_EQ(::waitpid(child, nullptr, 0), child) << "the child was a zombie until here";
  EXPECT_TRUE(process_ended(pidfd->get())) << "and has ended still once it was reaped";
}

// A DataLoader worker forked from the trainer keeps the trainer's socket open: the end of the stream does not come.
TEST(Pidfd, AnEndedTrainerIsSeenWhileItsForkedWorkerHoldsTheSocketOpen) {
  auto ends = connected_pair();
  ASSERT_TRUE(ends.ok());
  auto& [daemon, trainer] = *ends;
  Pipe worker_life = open_pipe();
  Pipe trainer_life = open_pipe();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    worker_life.to_write.reset();
    trainer_life.to_write.reset();
    if (::fork() == 0) {
      trainer_life.to_read.reset();
      wait_for_end_of(worker_life.to_read);
      ::_exit(0);
    }
    wait_for_end_of(trainer_life.to_read);
    ::_exit(0);
  }
  trainer.close();
  const auto pidfd = open_pidfd(child);
  ASSERT_TRUE(pidfd.ok()) << pidfd.status().message();
  EXPECT_FALSE(process_ended(pidfd->get()));
  trainer_life.to_write.reset();
  EXPECT_TRUE(becomes_readable(pidfd->get()));
  EXPECT_TRUE(process_ended(pidfd->get()));
  EXPECT_EQ(daemon.try_receive().status().code(), Code::deadline)
      << "the worker holds the socket: no end of the stream";
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);

  worker_life.to_write.reset();
  const auto received = daemon.receive(base::Deadline::after_ms(kLongestWaitMs));
  ASSERT_TRUE(received.ok()) << received.status().message();
  EXPECT_FALSE(received->has_value()) << "the end of the stream comes with the last holder of the socket";
}

TEST(Pidfd, APidfdStillWorksWhenItWasPassedToAnotherProcess) {
  auto ends = connected_pair();
  ASSERT_TRUE(ends.ok());
  Pipe life = open_pipe();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    life.to_write.reset();
    wait_for_end_of(life.to_read);
    ::_exit(0);
  }
  {
    const auto pidfd = open_pidfd(child);
    ASSERT_TRUE(pidfd.ok());
    ASSERT_TRUE(ends->first.send("hello", std::array{pidfd->get()}, base::Deadline::after_ms(kLongestWaitMs)).ok());
  }
  const auto hello = ends->second.try_receive();
  ASSERT_TRUE(hello.ok() && hello->has_value());
  ASSERT_EQ((**hello).descriptors.size(), 1U);
  const int passed = (**hello).descriptors[0].get();
  EXPECT_FALSE(process_ended(passed));
  life.to_write.reset();
  EXPECT_TRUE(becomes_readable(passed));
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
}

TEST(Pidfd, AProcessThatIsGoneIsNotFoundAndANumberThatIsNoneIsRefused) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(open_pidfd(child).status().code(), Code::not_found);
  EXPECT_EQ(open_pidfd(0).status().code(), Code::invalid_argument);
  EXPECT_EQ(open_pidfd(-1).status().code(), Code::invalid_argument);
}

}  // namespace
}  // namespace stillframe::transport
