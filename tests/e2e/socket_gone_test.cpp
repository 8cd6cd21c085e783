// The socket's file, or the lock beside it, is removed under a living daemon, as cleaners of temporary files do.
#include <sys/socket.h>
#include <sys/un.h>

#include <filesystem>

#include "e2e/rig.hpp"

namespace stillframe::test {
namespace {

using testing::HasSubstr;

class SocketGone : public DaemonTest {
 protected:
  [[nodiscard]] std::string lock() const { return socket() + ".lock"; }
  [[nodiscard]] static bool remove(const std::string& path) { return std::filesystem::remove(path); }
  [[nodiscard]] bool answers_again() const {
    return wait_until([this] { return client::query_status(socket(), base::Deadline::after_ms(1000)).ok(); });
  }
  // The lines of this process to the daemon.
  [[nodiscard]] std::vector<int> lines() const {
    constexpr int kMostDescriptors = 1024;
    std::vector<int> found;
    for (int fd = 0; fd < kMostDescriptors; ++fd) {
      sockaddr_un peer{};
      socklen_t bytes = sizeof peer;
      if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &bytes) != 0 || peer.sun_family != AF_UNIX) continue;
      if (socket() == peer.sun_path) found.push_back(fd);
    }
    return found;
  }
  // A snapshot that the daemon takes all the way.
  [[nodiscard]] static Status save(Checkpointer& checkpointer, State& state, std::int64_t step) {
    state.set(step);
    SF_ASSIGN(const Ticket ticket, checkpointer.snapshot(step, /*wait=*/true));
    SF_TRY(checkpointer.fence());
    return ticket.wait_verified(kPatienceMs);
  }
  // Which process answers at the path now.
  [[nodiscard]] pid_t served_by() const {
    const auto line = transport::connect(socket(), base::Deadline::after_ms(kPatienceMs));
    const auto peer = line.ok() ? line->peer() : line.status();
    return peer.ok() ? peer->pid : -1;
  }
};

TEST_F(SocketGone, ATrainerThatStartsWhileItIsGoneFindsTheDaemonOnceItIsMadeAgain) {
  start_daemon();
  ASSERT_TRUE(remove(socket()));
  State state;
  const auto opened = open(state);
  SF_ASSERT_OK(opened);
}

TEST_F(SocketGone, IsMadeAgainPrivateAsBeforeAndStatusAndASecondTrainerFindTheSameDaemon) {
  start_daemon({"arena.budget_bytes=268435456"});
  State state;
  auto first = open(state);
  SF_ASSERT_OK(first);
  SF_ASSERT_OK(save(*first, state, 1));
  ASSERT_TRUE(remove(socket()));
  ASSERT_TRUE(answers_again());
  constexpr auto kOthers = std::filesystem::perms::group_all | std::filesystem::perms::others_all;
  EXPECT_EQ(std::filesystem::status(socket()).permissions() & kOthers, std::filesystem::perms::none);
  State other_state;
  auto second = open(other_state, "other");
  SF_ASSERT_OK(second);
  EXPECT_EQ(served_by(), daemon_.pid());
  SF_ASSERT_OK(save(*second, other_state, 2));
  SF_ASSERT_OK(save(*first, state, 3));
}

TEST_F(SocketGone, ATrainerWhoseLineIsCutThenComesBackWithItsArena) {
  start_daemon();
  State state;
  auto checkpointer = open(state);
  SF_ASSERT_OK(checkpointer);
  SF_ASSERT_OK(save(*checkpointer, state, 1));
  ASSERT_TRUE(remove(socket()));
  ASSERT_EQ(lines().size(), 1U);
  ASSERT_EQ(::shutdown(lines().front(), SHUT_RDWR), 0);
  SF_ASSERT_OK(save(*checkpointer, state, 2));
  ASSERT_TRUE(answers_again());
  EXPECT_TRUE(wait_until([this] { return lines().size() == 1; })) << "the trainer never came back";
  SF_ASSERT_OK(save(*checkpointer, state, 3));
  EXPECT_EQ(served_by(), daemon_.pid());
}

TEST_F(SocketGone, ADaemonStartedMeanwhileFindsTheOldOneThoughTheLockIsGoneAsWell) {
  start_daemon();
  ASSERT_TRUE(remove(lock()));
  daemon::Config config;
  config.socket = socket();
  const auto refused = [&config] {
    return daemon::run(config, [] { ADD_FAILURE() << "two daemons serve one socket"; });
  };
  const Status while_the_lock_is_gone = refused();
  EXPECT_EQ(while_the_lock_is_gone.code(), Code::busy) << while_the_lock_is_gone.message();
  ASSERT_TRUE(remove(lock()));
  ASSERT_TRUE(wait_until([this] { return std::filesystem::exists(lock()); })) << "it takes its lock again";
  ASSERT_TRUE(remove(socket()));
  EXPECT_EQ(refused().code(), Code::busy);
  EXPECT_TRUE(answers_again());
}

TEST_F(SocketGone, ADaemonThatAnotherHasReplacedFinishesLeavesAndItsTrainerGoesOnThere) {
  start_daemon();
  State state;
  auto checkpointer = open(state);
  SF_ASSERT_OK(checkpointer);
  SF_ASSERT_OK(save(*checkpointer, state, 1));
  ASSERT_TRUE(daemon_.stop());
  ASSERT_TRUE(remove(socket()) && remove(lock()));
  Process first = std::move(daemon_);
  start_daemon();
  first.signal(SIGCONT);
  EXPECT_EQ(first.wait(), 0) << "two daemons for one store";
  EXPECT_EQ(served_by(), daemon_.pid()) << "the one that leaves takes the other's file with it";
  SF_ASSERT_OK(save(*checkpointer, state, 2));
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{2, 1}));
}

TEST_F(SocketGone, WithASocketOfItsOwnASecondDaemonIsKeptOutByTheLockOfTheRun) {
  start_daemon();
  State state;
  auto checkpointer = open(state);
  SF_ASSERT_OK(checkpointer);
  const std::string other_socket = dir_.path() + "/other.sock";
  Process other({"/proc/self/exe", "--role-daemon", "daemon.socket=" + other_socket, "arena.budget_bytes=67108864"});
  ASSERT_EQ(other.line(), "ready");
  CheckpointerOptions elsewhere = options();
  elsewhere.socket = other_socket;
  const auto refused = Checkpointer::open(elsewhere);
  EXPECT_EQ(refused.status().code(), Code::busy);
  EXPECT_THAT(refused.status().message(), HasSubstr("main"));
  SF_ASSERT_OK(save(*checkpointer, state, 1));
}

}  // namespace
}  // namespace stillframe::test
