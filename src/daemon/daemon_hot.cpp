// The daemon's side of a restore from memory: offers, holds, and how long the memory of a dead trainer stays.
#include <algorithm>

#include "base/log.hpp"
#include "daemon/blocking.hpp"
#include "daemon/daemon_core.hpp"

namespace stillframe::daemon {

namespace asio = boost::asio;

namespace {

// A client that reads for longer goes on reading its own mapping; only the memory is no longer counted.
constexpr std::uint64_t kLongestHoldMs = 600'000;
constexpr std::int64_t kNsPerMs = 1'000'000;
// Meanwhile no other run gets memory.
constexpr std::uint64_t kLongestTurnMs = 10'000;

std::int64_t now_ns() { return base::system_clock().monotonic_ns(); }

protocol::HotImage to_message(const HotOffer& offer) {
  return {offer.view.record,      offer.view.snapshot_id,      offer.view.step,
          offer.view.image_bytes, offer.view.descriptor_bytes, offer.name};
}

}  // namespace

DaemonCore::Task DaemonCore::handle_hot_request(ClientPtr client, protocol::HotRequest request) {
  let_go_of_hot(client);
  if (!client->session->is_alone()) {
    // The newest image of each rank may be of another step.
    reply(*client, protocol::HotNone{"a group of ranks restores what it committed together, from the store"});
    co_return;
  }
  std::vector<std::shared_ptr<RunSession>> before = predecessors(*client->session);
  std::reverse(before.begin(), before.end());  // the last one first
  const auto deadline = base::Deadline::after_ms(std::min(request.deadline_ms, kLongestHoldMs));
  for (const auto& dead : before) {
    if (!dead->died()) continue;
    // Before it is looked at: from here on it is not dropped.
    const auto held_ms = static_cast<std::int64_t>(std::min(request.deadline_ms, kLongestHoldMs));
    dead->stay().hold_until(client.get(), now_ns() + held_ms * kNsPerMs);
    client->hot = dead;
    const std::function<Result<std::optional<HotOffer>>()> offer = [dead, deadline] { return dead->offer_hot_image(deadline); };
    const auto offered = co_await run_blocking(*blocking_, offer);
    if (offered.ok() && *offered) {
      base::log(base::LogLevel::info, "hot.offered",
                {{"run", dead->run()}, {"step", (*offered)->view.step}, {"image_bytes", (*offered)->view.image_bytes}});
      reply(*client, to_message(**offered), (*offered)->memory.get());
      co_return;
    }
    let_go_of_hot(client);
    if (!offered.ok()) {
      // There may be an image: whoever finds nothing else must not begin anew.
      reply(*client, protocol::Failure{offered.status().code(), offered.status().message()});
      co_return;
    }
  }
  reply(*client, protocol::HotNone{"no process before has left an image in memory"});
}

void DaemonCore::handle_hot_done(const ClientPtr& client) {
  let_go_of_hot(client);
  reply(*client, protocol::Done{});
}

void DaemonCore::let_go_of_hot(const ClientPtr& client) {
  if (const auto dead = std::exchange(client->hot, nullptr)) dead->stay().let_go(client.get());
}

// A process that is started anew is there within seconds or minutes; the memory waits for it, unless somebody needs it.
DaemonCore::Task DaemonCore::stay_for_successor(std::shared_ptr<RunSession> session) {
  const std::function<Leavings()> look = [session] { return session->leavings(); };
  const Leavings leavings = co_await run_blocking(*blocking_, look);
  const std::int64_t rest_ns = static_cast<std::int64_t>(config_.hot_restore_seconds) * 1000 * kNsPerMs;
  if (leavings != Leavings::nothing) session->stay().rest_until(now_ns() + rest_ns, leavings == Leavings::only_copy);
  const std::function<bool()> not_wanted = [session] { return !session->stay().is_wanted(now_ns()); };
  const std::uint64_t longest_ms = config_.hot_restore_seconds * 1000 + kLongestHoldMs;
  (void)co_await poll_until(not_wanted, base::Deadline::after_ms(longest_ms));
}

// A successor that takes snapshots of its own needs none of them; what the store lacks waits until its time has passed.
void DaemonCore::let_go_of_stored(const RunSession& successor) const {
  for (const auto& before : predecessors(successor)) {
    if (before->stay().holds_stored_copy()) before->stay().end();
  }
}

// What the store lacks goes last, and only where a trainer would get no memory at all without it.
std::shared_ptr<RunSession> DaemonCore::who_makes_room(bool else_refused) const {
  std::shared_ptr<RunSession> only_copy;
  for (const auto& one : sessions_) {
    if (!one->stay().is_resting() || one->stay().is_held(now_ns())) continue;
    if (!one->stay().holds_only_copy()) return one;
    if (!only_copy) only_copy = one;
  }
  return else_refused ? only_copy : nullptr;
}

// Of room for two images.
bool DaemonCore::is_short_of(const RunSession& session, const protocol::ArenaRequest& request) const {
  const std::uint64_t chunks = arena::chunks_of(request.image_bytes) + arena::chunks_of(request.descriptor_bytes) + 1;
  const std::uint64_t two_images = (2 * chunks + kSegmentChunks) * kChunkBytes + arena::control_bytes(2 * chunks);
  const std::uint64_t wanted_bytes = std::min(two_images, session.budget_bytes());
  return used_arena_bytes() - session.arena_facts().committed_bytes + wanted_bytes > config_.budget_bytes;
}

// Between the end of its work and its rest, when it is known whether the store has what it holds, or its end.
bool DaemonCore::somebody_goes() const {
  return std::ranges::any_of(
      sessions_, [](const auto& one) { return one->gone() && one->drained() && !one->stay().is_resting(); });
}

DaemonCore::Task DaemonCore::make_room(std::shared_ptr<RunSession> session, protocol::ArenaRequest request) {
  const auto deadline = base::Deadline::after_ms(request.deadline_ms);
  const std::function<bool()> all_rest = [this] { return !somebody_goes(); };
  while (is_short_of(*session, request) && !deadline.expired()) {
    const bool else_refused = !request.while_training && session->would_refuse(request, free_arena_bytes());
    const std::shared_ptr<RunSession> goes = who_makes_room(else_refused);
    if (goes == nullptr) {
      if (all_rest() || !co_await poll_until(all_rest, deadline.at_most_ms(kLongestTurnMs))) co_return;
      continue;
    }
    goes->stay().end();
    const std::function<bool()> gone = [this, goes] { return std::ranges::find(sessions_, goes) == sessions_.end(); };
    if (!co_await poll_until(gone, deadline.at_most_ms(kLongestTurnMs))) co_return;
  }
}

}  // namespace stillframe::daemon
