// The copier: moves one snapshot at a time from live tensors into the arena, on its own native thread and copy stream.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "arena/trainer_side.hpp"
#include "base/clock.hpp"
#include "base/thread.hpp"
#include "capture/copy_streams.hpp"
#include "capture/plan.hpp"
#include "capture/progress.hpp"
#include "device/device.hpp"

namespace stillframe::capture {

struct Job {
  std::shared_ptr<const Plan> plan;
  std::vector<const void*> data;  // per source
  std::vector<StreamRef> streams;  // the trainer's, of the GPUs of the plan; one that is not here is the legacy default
  std::int64_t step = 0;
  std::int64_t taken_unix_ns = 0;
  std::vector<std::byte> descriptor;
  std::shared_ptr<Progress> progress;
  bool of_group = false;  // of several ranks: captured when the daemon says so, and not with its own seal
  bool memory_only = false;  // captured, and not for the store
  std::int64_t taken_monotonic_ns = 0;
};

// prepare(), submit(), fence() and wait_idle() come from the training thread; cancel() from any.
class Copier {
 public:
  // `devices` and `arena` outlive the copier. `scratch_bytes`: the most memory for unguarded entries, on the host (more
  // is copied in the call) and on each GPU (more is refused by prepare()).
  [[nodiscard]] static Result<std::unique_ptr<Copier>> start(Devices& devices, const arena::Arena& arena,
                                                             std::uint64_t scratch_bytes, std::uint64_t fence_deadline_ms,
                                                             CaptureCheck check);
  ~Copier();
  Copier(const Copier&) = delete;
  Copier& operator=(const Copier&) = delete;

  // Opens what the plan's snapshots need on its devices, before the first of them. busy while a snapshot is being copied,
  // unavailable while one that was given up may still be.
  [[nodiscard]] Status prepare(const Plan& plan);

  // Takes unguarded entries (into the scratch, or by waiting for the whole copy when they are larger than it) and hands
  // the rest to the thread. The handle names the snapshot in the arena. busy when it cannot be taken now: a snapshot is
  // still being copied, or earlier ones hold the arena; nothing has changed then.
  [[nodiscard]] Result<arena::SnapshotHandle> submit(Job job, const base::Deadline& deadline);

  // busy while a graph is being captured from one of the trainer's streams: waiting for room is in vain then.
  [[nodiscard]] Status refuse_in_capture(const Plan& plan, std::span<const StreamRef> streams) const;

  // What the caller changes from now on changes after the pending snapshot was copied: on the host it has been when this
  // returns; on a GPU the trainer's streams wait, and the caller only until every copy is enqueued; further streams also
  // behind its fence, as long as it is being copied. deadline: it was
  // abandoned. busy: a graph is being captured from one of the streams, which got nothing; the others wait; it stays pending.
  [[nodiscard]] Status wait_copied(const base::Deadline& deadline, std::span<const StreamRef> streams = {});
  // The same, and the snapshot is confirmed: nothing had moved before it was copied.
  [[nodiscard]] Status fence(const base::Deadline& deadline, std::span<const StreamRef> streams = {});
  // The id of the snapshot that the last failed one of these two was about.
  [[nodiscard]] std::uint64_t given_up_at_fence() const;
  // Until nothing is being copied; false when the deadline passed.
  [[nodiscard]] bool wait_idle(const base::Deadline& deadline);
  // The snapshot being copied ends as abandoned for `reason`. With `only_ring`, only when the arena is too small to hold
  // it whole (its early chunks lived with the daemon).
  void cancel(const std::string& reason, bool only_ring);
  // Confirms or withdraws a snapshot handed in before.
  void confirm(const arena::SnapshotHandle& handle) { trainer_.confirm(handle); }

  [[nodiscard]] arena::TrainerSide& trainer_side() noexcept { return trainer_; }
  // Of the GPUs prepared so far that have had anything to gather. From any thread.
  [[nodiscard]] std::vector<GatherWay> gather_ways() const;
  // Of the GPUs prepared so far. From any thread.
  [[nodiscard]] std::vector<CheckWay> check_ways() const;
  // Cancels what is being copied, unless its last byte is there, and ends the thread; the destructor calls it.
  void stop();
  // Copies of a snapshot that was given up had not ended in the time given, and may still be written to the arena: it must
  // stay mapped. Until they have ended no further snapshot is taken.
  [[nodiscard]] bool is_stuck() const;

 private:
  struct Filling {
    std::uint64_t chunk = 0;
    std::uint64_t slot = 0;
    std::vector<std::shared_ptr<device::Event>> copied;
  };
  Copier(Devices& devices, const arena::Arena& arena, std::uint64_t scratch_bytes, std::uint64_t fence_deadline_ms,
         CaptureCheck check);
  void run();
  void copy_job();
  [[nodiscard]] Status copy_descriptor();
  [[nodiscard]] Status copy_image();
  [[nodiscard]] Status start_chunk(std::uint64_t chunk, std::uint64_t slot);
  [[nodiscard]] Status finish_oldest();
  [[nodiscard]] Status finish_reached();
  [[nodiscard]] Status all_enqueued();
  void stop_copies();
  [[nodiscard]] Status still_stuck();        // with mutex_ held
  [[nodiscard]] bool all_is_copied() const;  // likewise: of the snapshot being copied, the seal is a moment away
  [[nodiscard]] bool is_checked_for_long() const;  // likewise
  void give_up(const Status& why);
  void confirm_unless_abandoned(const arena::SnapshotHandle& handle);
  [[nodiscard]] Status hold_back(const base::Deadline& deadline, std::span<const StreamRef> streams);
  [[nodiscard]] Result<std::uint64_t> lease(arena::SlotKind kind, std::uint64_t index);
  [[nodiscard]] Status cancelled();
  [[nodiscard]] Status prove();
  [[nodiscard]] Status seal();
  [[nodiscard]] static Status given_up_by_daemon();
  void take_unguarded();

  const arena::Arena* arena_;
  device::CopyCrew* const crew_;
  arena::TrainerSide trainer_;
  const std::uint64_t scratch_limit_;
  const std::uint64_t fence_deadline_ms_;
  std::vector<std::byte> scratch_;
  std::vector<device::HostCopy> taken_;  // of one call; kept for its memory
  CopyStreams streams_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  bool copying_ = false;  // a job is with the thread
  std::optional<std::string> cancel_reason_;
  arena::Mode mode_ = arena::Mode::none;  // of the snapshot being copied
  bool enqueued_ = false;                 // every copy of it has been given to the streams; copied_ is behind them
  std::vector<DeviceEvent> copied_;
  std::vector<DeviceEvent> unended_;      // behind copies that were given up and run all the same
  arena::SnapshotHandle unended_handle_;  // whose chunks they write
  bool starved_ = false;  // the pending snapshot was given up because no chunk came back in time
  std::optional<Job> job_;  // owned by the thread while copying_
  arena::SnapshotHandle handle_;
  std::shared_ptr<Progress> pending_;  // snapshot whose fence has not been passed
  arena::SnapshotHandle pending_handle_;
  std::uint64_t given_up_id_ = 0;
  std::deque<Filling> filling_;        // thread only: chunks whose copies are under way
  base::Thread thread_;
};

}  // namespace stillframe::capture
