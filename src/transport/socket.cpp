#include "transport/socket.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "transport/transport.hpp"

namespace stillframe::transport {

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  static_assert(sizeof address.sun_path == kMaxSocketPathBytes + 1);
  if (path.empty() || path.find('\0') != std::string::npos) {
    return Status(Code::invalid_argument, "the path of a socket must not be empty and must not hold a zero byte");
  }
  if (path.size() > kMaxSocketPathBytes) {
    return Status(Code::invalid_argument, "the socket path " + path + " has " + std::to_string(path.size()) +
                                              " bytes; the system allows " + std::to_string(kMaxSocketPathBytes) +
                                              ": choose a shorter one");
  }
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

Status system_error(std::string_view what, int error_number, Code otherwise) {
  const bool exhausted = error_number == EMFILE || error_number == ENFILE || error_number == ENOBUFS ||
                         error_number == ENOMEM || error_number == ENOSPC || error_number == ETOOMANYREFS;
  return {exhausted ? Code::no_space : otherwise, std::string(what) + ": " +
                                                      std::generic_category().message(error_number) + " (errno " +
                                                      std::to_string(error_number) + ")"};
}

Status wait_for(int fd, short events, const base::Deadline& deadline, std::string_view waiting_for) {
  for (;;) {
    pollfd polled{fd, events, 0};
    const int ready = ::poll(&polled, 1, deadline.remaining_ms());
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return system_error("poll on a socket", errno);
    if (deadline.expired()) return {Code::deadline, "gave up waiting for " + std::string(waiting_for)};
  }
}

void enlarge_send_buffer(int fd) noexcept {
  // The kernel doubles the figure and caps it at net.core.wmem_max; a refusal leaves the default, which is enough for
  // kMaxMessageBytes on a system that was not changed, and send() reports a message that does not fit.
  const int bytes = static_cast<int>(2 * kMaxMessageBytes);
  static_cast<void>(::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes));
}

Result<base::UniqueFd> open_socket() {
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return system_error("opening a Unix socket", errno);
  enlarge_send_buffer(fd.get());
  return fd;
}

Status make_non_blocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
    return system_error("making a socket non-blocking", errno);
  return {};
}

int connect_blocking(int fd, const sockaddr_un& address, const base::Deadline& deadline) noexcept {
  // poll() does not tell when the backlog of a Unix socket has room again; a blocking connect with a time limit does.
  for (;;) {
    const int ms = std::max(1, deadline.remaining_ms());  // 0 would mean no limit
    timeval limit{};
    limit.tv_sec = ms / 1000;
    limit.tv_usec = (ms % 1000) * 1000;
    if (::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0) return errno;
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return 0;
    if (errno != EINTR) return errno;
    if (deadline.expired()) return EAGAIN;
  }
}

}  // namespace stillframe::transport
