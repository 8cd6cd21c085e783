// The keeper: hashes what is filled, and looks after the snapshots that are for memory only, so that neither waits for a disk
// that is slow. One thread beside the persister's.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "arena/daemon_side.hpp"
#include "base/clock.hpp"
#include "base/thread.hpp"

namespace stillframe::persist {

// The newest snapshot that is captured and not torn: it must not be lost. 0 when there is none.
[[nodiscard]] std::uint64_t newest_captured(const std::vector<arena::RecordView>& records,
                                            std::uint64_t up_to = ~std::uint64_t{0}) noexcept;

// Sealed, and could not be written: its image stays, for want of a checkpoint, until a newer one is confirmed.
[[nodiscard]] bool is_kept_unwritten(const arena::RecordView& view) noexcept;
// The newest that is in memory, captured or kept unwritten, and was confirmed: it can no longer prove torn. 0 when there is none.
[[nodiscard]] std::uint64_t newest_confirmed(const std::vector<arena::RecordView>& records,
                                             std::uint64_t up_to = ~std::uint64_t{0}) noexcept;

// What becomes of a snapshot that is for memory only.
enum class Keeping { keep, let_go, withdraw };
[[nodiscard]] Keeping decide_keeping(const arena::RecordView& view, std::uint64_t newest_confirmed, bool trainer_dead) noexcept;

// Both are called on the keeper's thread.
struct KeeperEvents {
  std::function<void(const arena::RecordView&)> on_withdrawn;  // torn, and let go; the keeper holds still meanwhile
  std::function<void()> on_look;  // whenever the arena has changed, however long the store takes
};

// `arena` outlives it.
class Keeper {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Keeper>> start(const arena::Arena& arena, std::string run, KeeperEvents events);
  ~Keeper();
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  // No event comes after it.
  void stop() noexcept;
  void trainer_died() noexcept;
  // While it is held no chunk is being hashed and no snapshot let go: slots are given back under it, and claimed.
  [[nodiscard]] std::unique_lock<std::mutex> hold_still() const { return std::unique_lock(mutex_); }
  // The daemon leaves, and what was captured up to that one is its own to write: none of it gives way to a newer one.
  void leave_with(std::uint64_t newest_snapshot) noexcept;
  // Takes a sealed snapshot of memory only for the store; false when it is no longer there, or no longer sealed.
  [[nodiscard]] bool claim_for_store(const arena::RecordView& view) const;
  // Every chunk of a sealed snapshot, the descriptor's too, that has no hash yet. Fails where one is missing, where the deadline
  // passes (what is hashed stays hashed) and once this keeper ends.
  [[nodiscard]] Status hash_all(const arena::RecordView& view, const base::Deadline& deadline) const;

 private:
  Keeper(const arena::Arena& arena, std::string run, KeeperEvents events)
      : arena_(&arena), side_(arena), run_(std::move(run)), events_(std::move(events)) {}
  void run();
  void look_after(const arena::RecordView& view);
  void hash_filled(const arena::RecordView& view);
  [[nodiscard]] bool hash_chunk(const arena::RecordView& view, std::uint64_t index) const;
  [[nodiscard]] bool hash_descriptor(const arena::RecordView& view) const;

  const arena::Arena* arena_;
  const arena::DaemonSide side_;
  const std::string run_;
  const KeeperEvents events_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> trainer_dead_{false};
  std::uint64_t newest_that_counts_ = ~std::uint64_t{0};  // under mutex_
  mutable std::mutex mutex_;
  std::map<std::uint64_t, std::uint64_t> hashed_;  // snapshot -> image chunks, from the first; the thread's own
  base::Thread thread_;
};

}  // namespace stillframe::persist
