#include <poll.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "transport/socket.hpp"
#include "transport/transport.hpp"

namespace stillframe::transport {
namespace {

struct alignas(cmsghdr) ControlBuffer {
  std::array<char, CMSG_SPACE(sizeof(int) * kMaxPassedDescriptors)> bytes{};
};

bool peer_is_gone(int error_number) noexcept {
  return error_number == EPIPE || error_number == ECONNRESET || error_number == ENOTCONN ||
         error_number == ECONNREFUSED || error_number == ESHUTDOWN;
}

Status check_limits(std::string_view text, std::span<const int> descriptors) {
  if (text.empty()) {
    // On the wire an empty message cannot be told from the end of the stream.
    return {Code::invalid_argument, "a message must not be empty; nothing was sent"};
  }
  if (text.size() > kMaxMessageBytes) {
    return {Code::invalid_argument, "a message of " + std::to_string(text.size()) + " bytes is over the limit of " +
                                        std::to_string(kMaxMessageBytes) + "; nothing was sent"};
  }
  if (descriptors.size() > kMaxPassedDescriptors) {
    return {Code::invalid_argument, "a message with " + std::to_string(descriptors.size()) +
                                        " descriptors is over the limit of " + std::to_string(kMaxPassedDescriptors) +
                                        "; nothing was sent"};
  }
  return {};
}

void attach(msghdr& header, ControlBuffer& control, std::span<const int> descriptors) {
  if (descriptors.empty()) return;
  header.msg_control = control.bytes.data();
  header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
  cmsghdr* first = CMSG_FIRSTHDR(&header);
  first->cmsg_level = SOL_SOCKET;
  first->cmsg_type = SCM_RIGHTS;
  first->cmsg_len = CMSG_LEN(descriptors.size_bytes());
  std::memcpy(CMSG_DATA(first), descriptors.data(), descriptors.size_bytes());
}

// Takes ownership of every descriptor the kernel has installed, so that none is left open whatever is returned later.
std::vector<base::UniqueFd> detach(msghdr& header) {
  std::vector<base::UniqueFd> descriptors;
  descriptors.reserve(kMaxPassedDescriptors);
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
      descriptors.emplace_back(fd);
    }
  }
  return descriptors;
}

Status connect_error(const std::string& path, int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return {Code::not_found, "no socket at " + path + ": no daemon was started there"};
    case ECONNREFUSED:
      return {Code::unavailable, "nobody listens at " + path + ": its daemon has ended; a new one replaces the file"};
    case EAGAIN:
      return {Code::deadline, "the daemon at " + path + " did not accept the connection in time; it may be overloaded"};
    case EPROTOTYPE:
      return {Code::unavailable, path + " is a socket of another kind of server, not of a Stillframe daemon"};
    default:
      return system_error("connecting to " + path, error_number);
  }
}

}  // namespace

Status Connection::send(std::string_view text, std::span<const int> descriptors, const base::Deadline& deadline) const {
  SF_TRY(check_limits(text, descriptors));
  iovec part{const_cast<char*>(text.data()), text.size()};  // sendmsg() only reads it
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  ControlBuffer control;
  attach(header, control, descriptors);
  for (;;) {
    if (::sendmsg(fd_.get(), &header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return {};
    const int error_number = errno;
    if (error_number == EINTR) continue;
    if (error_number == EAGAIN) {
      SF_TRY(
          wait_for(fd_.get(), POLLOUT, deadline, "the peer to read what was sent before; this message was not sent"));
      continue;
    }
    if (peer_is_gone(error_number))
      return {Code::unavailable, "the peer has closed the connection; the message was not sent"};
    if (error_number == EBADF && fd_.valid()) {
      return {Code::invalid_argument, "a descriptor to be passed is not open; nothing was sent"};
    }
    return system_error("sending a message of " + std::to_string(text.size()) + " bytes", error_number);
  }
}

Result<std::optional<Message>> Connection::try_receive() const {
  const auto buffer = std::make_unique_for_overwrite<char[]>(kMaxMessageBytes);
  iovec part{buffer.get(), kMaxMessageBytes};
  ControlBuffer control;
  for (bool reset_seen = false;;) {
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.bytes.data();
    header.msg_controllen = control.bytes.size();
    const ssize_t got = ::recvmsg(fd_.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got >= 0) {
      Message message{{}, detach(header)};
      if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        return Status(Code::corrupt, (header.msg_flags & MSG_TRUNC) != 0
                                         ? "a message above the limit of " + std::to_string(kMaxMessageBytes) +
                                               " bytes was cut off; close this connection"
                                         : "descriptors of a message were cut off: more than " +
                                               std::to_string(kMaxPassedDescriptors) +
                                               " were sent or this process has no free ones; close this connection");
      }
      if (got == 0) return std::optional<Message>();
      message.text.assign(buffer.get(), static_cast<std::size_t>(got));
      return std::optional<Message>(std::move(message));
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) return Status(Code::deadline, "no message has come");
    if (errno == ECONNRESET && !reset_seen) {
      // The peer closed without having read all; the kernel says so once, ahead of what the peer sent before.
      reset_seen = true;
      continue;
    }
    if (peer_is_gone(errno)) return std::optional<Message>();
    return system_error("receiving a message", errno);
  }
}

Result<std::optional<Message>> Connection::receive(const base::Deadline& deadline) const {
  for (;;) {
    auto message = try_receive();
    if (message.ok() || message.status().code() != Code::deadline) return message;
    SF_TRY(wait_for(fd_.get(), POLLIN, deadline, "a message from the peer"));
  }
}

bool Connection::peer_closed() const noexcept {
  pollfd one{fd_.get(), POLLRDHUP, 0};
  return ::poll(&one, 1, 0) > 0 && (one.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

Result<PeerIdentity> Connection::peer() const {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(fd_.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return system_error("asking who the peer of a connection is", errno);
  }
  return PeerIdentity{credentials.pid, credentials.uid, credentials.gid};
}

void Connection::shutdown() const noexcept {
  // Refused only when the connection is gone, and then a receiver is awake already.
  static_cast<void>(::shutdown(fd_.get(), SHUT_RDWR));
}

Result<Connection> connect(const std::string& path, const base::Deadline& deadline) {
  SF_ASSIGN(const sockaddr_un address, address_of(path));
  SF_ASSIGN(base::UniqueFd fd, open_socket());
  if (const int error_number = connect_blocking(fd.get(), address, deadline); error_number != 0) {
    return connect_error(path, error_number);
  }
  SF_TRY(make_non_blocking(fd.get()));
  return Connection(std::move(fd));
}

Result<std::pair<Connection, Connection>> connected_pair() {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) {
    return system_error("opening a pair of Unix sockets", errno);
  }
  base::UniqueFd first(ends[0]);
  base::UniqueFd second(ends[1]);
  enlarge_send_buffer(first.get());
  enlarge_send_buffer(second.get());
  return std::pair(Connection(std::move(first)), Connection(std::move(second)));
}

}  // namespace stillframe::transport
