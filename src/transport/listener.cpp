#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "transport/socket.hpp"
#include "transport/transport.hpp"

namespace stillframe::transport {
namespace {

constexpr int kBacklog = 64;
constexpr mode_t kOnlyTheOwner = S_IRUSR | S_IWUSR;
constexpr mode_t kEverybody = kOnlyTheOwner | S_IRGRP | S_IWGRP | S_IROTH | S_IWOTH;
constexpr std::uint64_t kProbeMs = 100;

int bind_to(int fd, const sockaddr_un& address) noexcept {
  return ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
}

// The caller's lock says that nobody lives here; a socket that answers, or a file that is none, is still left alone.
Status remove_dead_socket(const std::string& path, const sockaddr_un& address) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? Status() : system_error("looking at " + path, errno);
  }
  if (!S_ISSOCK(info.st_mode)) {
    return {Code::invalid_argument,
            path + " exists and is not a socket; it was left as it is: choose another socket path, or remove it"};
  }
  SF_ASSIGN(const base::UniqueFd probe, open_socket());
  const int answer = connect_blocking(probe.get(), address, base::Deadline::after_ms(kProbeMs));
  if (answer == 0 || answer == EAGAIN || answer == EPROTOTYPE) {
    return {Code::busy, "another process listens at " + path + "; stop it, or choose another socket path"};
  }
  if (answer == ENOENT) return {};
  if (answer != ECONNREFUSED) return system_error("asking whether anybody listens at " + path, answer);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return system_error("removing the dead socket " + path, errno);
  return {};
}

}  // namespace

Result<Listener> Listener::listen(const std::string& path, Reach reach) {
  SF_ASSIGN(const sockaddr_un address, address_of(path));
  SF_ASSIGN(base::UniqueFd fd, open_socket());
  SF_TRY(make_non_blocking(fd.get()));
  const mode_t mode = reach == Reach::owner ? kOnlyTheOwner : kEverybody;
  // bind() makes the file with the socket's own mode less the umask, so it is never open to others, not even for the
  // moment until chmod() has given back what a strict umask took.
  if (::fchmod(fd.get(), mode) != 0) return system_error("setting the mode of a socket", errno);
  int refused = bind_to(fd.get(), address);
  if (refused == EADDRINUSE) {
    SF_TRY(remove_dead_socket(path, address));
    refused = bind_to(fd.get(), address);
  }
  if (refused == ENOENT || refused == ENOTDIR) {
    return Status(Code::not_found, "the directory of the socket " + path + " does not exist; make it first");
  }
  if (refused != 0) return system_error("making the socket " + path, refused);
  Listener listener(std::move(fd), path);  // from here on the file is removed on every way out
  if (::chmod(path.c_str(), mode) != 0) return system_error("setting the mode of " + path, errno);
  if (::listen(listener.fd_.get(), kBacklog) != 0) return system_error("listening at " + path, errno);
  return listener;
}

Listener::Listener(base::UniqueFd fd, std::string path)
    : fd_(std::move(fd)), path_(std::move(path)), file_(file_at(path_)) {}

Listener::Listener(Listener&& other) noexcept
    : fd_(std::move(other.fd_)), path_(std::move(other.path_)), file_(other.file_) {}

Listener::~Listener() {
  // A file that cannot be removed is a dead socket, which the next listener replaces.
  if (fd_.valid() && is_in_place()) static_cast<void>(::unlink(path_.c_str()));
}

bool Listener::is_in_place() const noexcept { return file_.has_value() && file_at(path_) == file_; }

std::optional<Listener::FileId> Listener::file_at(const std::string& path) noexcept {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return std::nullopt;
  return FileId{info.st_dev, info.st_ino};
}

Result<Connection> Listener::try_accept() const {
  for (;;) {
    base::UniqueFd fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd.valid()) {
      enlarge_send_buffer(fd.get());
      return Connection(std::move(fd));
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN) return Status(Code::deadline, "nobody is waiting to connect to " + path_);
    return system_error("accepting a connection at " + path_, errno);
  }
}

}  // namespace stillframe::transport
