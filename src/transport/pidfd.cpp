#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "transport/socket.hpp"
#include "transport/transport.hpp"

namespace stillframe::transport {

Result<base::UniqueFd> open_pidfd(pid_t pid) {
  if (pid <= 0) return Status(Code::invalid_argument, "a process has no number " + std::to_string(pid));
  // By number: glibc 2.36 declares pidfd_open() without C linkage. The descriptor is close-on-exec by its nature.
  base::UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (fd.valid()) return fd;
  if (errno == ESRCH) return Status(Code::not_found, "there is no process " + std::to_string(pid));
  if (errno == ENOSYS) {
    return Status(Code::unsupported, "this kernel cannot watch the end of a process (pidfd_open, Linux 5.3 or later)");
  }
  return system_error("watching process " + std::to_string(pid), errno);
}

bool process_ended(int pidfd) noexcept {
  pollfd polled{pidfd, POLLIN, 0};
  int ready = -1;
  do {
    ready = ::poll(&polled, 1, 0);
  } while (ready < 0 && errno == EINTR);
  return ready > 0 && (polled.revents & (POLLIN | POLLHUP)) != 0;
}

}  // namespace stillframe::transport
