// A process of the test's own: started with a pipe from its standard output, and never left behind.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "support/wait_until.hpp"

extern char** environ;

namespace stillframe::test {

class Process {
 public:
  Process() = default;
  // `arguments[0]` is the program's path. pid() is -1 when it could not be started.
  explicit Process(const std::vector<std::string>& arguments) {
    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_CLOEXEC) != 0) return;
    output_ = base::UniqueFd(ends[0]);
    const base::UniqueFd writer(ends[1]);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, writer.get(), 1);
    std::vector<char*> argv;
    for (const std::string& one : arguments) argv.push_back(const_cast<char*>(one.c_str()));
    argv.push_back(nullptr);
    if (::posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ) != 0) pid_ = -1;
    ::posix_spawn_file_actions_destroy(&actions);
  }
  Process(Process&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)), output_(std::move(other.output_)), exit_(other.exit_) {}
  Process& operator=(Process&& other) noexcept {
    if (this != &other) {
      end();
      pid_ = std::exchange(other.pid_, -1);
      output_ = std::move(other.output_);
      exit_ = other.exit_;
    }
    return *this;
  }
  ~Process() { end(); }

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  void signal(int number) const {
    if (pid_ > 0 && !exit_) ::kill(pid_, number);
  }
  // Every thread of it stands still when this returns true; SIGCONT lets it go on.
  [[nodiscard]] bool stop() const {
    signal(SIGSTOP);
    return wait_until([this] {
      siginfo_t seen{};
      return ::waitid(P_PID, static_cast<id_t>(pid_), &seen, WSTOPPED | WNOHANG) == 0 && seen.si_pid == pid_;
    });
  }
  // The next line of its output, without the end; nullopt when it ended or kept silent.
  [[nodiscard]] std::optional<std::string> line() {
    std::string text;
    const auto deadline = base::Deadline::after_ms(kPatienceMs);
    for (char c = 0;;) {
      pollfd waiting{output_.get(), POLLIN, 0};
      if (::poll(&waiting, 1, deadline.remaining_ms()) <= 0) return std::nullopt;
      const ssize_t got = ::read(output_.get(), &c, 1);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return std::nullopt;
      if (c == '\n') return text;
      text.push_back(c);
    }
  }
  // Its exit status, or minus the signal that ended it; nullopt when it goes on for too long.
  [[nodiscard]] std::optional<int> wait() {
    const bool ended = wait_until([this] {
      int status = 0;
      if (exit_) return true;
      if (::waitpid(pid_, &status, WNOHANG) != pid_) return false;
      exit_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
      return true;
    });
    return ended ? exit_ : std::nullopt;
  }
  void kill() {
    signal(SIGKILL);
    (void)wait();
  }

 private:
  void end() {
    if (pid_ > 0 && !exit_) kill();
  }

  pid_t pid_ = -1;
  base::UniqueFd output_;
  std::optional<int> exit_;
};

}  // namespace stillframe::test
