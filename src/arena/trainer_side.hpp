// What the trainer does with an arena: take a record, lease slots, fill them, seal. One thread at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "arena/arena.hpp"
#include "base/clock.hpp"

namespace stillframe::arena {

struct SnapshotHandle {
  std::uint32_t record = 0;
  std::uint64_t snapshot_id = 0;
};

struct SnapshotFacts {
  std::int64_t step = 0;
  std::uint64_t image_bytes = 0;
  std::uint64_t descriptor_bytes = 0;
  std::int64_t taken_unix_ns = 0;
  bool memory_only = false;  // not for the store, unless this process dies with it as its newest
  std::int64_t taken_monotonic_ns = 0;
  bool from_gpu = false;
};

class TrainerSide {
 public:
  explicit TrainerSide(const Arena& arena) noexcept : arena_(&arena) {}

  // Whether begin() would find a record.
  [[nodiscard]] bool has_free_record() const noexcept;
  // busy when every record is in use.
  [[nodiscard]] Result<SnapshotHandle> begin(const SnapshotFacts& facts);

  // What status says of the next snapshots' cadence; 0: not known.
  void tell_costs(double mean_block_seconds, double failures_apart_seconds) noexcept;

  // A free slot, now leased for that chunk; its memory is the caller's until mark_filled(). Waits for the daemon to give
  // one back; deadline when none came.
  [[nodiscard]] Result<std::uint64_t> lease(const SnapshotHandle& handle, SlotKind kind, std::uint64_t index,
                                            const base::Deadline& deadline);
  // Every byte of the chunk is there: the daemon may read it from now on.
  void mark_filled(const SnapshotHandle& handle, std::uint64_t slot) noexcept;

  // Every chunk was filled: captured. False when the daemon has failed the snapshot meanwhile: abandon it then.
  [[nodiscard]] bool seal(const SnapshotHandle& handle) noexcept;
  // Never sealed: nothing writes into its slots any more; the daemon takes them back.
  void abandon(const SnapshotHandle& handle) noexcept;
  // Before the seal: what the snapshot has from GPUs was compared with them.
  void set_checked(const SnapshotHandle& handle) noexcept { set_flag(handle, kChecked); }
  void confirm(const SnapshotHandle& handle) noexcept { set_flag(handle, kConfirmed); }
  void withdraw(const SnapshotHandle& handle) noexcept { set_flag(handle, kWithdrawn); }
  // A captured snapshot that the daemon has not begun to write is given up, and its slots are free at once. False when it
  // is not captured, or the daemon has begun: nothing has changed then.
  [[nodiscard]] bool supersede(const SnapshotHandle& handle) noexcept;
  // How many slots supersede() would free now; 0 where it would refuse.
  [[nodiscard]] std::uint64_t supersedable_slots(const SnapshotHandle& handle) const noexcept;
  // The newest sealed one, which was for memory only, goes to the store after all.
  void send_to_store(const SnapshotHandle& handle) noexcept;

  // State and sequence as the daemon wrote them; nullopt once the record serves another snapshot.
  struct Progress {
    RecordState state = RecordState::empty;
    std::uint32_t flags = 0;
    std::uint64_t sequence = 0;
    std::int64_t taken_unix_ns = 0;
  };
  [[nodiscard]] std::optional<Progress> progress(const SnapshotHandle& handle) const noexcept;
  // Gives the record back once the daemon is done with it; true when it was given back.
  bool recycle(const SnapshotHandle& handle) noexcept;

  // How many slots are free, counted no further than `limit`.
  [[nodiscard]] std::uint64_t free_slots(std::uint64_t limit) const noexcept;

 private:
  void set_flag(const SnapshotHandle& handle, RecordFlag flag) noexcept;
  [[nodiscard]] std::optional<std::uint64_t> find_free() noexcept;

  const Arena* arena_;
  std::uint64_t cursor_ = 0;
};

}  // namespace stillframe::arena
