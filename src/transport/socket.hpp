// What the files of this folder share: addresses, errors of the system with their numbers put into words, waiting.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>
#include <string_view>

#include "base/clock.hpp"
#include "base/unique_fd.hpp"
#include "stillframe/status.hpp"

namespace stillframe::transport {

// invalid_argument when the path is empty, holds a zero byte, or is longer than kMaxSocketPathBytes.
[[nodiscard]] Result<sockaddr_un> address_of(const std::string& path);

// "<what>: <the system's text> (errno 24)". Exhausted descriptors and memory are no_space, the rest `otherwise`.
[[nodiscard]] Status system_error(std::string_view what, int error_number, Code otherwise = Code::io_error);

// ok once poll() reports one of `events`, an error or a hang-up; deadline else.
[[nodiscard]] Status wait_for(int fd, short events, const base::Deadline& deadline, std::string_view waiting_for);

// Room for the largest message; a system with a smaller limit is left as it is.
void enlarge_send_buffer(int fd) noexcept;

// A socket of the door's type, close-on-exec, still blocking.
[[nodiscard]] Result<base::UniqueFd> open_socket();

[[nodiscard]] Status make_non_blocking(int fd);

// connect(2) to the socket file, waiting while its backlog is full: 0 or the errno, EAGAIN when the deadline came
// first.
[[nodiscard]] int connect_blocking(int fd, const sockaddr_un& address, const base::Deadline& deadline) noexcept;

}  // namespace stillframe::transport
