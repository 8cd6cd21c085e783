// Which snapshots of this client go to the store.
#include <algorithm>

#include "client/core.hpp"

namespace stillframe::client {

// One that was to go there and did not leaves its turn to the next.
bool Core::goes_to_store(std::int64_t step) const {
  const bool lost = persisted_.progress != nullptr && persisted_.progress->ended();
  return is_due(link_->cadence(), lost ? std::nullopt : last_persisted_, step, base::system_clock().monotonic_ns());
}

void Core::count_taken(const Snapshot& snapshot, std::int64_t from_ns) {
  ++counters_.taken;
  ledger_->taken();
  copier_->trainer_side().tell_costs(ledger_->mean_block_seconds(), options_.mean_time_between_failures_seconds);
  const TicketInfo info = snapshot.progress->info();
  if (!info.persisted) {
    ++counters_.memory_only;
    return;
  }
  persisted_ = snapshot;
  last_persisted_ = LastPersisted{info.step, from_ns};
}

// The end of a run is durable, whatever the cadence says.
void Core::send_newest_to_store() {
  const std::lock_guard lock(mutex_);
  if (!copier_) return;
  const auto newest = std::find_if(outstanding_.rbegin(), outstanding_.rend(), [](const Outstanding& one) {
    return !one.snapshot.progress->ended() && !one.snapshot.progress->copying();
  });
  if (newest == outstanding_.rend() || newest->snapshot.progress->info().persisted) return;
  // A newer one that is or will be in the store has been given back to the arena already.
  const bool newer_is_there = persisted_.progress != nullptr && !persisted_.progress->ended() &&
                              persisted_.handle.snapshot_id > newest->snapshot.handle.snapshot_id;
  if (newer_is_there) return;
  newest->snapshot.progress->set_memory_only(false);
  --counters_.memory_only;
  copier_->trainer_side().send_to_store(newest->snapshot.handle);
}

}  // namespace stillframe::client
