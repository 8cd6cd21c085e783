#include "client/fork_guard.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "base/unique_fd.hpp"

namespace stillframe::test {
namespace {

using client::ForkGuard;

base::UniqueFd some_descriptor() { return base::UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

bool is_open_in_a_child(int fd) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(is_open(fd) ? 1 : 0);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

TEST(ForkGuardTest, ClosesTheDescriptorInEveryChildAndNotInTheParent) {
  const auto guarded = some_descriptor();
  const auto other = some_descriptor();
  const ForkGuard guard(guarded.get());
  EXPECT_FALSE(is_open_in_a_child(guarded.get()));
  EXPECT_FALSE(is_open_in_a_child(guarded.get()));
  EXPECT_TRUE(is_open_in_a_child(other.get()));
  EXPECT_TRUE(is_open(guarded.get()));
}

TEST(ForkGuardTest, GuardsNothingOnceItIsGone) {
  const auto fd = some_descriptor();
  { const ForkGuard guard(fd.get()); }
  EXPECT_TRUE(is_open_in_a_child(fd.get()));
}

TEST(ForkGuardTest, MovesWithItsDescriptor) {
  const auto first = some_descriptor();
  const auto second = some_descriptor();
  ForkGuard guard(first.get());
  const ForkGuard moved(std::move(guard));
  EXPECT_FALSE(is_open_in_a_child(first.get()));
  guard = ForkGuard(second.get());
  EXPECT_FALSE(is_open_in_a_child(second.get()));
  guard = ForkGuard();
  EXPECT_TRUE(is_open_in_a_child(second.get()));
  EXPECT_FALSE(is_open_in_a_child(first.get()));
}

TEST(ForkGuardTest, MoreThanItCanHoldDoNoHarm) {
  std::vector<base::UniqueFd> fds;
  std::vector<ForkGuard> guards;
  for (int i = 0; i < 100; ++i) {
    fds.push_back(some_descriptor());
    guards.emplace_back(fds.back().get());
  }
  EXPECT_FALSE(is_open_in_a_child(fds.front().get()));
  guards.clear();
  const ForkGuard again(fds.back().get());
  EXPECT_FALSE(is_open_in_a_child(fds.back().get()));
}

}  // namespace
}  // namespace stillframe::test
