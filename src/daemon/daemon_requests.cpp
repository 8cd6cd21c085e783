// What the daemon answers to a trainer, message by message.
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "base/bytes.hpp"
#include "base/checksum.hpp"
#include "base/log.hpp"
#include "daemon/blocking.hpp"
#include "daemon/daemon_core.hpp"

namespace stillframe::daemon {

namespace asio = boost::asio;

namespace {

constexpr std::uint64_t kReplyDeadlineMs = 300;
constexpr std::uint64_t kTurnDeadlineMs = 15'000;
// A store that hangs may keep the memory of another run's trainer for ever: then what is free must do.
constexpr std::uint64_t kLongestForRoomMs = 60'000;
constexpr std::uint64_t kGroupTurnDeadlineMs = 3'600'000;
constexpr std::uint64_t kGoodbyeDeadlineMs = 3000;
constexpr std::uint64_t kGenerationPatienceMs = 5000;

std::string new_generation(const protocol::Hello& hello) {
  const std::string text = hello.store + "\n" + hello.run + "\n" + std::to_string(hello.pid) + "\n" +
                           std::to_string(base::system_clock().unix_ns()) + "\n" +
                           std::to_string(base::system_clock().monotonic_ns());
  return base::xxh128(base::as_bytes(text)).hex();
}

protocol::SnapshotNews to_message(const persist::News& news) {
  return {news.snapshot_id, news.state, news.sequence, news.name, news.raw_bytes, news.stored_bytes,
          news.code,        news.error, news.alarms};
}

Seated seat_of(const RunSession& session) {
  const auto& joint = session.joint();
  Seated seat;
  seat.group = session.group();
  seat.rank = session.rank();
  seat.world_size = session.world_size();
  seat.pid = session.pid();
  seat.living = !session.gone() && !transport::process_ended(session.pidfd());
  seat.away = session.away();
  seat.open = seat.living && joint && joint->is_open();
  if (joint) seat.generation = joint->id();
  seat.rebuilt = joint && joint->is_rebuilt();
  seat.has_arena = session.arena_facts().memfd >= 0;
  return seat;
}

// Taken until its end.
class Turn {
 public:
  explicit Turn(bool& taken) noexcept : taken_(taken) { taken_ = true; }
  ~Turn() { taken_ = false; }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  bool& taken_;
};

}  // namespace

void DaemonCore::reply(const Client& client, const protocol::Message& message, int descriptor) const {
  const std::span<const int> descriptors(&descriptor, descriptor >= 0 ? 1 : 0);
  const Status sent =
      client.connection.send(protocol::encode(message), descriptors, base::Deadline::after_ms(kReplyDeadlineMs));
  if (sent.ok()) return;
  base::log(base::LogLevel::debug, "client.unreachable", {{"error", sent.message()}});
  // Who asks and never reads would hold up the loop once more with each question.
  client.connection.shutdown();
}

Result<Placement> DaemonCore::admit(const protocol::Hello& hello, const std::vector<base::UniqueFd>& descriptors) const {
  if (stopping_) return Status(Code::unavailable, "the daemon is stopping");
  if (descriptors.size() != (hello.adopt ? 2U : 1U)) {
    return Status(Code::invalid_argument, "'hello' brings a pidfd, and with 'adopt' an arena");
  }
  if (!config_.private_store.empty() && hello.store != config_.private_store) {
    return Status(Code::invalid_argument, "this daemon serves only " + config_.private_store +
                                              " (daemon.private_store), not " + hello.store);
  }
  std::vector<Seated> seated;
  for (const auto& session : sessions_of(hello.store, hello.run)) seated.push_back(seat_of(*session));
  // One of a generation whose end was not yet noticed closes it for all.
  for (Seated& one : seated) {
    one.open = one.open && std::all_of(seated.begin(), seated.end(), [&](const Seated& other) {
                 return other.generation != one.generation || other.living;
               });
  }
  Placement placement = place_of(seated, hello);
  SF_TRY(placement.refused);
  return placement;
}

std::vector<std::shared_ptr<RunSession>> DaemonCore::sessions_of(const std::string& store, const std::string& run) const {
  std::vector<std::shared_ptr<RunSession>> found;
  for (const auto& session : sessions_) {
    if (session->store_path() == store && session->run() == run) found.push_back(session);
  }
  return found;
}

std::vector<std::shared_ptr<RunSession>> DaemonCore::predecessors(const RunSession& session) const {
  std::vector<std::shared_ptr<RunSession>> found = sessions_of(session.store_path(), session.run());
  const auto self = std::find_if(found.begin(), found.end(), [&](const auto& one) { return one.get() == &session; });
  found.erase(self, found.end());
  std::erase_if(found, [&](const auto& one) { return session.joint() && one->joint() == session.joint(); });
  return found;
}

DaemonCore::Task DaemonCore::handle_hello(ClientPtr client, protocol::Hello hello,
                                          std::vector<base::UniqueFd> descriptors) {
  // Before its turn: a fellow that is greeted waits for the end of the old place.
  end_what_begins_anew(hello);
  // One at a time for a run: each looks for predecessors, waits, and then becomes one.
  const std::pair<std::string, std::string> key(hello.store, hello.run);
  const bool of_group = hello.world_size > 1;
  const std::function<bool()> free_or_left = [this, key, client, of_group] {
    return !greeting_.contains(key) || (of_group && client->connection.peer_closed());
  };
  // The first rank of a group may recover the store for long; the others wait as long as they want to themselves.
  const auto deadline = base::Deadline::after_ms(of_group ? kGroupTurnDeadlineMs : kTurnDeadlineMs);
  (void)co_await poll_until(free_or_left, deadline);
  if (of_group && client->connection.peer_closed()) co_return;
  if (greeting_.contains(key)) {
    reply(*client, protocol::Failure{Code::busy, "another process is being given run '" + hello.run + "' right now"});
    co_return;
  }
  greeting_.insert(key);
  co_await greet(client, std::move(hello), std::move(descriptors));
  greeting_.erase(key);
}

void DaemonCore::end_what_begins_anew(const protocol::Hello& hello) {
  for (const auto& session : sessions_of(hello.store, hello.run)) {
    if (!session->gone() && begins_anew(seat_of(*session), hello)) trainer_gone(session, "began anew");
  }
}

DaemonCore::Task DaemonCore::greet(ClientPtr client, protocol::Hello hello, std::vector<base::UniqueFd> descriptors) {
  Result<Placement> admitted = admit(hello, descriptors);
  if (!admitted.ok() && admitted.status().code() == Code::busy) {
    // It may be this very process, whose goodbye is still on its way on another line, or a group that is started again
    // while the last of its old processes is being ended.
    const std::function<bool()> admissible = [this, &hello, &descriptors] {
      end_what_begins_anew(hello);  // its line may break only now
      return admit(hello, descriptors).ok();
    };
    const bool own = std::ranges::any_of(sessions_of(hello.store, hello.run),
                                         [&](const auto& one) { return one->pid() == hello.pid; });
    const std::uint64_t patience_ms = hello.world_size > 1 ? kGenerationPatienceMs : own ? kGoodbyeDeadlineMs : 0;
    if (patience_ms != 0) (void)co_await poll_until(admissible, base::Deadline::after_ms(patience_ms));
    admitted = admit(hello, descriptors);  // who is in the way by now
  }
  if (!admitted.ok()) {
    reply(*client, protocol::Failure{admitted.status().code(), admitted.status().message()});
    co_return;
  }
  std::shared_ptr<env::Lock> inherited;
  std::shared_ptr<persist::GroupCommit> joint;
  for (const auto& before : sessions_of(hello.store, hello.run)) {
    if (auto lock = before->lock()) inherited = std::move(lock);
    const bool together = before->joint() && admitted->generation == before->joint()->id();
    if (together) joint = before->joint();
    if (together && before->rank() != hello.rank) continue;
    const bool returns = before->pid() == hello.pid && before->rank() == hello.rank && (hello.adopt || together);
    if (!returns) {
      if (!before->gone()) trainer_gone(before, before->pid() == hello.pid ? "began anew" : "died");
    } else {
      // The same arena must never have two persisters. What is being copied goes on, and is the new one's to follow.
      before->finish();
      const std::function<bool()> drop = [before] {
        before->drop();
        return true;
      };
      co_await run_blocking(*blocking_, drop);
      std::erase(sessions_, before);
      if (const auto watch = stop_watching_.find(before.get()); watch != stop_watching_.end()) watch->second();
    }
  }
  if (joint == nullptr && hello.world_size > 1) {
    using persist::GroupCommit;
    const bool begins = admitted->generation.empty();
    joint = std::make_shared<GroupCommit>(begins ? new_generation(hello) : admitted->generation, hello.group,
                                          hello.world_size, config_.group_deadline_seconds * 1000,
                                          begins ? GroupCommit::Origin::begun : GroupCommit::Origin::rebuilt);
  }
  const auto pidfd = std::make_shared<base::UniqueFd>(std::move(descriptors[0]));
  const std::function<Result<std::shared_ptr<RunSession>>()> open = [this, hello, pidfd, inherited, joint] {
    return RunSession::open(hello, config_, std::move(*pidfd), inherited, joint);
  };
  const auto opened = co_await run_blocking(*blocking_, open);
  if (!opened.ok()) {
    reply(*client, protocol::Failure{opened.status().code(), opened.status().message()});
    co_return;
  }
  client->session = *opened;
  (*opened)->set_scrubber(scrubber_for(**opened));
  sessions_.push_back(*opened);
  if (hello.adopt) {
    const auto memfd = std::make_shared<base::UniqueFd>(std::move(descriptors[1]));
    const std::function<Status()> adopt = [this, session = *opened, memfd, news = news_to(client)] {
      return session->adopt(std::move(*memfd), *encoders_, news);
    };
    const Status adopted = co_await run_blocking(*blocking_, adopt);
    if (!adopted.ok()) {
      std::erase(sessions_, *opened);
      client->session = nullptr;
      reply(*client, protocol::Failure{adopted.code(), adopted.message()});
      co_return;
    }
  }
  base::log(base::LogLevel::info, "trainer.joined",
            {{"run", hello.run},
             {"store", hello.store},
             {"pid", hello.pid},
             {"rank", hello.rank},
             {"world_size", hello.world_size},
             {"reads_format", hello.reads_format},
             {"adopted", hello.adopt ? "yes" : "no"}});
  asio::co_spawn(io_, watch_trainer(*opened), asio::detached);
  const RunSession::Cadence cadence = (*opened)->persist_cadence();
  reply(*client, protocol::Welcome{hello.protocol, STILLFRAME_VERSION, ::getpid(),
                                   joint ? joint->id() : std::string(), cadence.every_steps, cadence.every_seconds,
                                   (*opened)->store_file_id()});
}

DaemonCore::Task DaemonCore::handle_settle(ClientPtr client, protocol::Settle settle) {
  const auto session = client->session;
  const std::function<bool()> nothing_on_its_way = [this, session] {
    const auto before = predecessors(*session);
    return std::all_of(before.begin(), before.end(), [](const auto& one) { return one->drained(); });
  };
  const bool settled =
      co_await poll_until(nothing_on_its_way, base::Deadline::after_ms(settle.deadline_ms));
  if (settled) {
    reply(*client, protocol::Done{});
  } else {
    reply(*client, protocol::Failure{Code::deadline, "what the process before had captured is not durable yet"});
  }
}

DaemonCore::Task DaemonCore::handle_arena(ClientPtr client, protocol::ArenaRequest request) {
  const auto session = client->session;
  const protocol::Failure not_free{Code::deadline, "the memory of the process before is not free yet"};
  // Sequences stay in order. One that has nothing more to write is in nobody's way but for its memory.
  const std::function<bool()> my_turn = [this, session] {
    const auto before = predecessors(*session);
    return !granting_ && std::ranges::none_of(before, [](const auto& one) { return !one->is_alone() || !one->drained(); });
  };
  // Who does not wait may still ask for what that memory holds.
  if (request.deadline_ms != 0) let_go_of_hot(client);
  const bool in_turn = my_turn() || co_await poll_until(my_turn, base::Deadline::after_ms(request.deadline_ms));
  if (!in_turn || (request.deadline_ms == 0 && !predecessors(*session).empty() && is_short_of(*session, request))) {
    reply(*client, not_free);
    co_return;
  }
  // Before the first suspension: what make_room() has found free must still be so when it is given away.
  const Turn turn(granting_);
  co_await make_room(session, request);
  // Who trains meanwhile asks again rather than make do with what is free before the memory of others has gone.
  if (request.while_training && is_short_of(*session, request) && somebody_goes() &&
      !session->has_asked_for_ms(kLongestForRoomMs, base::system_clock().monotonic_ns())) {
    reply(*client, not_free);
    co_return;
  }
  const std::uint64_t free_bytes = free_arena_bytes();
  if (request.deadline_ms == 0 && session->would_refuse(request, free_bytes) && who_makes_room(true) != nullptr) {
    reply(*client, protocol::Failure{Code::deadline, "room for it must be made first, and that takes a moment"});
    co_return;
  }
  const std::function<Result<protocol::ArenaReady>()> provide = [this, session, request, free_bytes,
                                                                 news = news_to(client)] {
    return session->provide_arena(request, free_bytes, *encoders_, news);
  };
  const auto ready = co_await run_blocking(*blocking_, provide);
  if (ready.ok()) {
    if (request.deadline_ms != 0 && !request.while_training) let_go_of_stored(*session);
    reply(*client, *ready, session->arena_facts().memfd);
  } else {
    reply(*client, protocol::Failure{ready.status().code(), ready.status().message()});
  }
}

DaemonCore::Task DaemonCore::handle_bye(ClientPtr client) {
  client->said_bye = true;
  client->session->trainer_gone();
  co_await retire(client->session, client);
}

// One for each store that is served: it lives as long as the sessions that share it.
std::shared_ptr<Scrubber> DaemonCore::scrubber_for(const RunSession& session) const {
  if (config_.scrub_bytes_per_second == 0) return nullptr;
  for (const auto& other : sessions_) {
    if (other->store_path() != session.store_path()) continue;
    if (auto scrubber = other->scrubber()) return scrubber;
  }
  ScrubOptions options;
  options.bytes_per_second = config_.scrub_bytes_per_second;
  options.every_seconds = config_.scrub_every_seconds;
  auto started = Scrubber::start(session.store(), options);
  if (started.ok()) return *started;
  base::log(base::LogLevel::warn, "scrub.failed", {{"store", session.store_path()}, {"error", started.status().message()}});
  return nullptr;
}

std::uint64_t DaemonCore::used_arena_bytes() const {
  std::uint64_t used = 0;
  for (const auto& session : sessions_) used += session->arena_facts().committed_bytes;
  return used;
}

std::uint64_t DaemonCore::free_arena_bytes() const {
  const std::uint64_t used = used_arena_bytes();
  return config_.budget_bytes > used ? config_.budget_bytes - used : 0;
}

// Called on persist threads; the words travel on the event loop. A client that does not read loses words, never state.
std::function<void(const persist::News&)> DaemonCore::news_to(const ClientPtr& client) {
  return [this, weak = std::weak_ptr<Client>(client)](const persist::News& news) {
    asio::post(io_, [weak, message = protocol::encode(to_message(news))] {
      const ClientPtr living = weak.lock();
      if (!living) return;
      const Status sent = living->connection.send(message, {}, base::Deadline::after_ms(0));
      if (!sent.ok()) base::log(base::LogLevel::debug, "news.lost", {{"error", sent.message()}});
    });
  };
}

}  // namespace stillframe::daemon
