#include "daemon/served_path.hpp"

#include <utility>

namespace stillframe::daemon {
namespace {

std::string lock_file(const std::string& socket) { return socket + ".lock"; }

Status already_running(const std::string& socket) {
  std::string who = "another process";
  const auto connection = transport::connect(socket, base::Deadline::after_ms(1000));
  if (connection.ok()) {
    if (const auto peer = connection->peer(); peer.ok()) who = "process " + std::to_string(peer->pid);
  }
  return {Code::busy, "a daemon is already serving " + socket + " (" + who + "); stop it, or use another socket"};
}

std::vector<transport::Connection> who_waits_at(const transport::Listener& listener) {
  std::vector<transport::Connection> waiting;
  for (;;) {
    Result<transport::Connection> accepted = listener.try_accept();
    if (!accepted.ok()) return waiting;
    waiting.push_back(std::move(accepted).value());
  }
}

}  // namespace

ServedPath::ServedPath(std::string path, transport::Reach reach, std::unique_ptr<env::Lock> lock,
                       transport::Listener listener)
    : path_(std::move(path)), reach_(reach), lock_(std::move(lock)), listener_(std::move(listener)) {}

Result<ServedPath> ServedPath::take(const std::string& path, transport::Reach reach) {
  SF_ASSIGN(std::string real, env::resolve_directory_of(env::posix_env(), path));
  auto lock = env::posix_env().try_lock(lock_file(real), env::LockMode::exclusive);
  if (!lock.ok()) return lock.status().code() == Code::busy ? already_running(path) : std::move(lock).status();
  // By the name that was given: it is what clients say, and may be short where the real one is too long for a socket.
  SF_ASSIGN(transport::Listener listener, transport::Listener::listen(path, reach));
  return ServedPath(path, reach, std::move(lock).value(), std::move(listener));
}

ServedPath::Look ServedPath::look() {
  Look look;
  look.locked_again = lock_again();
  if (listener_->is_in_place()) return look;
  // Two that lost their lock and bind at once end well: the path leads to one of them, and the other finds it taken.
  Result<transport::Listener> fresh = transport::Listener::listen(path_, reach_);
  if (!fresh.ok()) {
    look.found = fresh.status().code() == Code::busy ? Found::taken : Found::not_bound;
    look.why = fresh.status();
    return look;
  }
  look.found = Found::bound_again;
  look.waiting = who_waits_at(*listener_);
  listener_.emplace(std::move(fresh).value());
  return look;
}

// Whether the lock that is held still has its name cannot be seen, but a name without a lock can be locked.
bool ServedPath::lock_again() {
  const auto real = env::resolve_directory_of(env::posix_env(), path_);
  if (!real.ok()) return false;
  auto lock = env::posix_env().try_lock(lock_file(*real), env::LockMode::exclusive);
  if (!lock.ok()) return false;  // it is held: by this daemon, or by one that starts and will find the socket
  lock_ = std::move(lock).value();
  return true;
}

}  // namespace stillframe::daemon
