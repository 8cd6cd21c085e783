#include "daemon/daemon_core.hpp"

#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <csignal>

#include "base/log.hpp"
#include "daemon/admission.hpp"
#include "daemon/blocking.hpp"

namespace stillframe::daemon {

namespace asio = boost::asio;

namespace {

constexpr std::uint64_t kPollMs = 20;
constexpr std::uint64_t kAcceptPauseMs = 200;
constexpr std::uint64_t kDeathMs = 200;
constexpr std::uint64_t kLookAtPathMs = 1000;

// Readiness of a descriptor that somebody else owns: Asio waits on a duplicate.
class Readiness {
 public:
  Readiness(asio::io_context& io, int fd) : descriptor_(io, ::dup(fd)) {}
  asio::awaitable<bool> wait() {
    boost::system::error_code error;
    co_await descriptor_.async_wait(asio::posix::stream_descriptor::wait_read,
                                    asio::redirect_error(asio::use_awaitable, error));
    co_return !error;
  }
  void cancel() {
    boost::system::error_code error;
    descriptor_.cancel(error);
  }

 private:
  asio::posix::stream_descriptor descriptor_;
};

}  // namespace

DaemonCore::DaemonCore(const Config& config, ServedPath served, std::unique_ptr<persist::Encoders> encoders,
                       std::unique_ptr<base::WorkerPool> blocking)
    : config_(config),
      served_(std::move(served)),
      encoders_(std::move(encoders)),
      blocking_(std::move(blocking)),
      signals_(io_, SIGTERM, SIGINT),
      accept_again_(io_) {}

Status DaemonCore::run(const std::function<void()>& ready) {
  started_ns_ = last_used_ns_ = base::system_clock().monotonic_ns();
  asio::co_spawn(io_, accept_loop(), asio::detached);
  asio::co_spawn(io_, stop_on_signal(), asio::detached);
  asio::co_spawn(io_, watch_idle(), asio::detached);
  asio::co_spawn(io_, watch_path(), asio::detached);
  base::log(base::LogLevel::info, "daemon.ready",
            {{"pid", ::getpid()}, {"socket", config_.socket}, {"version", STILLFRAME_VERSION}});
  ready();
  io_.run();
  blocking_->stop();
  for (const auto& session : sessions_) session->drop();
  base::log(base::LogLevel::info, "daemon.stopped", {{"pid", ::getpid()}});
  return {};
}

DaemonCore::Task DaemonCore::accept_loop() {
  do {
    moved_ = false;
    co_await accept_at(served_.listener().native_handle());
  } while (moved_ && !stopping_);
}

DaemonCore::Task DaemonCore::accept_at(int listener) {
  Readiness readiness(io_, listener);
  end_accepting_ = [&readiness] { readiness.cancel(); };
  while (!moved_ && co_await readiness.wait()) {
    if (stopping_ || moved_) break;
    Result<transport::Connection> accepted = served_.listener().try_accept();
    if (accepted.ok()) {
      welcome(std::move(accepted).value());
    } else if (accepted.status().code() != Code::deadline) {
      // Out of descriptors, say: the caller still waits, and asking again at once would only burn a core.
      base::log(base::LogLevel::warn, "client.not_accepted", {{"error", accepted.status().message()}});
      accept_again_.expires_after(std::chrono::milliseconds(kAcceptPauseMs));
      co_await accept_again_.async_wait(asio::use_awaitable);
    }
  }
  end_accepting_ = nullptr;
}

void DaemonCore::welcome(transport::Connection connection) {
  const auto peer = connection.peer();
  auto client = std::make_shared<Client>();
  client->connection = std::move(connection);
  const Status admitted = peer.ok() ? may_use(::geteuid(), config_.allowed_uids, peer->uid) : peer.status();
  if (!admitted.ok()) {
    base::log(base::LogLevel::warn, "client.refused", {{"reason", admitted.message()}});
    return reply(*client, protocol::Failure{admitted.code(), admitted.message()});
  }
  client->pid = peer->pid;
  std::erase_if(clients_, [](const std::weak_ptr<Client>& one) { return one.expired(); });
  if (clients_.size() >= config_.max_clients) {
    reply(*client, protocol::Failure{Code::busy, "the daemon serves " + std::to_string(config_.max_clients) +
                                                     " clients already (daemon.max_clients)"});
    return;
  }
  clients_.push_back(client);
  asio::co_spawn(io_, serve(std::move(client)), asio::detached);
}

// Cleaners of temporary files remove sockets and locks that are in use. Clients whose lines stand notice nothing of it.
DaemonCore::Task DaemonCore::watch_path() {
  asio::steady_timer timer(io_);
  bool said = false;
  while (!stopping_) {
    timer.expires_after(std::chrono::milliseconds(kLookAtPathMs));
    co_await timer.async_wait(asio::use_awaitable);
    if (stopping_) co_return;
    ServedPath::Look look = served_.look();
    if (look.locked_again) base::log(base::LogLevel::warn, "socket.locked_again", {{"socket", config_.socket}});
    if (look.found == ServedPath::Found::bound_again) {
      base::log(base::LogLevel::warn, "socket.bound_again", {{"socket", config_.socket}});
      moved_ = true;
      if (end_accepting_) end_accepting_();
      for (transport::Connection& one : look.waiting) welcome(std::move(one));
    } else if (look.found == ServedPath::Found::taken) {
      // Its trainers take their memory to the other one, as after any stop.
      base::log(base::LogLevel::error, "daemon.replaced", {{"socket", config_.socket}, {"error", look.why.message()}});
      co_await stop();
    } else if (look.found == ServedPath::Found::not_bound && !said) {
      base::log(base::LogLevel::error, "socket.not_bound", {{"socket", config_.socket}, {"error", look.why.message()}});
    }
    said = look.found == ServedPath::Found::not_bound;
  }
}

DaemonCore::Task DaemonCore::serve(ClientPtr client) {
  co_await serve_messages(client);
  let_go_of_hot(client);
  last_used_ns_ = base::system_clock().monotonic_ns();
  const auto& session = client->session;
  if (session == nullptr || client->said_bye || session->gone()) co_return;
  // A process that is killed loses its line a moment before it has ended, and its image must not be taken for that of one
  // that lives on: if its write failed, its memory would be given back.
  const std::function<bool()> has_ended = [session] {
    return session->gone() || transport::process_ended(session->pidfd());
  };
  const bool ended = co_await poll_until(has_ended, base::Deadline::after_ms(kDeathMs));
  if (session->gone()) co_return;
  if (ended) {
    trainer_gone(session, "died");
  } else {
    line_broken(session);
  }
}

// The end of the stream is no death: a living trainer goes on copying and comes back with its arena. Until then what is
// sealed is persisted, what is being copied is left alone, and the run stays locked.
void DaemonCore::line_broken(const std::shared_ptr<RunSession>& session) {
  base::log(base::LogLevel::warn, "trainer.line_broken", {{"run", session->run()}, {"pid", session->pid()}});
  session->finish();
  session->set_away();
}

DaemonCore::Task DaemonCore::serve_messages(ClientPtr client) {
  Readiness readiness(io_, client->connection.native_handle());
  while (co_await readiness.wait()) {
    for (;;) {
      Result<std::optional<transport::Message>> received = client->connection.try_receive();
      if (!received.ok() && received.status().code() == Code::deadline) break;
      if (!received.ok()) {
        base::log(base::LogLevel::warn, "client.dropped", {{"error", received.status().message()}});
        co_return;
      }
      if (!received->has_value()) co_return;
      transport::Message message = std::move(**received);
      co_await handle(client, std::move(message));
      if (client->said_bye) co_return;
    }
  }
}

DaemonCore::Task DaemonCore::handle(ClientPtr client, transport::Message message) {
  last_used_ns_ = base::system_clock().monotonic_ns();
  Result<protocol::Message> decoded = protocol::decode(message.text);
  if (!decoded.ok()) {
    reply(*client, protocol::Failure{decoded.status().code(), decoded.status().message()});
    co_return;
  }
  if (auto* hello = std::get_if<protocol::Hello>(&*decoded)) {
    // Two containers may each have a process 1; to the kernel they are two.
    if (client->pid != 0) hello->pid = client->pid;
    co_await handle_hello(client, std::move(*hello), std::move(message.descriptors));
  } else if (std::holds_alternative<protocol::StatusRequest>(*decoded)) {
    reply(*client, status());
  } else if (client->session == nullptr) {
    reply(*client, protocol::Failure{Code::invalid_argument, "the first message of a trainer is 'hello'"});
  } else if (std::holds_alternative<protocol::Settle>(*decoded)) {
    co_await handle_settle(client, std::get<protocol::Settle>(*decoded));
  } else if (auto* request = std::get_if<protocol::ArenaRequest>(&*decoded)) {
    co_await handle_arena(client, *request);
  } else if (auto* hot = std::get_if<protocol::HotRequest>(&*decoded)) {
    co_await handle_hot_request(client, *hot);
  } else if (std::holds_alternative<protocol::HotDone>(*decoded)) {
    handle_hot_done(client);
  } else if (std::holds_alternative<protocol::Bye>(*decoded)) {
    co_await handle_bye(client);
  } else {
    reply(*client, protocol::Failure{Code::invalid_argument, "that message comes from a daemon, not to one"});
  }
}

asio::awaitable<bool> DaemonCore::poll_until(const std::function<bool()>& done, base::Deadline deadline) {
  asio::steady_timer timer(io_);
  while (!done()) {
    if (deadline.expired()) co_return false;
    timer.expires_after(std::chrono::milliseconds(kPollMs));
    co_await timer.async_wait(asio::use_awaitable);
  }
  co_return true;
}

DaemonCore::Task DaemonCore::watch_trainer(std::shared_ptr<RunSession> session) {
  Readiness readiness(io_, session->pidfd());
  stop_watching_[session.get()] = [&readiness] { readiness.cancel(); };
  (void)co_await readiness.wait();
  stop_watching_.erase(session.get());
  // Or the watch was ended, because the trainer goes on under another session.
  if (!session->gone() && transport::process_ended(session->pidfd())) trainer_gone(session, "died");
}

void DaemonCore::trainer_gone(const std::shared_ptr<RunSession>& session, const char* how) {
  base::log(base::LogLevel::info, "trainer.gone", {{"run", session->run()}, {"pid", session->pid()}, {"how", how}});
  session->trainer_gone(transport::process_ended(session->pidfd()));
  asio::co_spawn(io_, retire(session, nullptr), asio::detached);
}

// A rank waits for the parts of its fellows: while one of them writes, it moves as well.
std::uint64_t DaemonCore::progress_of(const RunSession& session) const {
  if (!session.joint()) return session.progress();
  std::uint64_t written = 0;
  for (const auto& one : sessions_) written += one->joint() == session.joint() ? one->progress() : 0;
  return written;
}

// Waits for what is captured, then lets go of arena and lock. `farewell` is answered when that is done.
DaemonCore::Task DaemonCore::retire(std::shared_ptr<RunSession> session, ClientPtr farewell) {
  const std::function<bool()> is_drained = [session] { return session->drained(); };
  bool drained = false;
  std::uint64_t progress = 0;
  do {  // a slow store is waited for as long as it moves
    progress = progress_of(*session);
    drained = co_await poll_until(is_drained, base::Deadline::after_ms(config_.shutdown_deadline_seconds * 1000));
  } while (!drained && progress_of(*session) != progress);
  if (!drained) base::log(base::LogLevel::error, "trainer.not_drained", {{"run", session->run()}, {"pid", session->pid()}});
  // A successor of a group restores from the store.
  if (session->died() && session->is_alone()) co_await stay_for_successor(session);
  const std::function<bool()> drop = [session] {
    session->drop();
    session->leave_group();
    return true;
  };
  co_await run_blocking(*blocking_, drop);
  std::erase(sessions_, session);
  // A trainer that has closed may live on for weeks; its session and its pidfd must not.
  if (const auto watch = stop_watching_.find(session.get()); watch != stop_watching_.end()) watch->second();
  last_used_ns_ = base::system_clock().monotonic_ns();
  base::log(base::LogLevel::info, "trainer.retired", {{"run", session->run()}, {"pid", session->pid()}});
  if (farewell) reply(*farewell, protocol::Done{});
}

DaemonCore::Task DaemonCore::stop_on_signal() {
  boost::system::error_code error;
  const int signal = co_await signals_.async_wait(asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return;
  base::log(base::LogLevel::info, "daemon.stopping", {{"signal", signal}});
  co_await stop();
}

// Finishes what is captured; a snapshot still being copied is left in its arena, which the trainer hands to the next daemon.
DaemonCore::Task DaemonCore::stop() {
  if (std::exchange(stopping_, true)) co_return;
  served_.stop_listening();  // who comes now starts the next daemon
  for (const auto& session : sessions_) session->finish(/*stopping=*/true);
  const auto deadline = base::Deadline::after_ms(config_.shutdown_deadline_seconds * 1000);
  const std::function<bool()> all_drained = [this] {
    return std::all_of(sessions_.begin(), sessions_.end(), [](const auto& one) { return one->drained(); });
  };
  const bool drained = co_await poll_until(all_drained, deadline);
  if (!drained) base::log(base::LogLevel::error, "daemon.stop_deadline", {{"seconds", config_.shutdown_deadline_seconds}});
  io_.stop();
}

DaemonCore::Task DaemonCore::watch_idle() {
  if (config_.idle_exit_seconds == 0) co_return;
  asio::steady_timer timer(io_);
  const auto limit_ns = static_cast<std::int64_t>(config_.idle_exit_seconds) * 1'000'000'000;
  while (!stopping_) {
    timer.expires_after(std::chrono::milliseconds(250));
    co_await timer.async_wait(asio::use_awaitable);
    const bool in_use = std::ranges::any_of(sessions_, [](const auto& one) {
      return !one->stay().is_resting() || one->stay().holds_only_copy();
    });
    if (in_use) last_used_ns_ = base::system_clock().monotonic_ns();
    if (base::system_clock().monotonic_ns() - last_used_ns_ < limit_ns) continue;
    base::log(base::LogLevel::info, "daemon.idle", {{"seconds", config_.idle_exit_seconds}});
    co_await stop();
  }
}

}  // namespace stillframe::daemon
