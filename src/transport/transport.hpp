// THE socket door: Unix sockets of type SOCK_SEQPACKET (the kernel keeps message borders), passed descriptors, peer
// identity. All descriptors are close-on-exec and non-blocking; waits are polls with a deadline. SIGPIPE is never
// raised.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/unique_fd.hpp"
#include "stillframe/status.hpp"

namespace stillframe::transport {

inline constexpr std::size_t kMaxMessageBytes = 128 * 1024;
inline constexpr std::size_t kMaxPassedDescriptors = 4;
inline constexpr std::size_t kMaxSocketPathBytes = 107;

struct Message {
  std::string text;
  std::vector<base::UniqueFd> descriptors;
};

struct PeerIdentity {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
};

// send() and receive() may be called from two threads at once, each from one. Movable.
class Connection {
 public:
  Connection() = default;
  explicit Connection(base::UniqueFd fd) : fd_(std::move(fd)) {}

  // unavailable when the peer is gone, deadline when its buffer stays full, invalid_argument above a limit.
  [[nodiscard]] Status send(std::string_view text, std::span<const int> descriptors,
                            const base::Deadline& deadline) const;
  // nullopt: the peer has closed. deadline when nothing came. corrupt when the message or its descriptors were cut off.
  [[nodiscard]] Result<std::optional<Message>> receive(const base::Deadline& deadline) const;
  // As receive() without waiting; deadline at once when there is nothing.
  [[nodiscard]] Result<std::optional<Message>> try_receive() const;

  // The peer has closed its end, whatever of it is still to be received.
  [[nodiscard]] bool peer_closed() const noexcept;
  [[nodiscard]] Result<PeerIdentity> peer() const;  // SO_PEERCRED: as of connect
  [[nodiscard]] int native_handle() const noexcept { return fd_.get(); }
  [[nodiscard]] bool valid() const noexcept { return fd_.valid(); }
  void close() noexcept { fd_.reset(); }
  // Wakes a receive() in another thread: it sees the end of the stream.
  void shutdown() const noexcept;

 private:
  base::UniqueFd fd_;
};

// not_found or unavailable when nobody listens there (nothing is there / a dead socket file).
[[nodiscard]] Result<Connection> connect(const std::string& path, const base::Deadline& deadline);
// Two ends of one connection: the fake of the door, and what tests use.
[[nodiscard]] Result<std::pair<Connection, Connection>> connected_pair();

// Who may connect, as far as the directory of the socket lets them come.
enum class Reach { owner, everybody };

// Listens at `path` with mode 0600 (everybody: 0666), whatever the umask. A dead socket file there is replaced: the caller holds the lock
// that says no other instance lives. The file is removed by the destructor, unless the path names another one by then.
class Listener {
 public:
  [[nodiscard]] static Result<Listener> listen(const std::string& path, Reach reach = Reach::owner);
  Listener(Listener&& other) noexcept;
  Listener& operator=(Listener&&) = delete;
  ~Listener();
  // deadline at once when nobody is waiting to connect.
  [[nodiscard]] Result<Connection> try_accept() const;
  // The path still leads here: its file was neither removed nor replaced.
  [[nodiscard]] bool is_in_place() const noexcept;
  [[nodiscard]] int native_handle() const noexcept { return fd_.get(); }

 private:
  struct FileId {
    dev_t device = 0;
    ino_t inode = 0;
    bool operator==(const FileId&) const = default;
  };
  Listener(base::UniqueFd fd, std::string path);
  [[nodiscard]] static std::optional<FileId> file_at(const std::string& path) noexcept;

  base::UniqueFd fd_;
  std::string path_;
  std::optional<FileId> file_;  // what bind() made; it keeps its number as long as the socket lives
};

// A descriptor that becomes readable when the process ends.
[[nodiscard]] Result<base::UniqueFd> open_pidfd(pid_t pid);
[[nodiscard]] bool process_ended(int pidfd) noexcept;

}  // namespace stillframe::transport
