// The fence: what the trainer's thread and its streams wait for before a tensor may change.
#include "capture/copier.hpp"

namespace stillframe::capture {

Status Copier::fence(const base::Deadline& deadline, std::span<const StreamRef> streams) {
  SF_TRY(wait_copied(deadline, streams));
  std::shared_ptr<Progress> progress;
  arena::SnapshotHandle handle;
  {
    const std::lock_guard lock(mutex_);
    progress = std::exchange(pending_, nullptr);
    handle = pending_handle_;
  }
  if (progress != nullptr) confirm_unless_abandoned(handle);
  return {};
}

// Whatever became of it since: one that could not be written waits in memory until it, or a newer one, is confirmed.
void Copier::confirm_unless_abandoned(const arena::SnapshotHandle& handle) {
  const auto now = trainer_.progress(handle);
  if (now && now->state != arena::RecordState::abandoned) trainer_.confirm(handle);
}

// The wait for "enqueued" comes first: a stream that waits for an event recorded later waits for nothing.
Status Copier::hold_back(const base::Deadline& deadline, std::span<const StreamRef> streams) {
  std::vector<DeviceEvent> copied;
  {
    std::unique_lock lock(mutex_);
    const bool known = changed_.wait_for(lock, deadline.remaining(),
                                         [this] { return enqueued_ || !copying_; });
    if (!known) return {Code::deadline, "its copies were not enqueued in time"};
    copied = copied_;
  }
  return streams_.hold_back(copied, streams, deadline);
}

Status Copier::wait_copied(const base::Deadline& deadline, std::span<const StreamRef> streams) {
  std::shared_ptr<Progress> progress;
  arena::SnapshotHandle handle;
  bool was_confirmed = false;
  {
    const std::lock_guard lock(mutex_);
    progress = pending_;
    handle = pending_handle_;
    // Confirmed, and a GPU copies on: every further stream must be told to wait. What was given up may be overwritten.
    was_confirmed = progress == nullptr && copying_ && !cancel_reason_;
    if (was_confirmed) progress = job_->progress;
  }
  if (progress == nullptr) return {};
  const std::int64_t from_ns = base::system_clock().monotonic_ns();
  const Status held = hold_back(deadline, streams);
  progress->add_fence_seconds(static_cast<double>(base::system_clock().monotonic_ns() - from_ns) * 1e-9);
  if (held.code() == Code::busy) return held;
  if (was_confirmed && progress->ended()) return {};  // its ticket says what became of it
  if (!held.ok()) {
    cancel(held.code() == Code::deadline ? "the fence's deadline passed before its tensors were copied" : held.message(),
           /*only_ring=*/false);
  }
  // Captured after all, when it was sealed between the end of the wait and the cancellation.
  if (!held.ok() && (progress->copying() || progress->ended())) {
    const std::lock_guard lock(mutex_);
    pending_ = nullptr;
    given_up_id_ = pending_handle_.snapshot_id;
    return {held.code(), "snapshot of step " + std::to_string(progress->info().step) + " was abandoned: " +
                             (held.code() == Code::deadline ? "its tensors were not copied before the fence's deadline"
                                                            : held.message()) +
                             "; training goes on, older checkpoints are whole"};
  }
  if (!progress->ended()) return {};
  confirm_unless_abandoned(handle);
  const std::lock_guard lock(mutex_);
  pending_ = nullptr;
  given_up_id_ = pending_handle_.snapshot_id;
  return starved_ ? Status(Code::deadline, progress->info().error + "; training goes on") : Status();
}

std::uint64_t Copier::given_up_at_fence() const {
  const std::lock_guard lock(mutex_);
  return given_up_id_;
}

bool Copier::wait_idle(const base::Deadline& deadline) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, deadline.remaining(), [this] { return !copying_; });
}

}  // namespace stillframe::capture
