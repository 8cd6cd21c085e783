#include "apps/detach.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>

namespace stillframe::apps {
namespace {

Status system_error(const std::string& doing) {
  return {Code::io_error,
          doing + ": " + std::strerror(errno)};  // NOLINT(concurrency-mt-unsafe): no thread is there yet
}

// The report: one byte of Code, then the message; end of file ends it. A write is atomic up to PIPE_BUF.
constexpr std::size_t kMaxReportBytes = 4096;

// A starter may have closed 0, 1 or 2: the pipe, and later the socket, must not land there.
Status open_standard_descriptors() {
  for (;;) {
    base::UniqueFd null(::open("/dev/null", O_RDWR));
    if (!null.valid()) return system_error("cannot open /dev/null");
    if (null.get() > STDERR_FILENO) return {};
    (void)null.release();
  }
}

Status to_null(int fd) {
  const base::UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null.valid()) return system_error("cannot open /dev/null");
  if (::dup2(null.get(), fd) < 0)
    return system_error("cannot redirect descriptor " + std::to_string(fd) + " to /dev/null");
  return {};
}

bool is_regular_file(int fd) {
  struct stat info {};
  return ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
}

Status close_inherited(int keep) {
  const auto kept = static_cast<unsigned int>(keep);
  constexpr unsigned int kFirst = STDERR_FILENO + 1;
  const bool below = kept == kFirst || ::close_range(kFirst, kept - 1, 0) == 0;
  if (!below || ::close_range(kept + 1, ~0U, 0) != 0) return system_error("cannot close inherited descriptors");
  return {};
}

Status leave_the_job(bool keep_error_file, int keep) {
  if (::setsid() < 0) return system_error("cannot start a session");
  if (::chdir("/") != 0) return system_error("cannot change to the root directory");
  // The starter may have blocked signals in the thread that forked; the daemon is stopped by one.
  sigset_t none;
  sigemptyset(&none);
  if (::sigprocmask(SIG_SETMASK, &none, nullptr) != 0) return system_error("cannot unblock signals");
  SF_TRY(to_null(STDIN_FILENO));
  SF_TRY(to_null(STDOUT_FILENO));
  if (!keep_error_file || !is_regular_file(STDERR_FILENO)) SF_TRY(to_null(STDERR_FILENO));
  return close_inherited(keep);
}

[[noreturn]] void run_child(base::UniqueFd pipe, bool keep_error_file, const std::function<int(StartReport&)>& body) {
  const int fd = pipe.get();
  StartReport start(std::move(pipe));
  const Status left = leave_the_job(keep_error_file, fd);
  if (!left.ok()) {
    // Nobody left to tell when this fails as well: the exit code says it.
    ::_exit(start.failed(left) ? 1 : 2);
  }
  ::exit(body(start));  // NOLINT(concurrency-mt-unsafe): the body has joined its threads
}

Status child_died(pid_t child) {
  int state = 0;
  while (::waitpid(child, &state, 0) < 0) {
    if (errno != EINTR) return system_error("the daemon ended before it was ready, and cannot be asked how");
  }
  const std::string how = WIFSIGNALED(state) ? "was killed by signal " + std::to_string(WTERMSIG(state))
                                             : "ended with code " + std::to_string(WEXITSTATUS(state));
  return {Code::internal,
          "the daemon " + how + " before it was ready; its log, or the command without --detach, says more"};
}

// Reads until end of file: the child closes its end after the report.
Result<std::string> read_report(int fd, const base::Deadline& deadline) {
  std::string report;
  std::array<char, kMaxReportBytes> part{};
  for (;;) {
    pollfd wait{fd, POLLIN, 0};
    const int ready = ::poll(&wait, 1, deadline.remaining_ms());
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return system_error("cannot wait for the daemon's start");
    if (ready == 0) return Status(Code::deadline, "the daemon was not ready in time and was stopped");
    const ssize_t got = ::read(fd, part.data(), part.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error("cannot read how the daemon's start went");
    if (got == 0) return report;
    report.append(part.data(), static_cast<std::size_t>(got));
  }
}

Status await_child(pid_t child, int fd, const base::Deadline& deadline) {
  const auto report = read_report(fd, deadline);
  if (!report.ok()) {
    ::kill(child, SIGKILL);
    const Status end = child_died(child);
    end.ignore("it was killed here");
    return report.status();
  }
  if (report->empty()) return child_died(child);
  const auto code = static_cast<Code>(report->front());
  return code == Code::ok ? Status() : Status(code, report->substr(1));
}

}  // namespace

Status StartReport::send(const Status& status) noexcept {
  if (!pipe_.valid()) return {Code::unavailable, {}};
  std::array<char, kMaxReportBytes> report{};
  report[0] = static_cast<char>(status.code());
  const std::size_t length = std::min(status.message().size(), report.size() - 1);
  std::memcpy(report.data() + 1, status.message().data(), length);
  // The starter may have been killed: that must not kill the daemon.
  struct sigaction ignore {};
  struct sigaction before {};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignore, &before);
  ssize_t sent = 0;
  do {
    sent = ::write(pipe_.get(), report.data(), length + 1);
  } while (sent < 0 && errno == EINTR);
  ::sigaction(SIGPIPE, &before, nullptr);
  pipe_.reset();
  return sent < 0 ? Status(Code::unavailable, {}) : Status();
}

Status run_detached(bool keep_error_file, const base::Deadline& deadline,
                    const std::function<int(StartReport&)>& body) {
  SF_TRY(open_standard_descriptors());
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return system_error("cannot make a pipe");
  base::UniqueFd read_end(ends[0]);
  base::UniqueFd write_end(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return system_error("cannot start a process");
  if (child == 0) {
    read_end.reset();
    run_child(std::move(write_end), keep_error_file, body);
  }
  write_end.reset();
  return await_child(child, read_end.get(), deadline);
}

}  // namespace stillframe::apps
