#include "client/link.hpp"

#include <unistd.h>

#include <algorithm>

#include "base/futex.hpp"
#include "env/env.hpp"

namespace stillframe::client {
namespace {

constexpr std::uint64_t kTickMs = 200;
constexpr std::uint64_t kLongestPauseMs = 5000;
constexpr std::uint64_t kAttemptsBeforeTrouble = 6;
// A daemon whose socket was removed makes it again within a second. Its lock beside it says that there was one.
constexpr std::uint64_t kBoundAgainMs = 5000;

}  // namespace

std::uint64_t daemons_share_ms(const base::Deadline& deadline) noexcept {
  const auto remaining_ms = static_cast<std::uint64_t>(deadline.remaining_ms());
  return remaining_ms - remaining_ms / 4;
}

Result<std::unique_ptr<Link>> Link::open(LinkOptions options, LinkEvents events) {
  std::unique_ptr<Link> link(new Link(std::move(options), std::move(events)));
  // A daemon that is just leaving (idle, or stopping) makes room for the next one within moments.
  const auto deadline = base::Deadline::after_ms(link->options_.connect_deadline_ms);
  Status connected = link->connect(-1);
  const std::atomic<std::uint32_t> never{0};
  const auto bound_again = base::Deadline::after_ms(kBoundAgainMs);
  const auto may_try_again = [&] {
    const bool reached = std::exchange(link->reached_, false);
    if (link->options_.may_spawn) return reached;
    const auto served = env::posix_env().exists(link->options_.spawn.socket + ".lock");
    return served.ok() && *served && !bound_again.expired();
  };
  while (connected.code() == Code::unavailable && may_try_again() && !deadline.expired()) {
    base::futex_wait(never, 0, deadline.at_most_ms(kTickMs));
    connected = link->connect(-1);
  }
  SF_TRY(connected);
  SF_ASSIGN(link->thread_, base::Thread::start("sf-monitor", [raw = link.get()] { raw->monitor(); }));
  return link;
}

Link::~Link() {
  stopping_ = true;
  if (const auto current = connection()) current->shutdown();
  changed_.notify_all();
  thread_.join();
}

void Link::set_newest_checkpoint(const std::string& name) {
  const std::lock_guard lock(mutex_);
  newest_checkpoint_ = name;
}

std::uint64_t Link::connections_made() const {
  const std::lock_guard lock(mutex_);
  return connections_made_;
}

void Link::begin_anew(std::uint64_t connection_number) {
  const std::lock_guard lock(mutex_);
  if (connection_ != nullptr && connections_made_ == connection_number) connection_->shutdown();
}

std::shared_ptr<transport::Connection> Link::connection() const {
  const std::lock_guard lock(mutex_);
  return connection_;
}

PersistCadence Link::cadence() const {
  const std::lock_guard lock(mutex_);
  return cadence_;
}

namespace {

// A restore reads the store itself, which the daemon may just have made.
Status check_seen(const std::string& path) {
  const auto here = env::posix_env().info(path);
  if (here.ok()) return {};
  const std::string found = here.status().code() == Code::not_found ? "nothing" : here.status().message();
  return {Code::invalid_argument, "the daemon has opened its store '" + path + "', and for this process there is " + found +
                                      " at that path: mount the store at one path for both (in a container too)"};
}

}  // namespace

// Connects and says hello; with a memfd, hands the arena over.
Status Link::connect(int memfd) {
  const auto deadline = base::Deadline::after_ms(options_.connect_deadline_ms);
  auto made = options_.may_spawn ? connect_or_spawn(options_.spawn, deadline)
                                 : transport::connect(options_.spawn.socket, deadline);
  if (!made.ok()) {
    return Status(Code::unavailable, made.status().message()).with_context("no daemon at " + options_.spawn.socket);
  }
  auto fresh = std::make_shared<transport::Connection>(std::move(made).value());
  ForkGuard guard(fresh->native_handle());
  SF_ASSIGN(const base::UniqueFd pidfd, transport::open_pidfd(::getpid()));
  protocol::Hello hello = options_.hello;
  hello.adopt = memfd >= 0;
  {
    const std::lock_guard lock(mutex_);
    hello.store_file_id = store_file_id_;
    hello.newest_checkpoint = newest_checkpoint_;
  }
  hello.generation = generation_;
  std::vector<int> descriptors{pidfd.get()};
  if (hello.adopt) descriptors.push_back(memfd);
  reached_ = true;
  const Status sent = fresh->send(protocol::encode(hello), descriptors, deadline);
  // A daemon that refuses whoever comes says why before it closes, and may have closed by now.
  if (!sent.ok() && sent.code() != Code::unavailable) return sent;
  SF_ASSIGN(auto received, fresh->receive(deadline));
  if (!received) return {Code::unavailable, "the daemon closed the connection at once (its log says why)"};
  SF_ASSIGN(const protocol::Message message, protocol::decode(received->text));
  if (const auto* failure = std::get_if<protocol::Failure>(&message)) return {failure->code, failure->message};
  const auto* welcome = std::get_if<protocol::Welcome>(&message);
  if (welcome == nullptr) return {Code::corrupt, "the daemon answered hello with something else"};
  // Not when it comes back: a look at a file system that hangs would hold up the thread that hears of everything.
  if (const Status seen = memfd < 0 && connections_made() == 0 ? check_seen(hello.store) : Status(); !seen.ok()) {
    fresh->send(protocol::encode(protocol::Bye{}), {}, deadline).ignore("it goes in any case");
    return seen;
  }
  const std::lock_guard lock(mutex_);
  store_file_id_ = welcome->store_file_id;
  daemon_pid_ = welcome->daemon_pid;
  generation_ = welcome->generation;
  cadence_ = {welcome->persist_every_steps, welcome->persist_every_seconds};
  connection_ = std::move(fresh);
  ++connections_made_;
  answers_to_pass_over_ = 0;
  guard_ = std::move(guard);
  connected_ = true;
  in_trouble_ = false;
  changed_.notify_all();
  return {};
}

Result<Link::Reply> Link::ask(const protocol::Message& request, const base::Deadline& deadline) {
  return ask_until(request, deadline, nullptr);
}

Result<Link::Reply> Link::ask_patiently(const protocol::Message& request, const base::Deadline& deadline,
                                        const std::atomic<bool>& dropped) {
  return ask_until(request, deadline, &dropped);
}

void Link::wake() noexcept {
  const std::lock_guard lock(mutex_);  // or who is about to wait would miss it
  changed_.notify_all();
}

Result<Link::Reply> Link::ask_until(const protocol::Message& request, const base::Deadline& deadline,
                                    const std::atomic<bool>* dropped) {
  for (;;) {
    const std::shared_ptr<transport::Connection> current = connection();
    Result<Reply> reply = ask_once(current, request, deadline, dropped);
    if (reply.ok() || reply.status().code() != Code::unavailable || !has_other(current, deadline, dropped)) return reply;
  }
}

// Waits for the connection that comes after `old`; false when there is no use in waiting longer.
bool Link::has_other(const std::shared_ptr<transport::Connection>& old, const base::Deadline& deadline,
                     const std::atomic<bool>* dropped) {
  std::unique_lock lock(mutex_);
  const auto is_there = [this, &old] { return connection_ != nullptr && connection_ != old; };
  const auto is_dropped = [dropped] { return dropped != nullptr && *dropped; };
  changed_.wait_for(lock, deadline.remaining(),
                    [&] { return is_there() || leaving_ || stopping_ || in_trouble_ || is_dropped(); });
  return is_there() && !is_dropped();
}

Result<Link::Reply> Link::ask_once(const std::shared_ptr<transport::Connection>& current, const protocol::Message& request,
                                   const base::Deadline& deadline, const std::atomic<bool>* dropped) {
  std::unique_lock lock(mutex_);
  if (current == nullptr || connection_ != current) {
    return Status(Code::unavailable, "the daemon is gone and none has come back yet");
  }
  asking_ = true;
  reply_.reset();
  lock.unlock();
  const Status sent = current->send(protocol::encode(request), {}, deadline);
  lock.lock();
  if (sent.ok()) {
    changed_.wait_for(lock, deadline.remaining(), [&] {
      return reply_.has_value() || connection_ != current || (dropped != nullptr && *dropped);
    });
  }
  asking_ = false;
  if (!sent.ok()) return sent.with_context("asking the daemon");
  if (!reply_) {
    if (connection_ != current) return Status(Code::unavailable, "the daemon went away before it answered");
    // A late answer must not be taken for the next request's.
    if (dropped != nullptr) {
      ++answers_to_pass_over_;
    } else {
      current->shutdown();
    }
    return Status(Code::deadline, "the daemon did not answer in time");
  }
  Reply reply = std::move(*reply_);
  reply_.reset();
  if (const auto* failure = std::get_if<protocol::Failure>(&reply.message)) return Status(failure->code, failure->message);
  return reply;
}

void Link::leave_unanswered() {
  leaving_ = true;
  if (const auto current = connection()) {
    current->send(protocol::encode(protocol::Bye{}), {}, base::Deadline::after_ms(kTickMs))
        .ignore("a daemon that does not hear it sees the line end");
  }
}

Status Link::leave(const base::Deadline& deadline) {
  leaving_ = true;
  return ask(protocol::Bye{}, deadline).status();
}

void Link::monitor() {
  while (!stopping_) {
    if (connected_) {
      receive_once();
    } else if (leaving_) {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, std::chrono::milliseconds(kTickMs), [this] { return stopping_.load(); });
    } else {
      come_back();
    }
    events_.on_tick();
  }
}

void Link::receive_once() {
  const std::shared_ptr<transport::Connection> current = connection();
  auto received = current->receive(base::Deadline::after_ms(kTickMs));
  if (stopping_) return;
  if (!received.ok()) {
    if (received.status().code() != Code::deadline) lose(received.status().message());
    return;
  }
  if (!received->has_value()) return lose("it closed the connection");
  auto message = protocol::decode((*received)->text);
  if (!message.ok()) return lose(message.status().message());
  if (const auto* news = std::get_if<protocol::SnapshotNews>(&*message)) return events_.on_news(*news);
  const std::lock_guard lock(mutex_);
  if (answers_to_pass_over_ != 0) {
    --answers_to_pass_over_;
    return;
  }
  if (!asking_) return;
  reply_ = Reply{std::move(*message), std::move((*received)->descriptors), connections_made_};
  changed_.notify_all();
}

void Link::lose(const std::string& why) {
  {
    const std::lock_guard lock(mutex_);
    connected_ = false;
    connection_.reset();
    guard_ = ForkGuard();
    attempts_ = 0;
  }
  changed_.notify_all();
  if (!leaving_) events_.on_lost(why);
}

void Link::come_back() {
  const int handed_over = events_.arena_memfd();
  const Status connected = connect(handed_over);
  // It came with an answer of the daemon before while this was on its way: the new one must hear of it.
  if (connected.ok() && events_.arena_memfd() != handed_over) return begin_anew(connections_made());
  if (connected.ok()) return events_.on_back(daemon_pid_);
  const bool in_trouble = ++attempts_ == kAttemptsBeforeTrouble;
  if (in_trouble) events_.on_still_lost(connected.message());
  std::unique_lock lock(mutex_);
  if (in_trouble) {
    in_trouble_ = true;
    changed_.notify_all();
  }
  const std::uint64_t pause_ms = std::min<std::uint64_t>(kLongestPauseMs, 100 << std::min<std::uint64_t>(attempts_, 6));
  changed_.wait_for(lock, std::chrono::milliseconds(pause_ms), [this] { return stopping_.load(); });
}

}  // namespace stillframe::client
