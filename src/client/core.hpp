// The client: one trainer's connection, arena, copier and snapshots. Both the C ABI and the C++ API stand on it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/thread.hpp"
#include "capture/copier.hpp"
#include "capture/plan.hpp"
#include "capture/progress.hpp"
#include "client/link.hpp"
#include "device/device.hpp"
#include "restore/memory_image.hpp"
#include "stillframe/checkpointer.hpp"

namespace stillframe::client {

struct Snapshot {
  std::shared_ptr<capture::Progress> progress;
  arena::SnapshotHandle handle;  // record 0, id 0 when it was never taken
};

struct SnapshotRequest {
  std::int64_t step = 0;
  std::vector<const void*> data;  // per entry of the plan, as given to make_plan()
  std::vector<capture::StreamRef> streams;  // the trainer's, of the GPUs of the plan
  std::string tree_json;          // empty: a flat tree
  std::string metrics_json;       // empty: {}
  bool wait = false;              // for room and for the snapshot before, instead of skipping
  std::uint64_t deadline_ms = 0;  // of that wait; 0: the fence's
  std::optional<Snapshot> unchanged_since;  // nothing has changed since that one was taken, nor before this one is: confirmed
};

// What an arena is made for.
struct StateSize {
  std::uint64_t image_bytes = 0;
  std::uint64_t tensors = 0;
  std::int32_t gpu = kHost;  // one of those that the state lives on: it pins the arena for all of them
};

// Bytes for memory of a GPU.
struct Placement {
  void* to = nullptr;
  std::span<const std::byte> from;
};

// status_json(), plan_json(), next_warning(), set_block_seconds(), confirm() and withdraw() come from any thread, the rest
// from the training thread.
class Core : public std::enable_shared_from_this<Core> {
 public:
  [[nodiscard]] static Result<std::shared_ptr<Core>> open(CheckpointerOptions options);
  ~Core();

  [[nodiscard]] Status settle(const base::Deadline& deadline);
  // Makes the arena for states of this size now, and pins it, so that the first snapshot need not. deadline: the memory of a
  // dead predecessor is not free yet.
  [[nodiscard]] Status reserve(const StateSize& size, const base::Deadline& deadline);
  // The same on a thread of its own, while the training goes on, however long it takes. Nothing where there is an arena.
  // Whatever needs the line or the arena before that ends it; what it did not reach is met again by the first plan.
  [[nodiscard]] Status reserve_behind(const StateSize& size);
  // Waits for the end of that, and ends nothing. busy: it goes on, and the snapshot of this step counts as skipped.
  [[nodiscard]] Status reserved(std::int64_t for_step, const base::Deadline& deadline);
  // The image that a dead predecessor left in the daemon's memory; null when there is none. It stays until hot_done(), the
  // first plan, or the deadline.
  [[nodiscard]] Result<std::unique_ptr<restore::MemoryImage>> hot_image(const base::Deadline& deadline);
  void hot_done();
  // An error counts as a failed snapshot: that of the caller, who cannot take it without a plan.
  [[nodiscard]] Result<std::shared_ptr<const capture::Plan>> make_plan(std::vector<capture::EntrySpec> specs,
                                                                       const base::Deadline& deadline);
  [[nodiscard]] Snapshot snapshot(const std::shared_ptr<const capture::Plan>& plan, SnapshotRequest request);
  // As the functions of stillframe.h; 0: the fence's deadline. After an error nothing of the snapshot is read any more.
  [[nodiscard]] Status wait_copied(std::uint64_t wait_ms, std::span<const capture::StreamRef> streams = {});
  [[nodiscard]] Status fence(std::uint64_t wait_ms, std::span<const capture::StreamRef> streams = {});
  // After the work given to the trainer's stream so far; waits until the bytes are there. 0: the fence's deadline.
  [[nodiscard]] Status place_on_gpu(const capture::StreamRef& trainers, std::span<const Placement> copies,
                                    std::uint64_t wait_ms = 0);
  void confirm(const Snapshot& snapshot);
  void withdraw(const Snapshot& snapshot, const std::string& reason);
  [[nodiscard]] Status close(const base::Deadline& deadline);

  // Host time that all snapshots so far cost the loop, by a caller who does more around them than we see.
  void set_block_seconds(double seconds) { ledger_->set_block_seconds(seconds); }
  [[nodiscard]] std::string status_json() const;
  [[nodiscard]] std::string plan_json(const capture::Plan& plan) const;
  [[nodiscard]] std::optional<std::string> next_warning();
  [[nodiscard]] bool in_child() const noexcept;  // of a fork: nothing here may be used
  [[nodiscard]] const std::string& run() const noexcept { return options_.run; }
  [[nodiscard]] const std::string& store_path() const noexcept { return options_.store; }

 private:
  struct Outstanding {
    Snapshot snapshot;
    std::int64_t seen_ahead_ns = 0;  // since when the arena says more than we were told; 0: it does not
    bool abandonment_told = false;   // counted and warned of
    bool words_missing = false;      // durable by the arena's word alone: figures and alarms may still come
  };
  struct Counters {
    std::uint64_t taken = 0, skipped = 0, superseded = 0, durable = 0, verified = 0, failed = 0, abandoned = 0;
    std::uint64_t consecutive_failures = 0;
    std::uint64_t memory_only = 0;  // of those taken: not for the store
    std::uint64_t skipped_in_a_row = 0;
    std::uint64_t skips_to_say = 10;
    std::int64_t last_durable_step = 0;
    std::int64_t last_durable_ns = 0;
    std::string last_error;
  };

  Core(CheckpointerOptions options, std::shared_ptr<device::CopyCrew> crew);
  [[nodiscard]] Status make_room(const protocol::ArenaRequest& request, const base::Deadline& deadline,
                                 const std::atomic<bool>* ended);
  [[nodiscard]] Status attach(Link::Reply reply);
  [[nodiscard]] Result<std::shared_ptr<const capture::Plan>> plan_for(std::vector<capture::EntrySpec> specs,
                                                                      const base::Deadline& deadline);
  [[nodiscard]] Status prepare(const capture::Plan& plan, const base::Deadline& deadline);
  [[nodiscard]] arena::Mode mode_for(std::uint64_t image_bytes, std::uint64_t descriptor_bytes) const;
  [[nodiscard]] bool stays_twofold(std::uint64_t image_bytes, std::uint64_t descriptor_bytes) const;
  [[nodiscard]] device::Device* pinning_gpu(const StateSize& size);
  // `gpu`: null where the state is on none. `ended`: looked at between parts; null: nobody ends it.
  void reserve_patiently(device::Device* gpu, const StateSize& size, const std::atomic<bool>& ended);
  void populate(const std::atomic<bool>* ended) noexcept;
  void end_reserving() noexcept;
  // Without waiting for what is being reserved: until that was ended nothing was captured.
  [[nodiscard]] bool has_copier() const noexcept { return reserving_ == nullptr && copier_ != nullptr; }
  void pin_arena(device::Device& gpu, const std::atomic<bool>* ended);
  [[nodiscard]] Status passed(Status passed);
  void tell_fellows(const std::shared_ptr<capture::Progress>& progress, std::int64_t step);
  [[nodiscard]] bool supersede_oldest(std::int64_t for_step, std::uint64_t need_chunks);
  [[nodiscard]] bool goes_to_store(std::int64_t step) const;
  void count_taken(const Snapshot& snapshot, std::int64_t from_ns);  // with mutex_ held
  void send_newest_to_store();
  [[nodiscard]] Snapshot skipped(std::shared_ptr<capture::Progress> progress, const Status& why);
  void on_news(const protocol::SnapshotNews& news);
  void take_news(Outstanding& one, const protocol::SnapshotNews& news);  // with mutex_ held
  void take_abandonment(Outstanding& one);                     // with mutex_ held
  void count_abandoned(Outstanding& one, const Status& why);  // likewise; once
  void on_lost(const std::string& why);
  void on_tick();
  [[nodiscard]] static bool is_lost(const Outstanding& one, const arena::TrainerSide::Progress& now);
  void catch_up(Outstanding& one, const arena::TrainerSide::Progress& now);
  void keep_for_its_words(const Outstanding& one);  // with mutex_ held
  void count_failure(const std::string& error);  // with mutex_ held
  [[nodiscard]] std::string count_skip(std::int64_t step, const std::string& why);  // likewise; says so in a sentence
  void count_durable(std::int64_t step);         // with mutex_ held
  void warn(std::string text);                   // with mutex_ held
  void warn_of_alarms(const std::vector<Alarm>& alarms);  // with mutex_ held
  [[nodiscard]] Status wait_finished(const base::Deadline& deadline);
  [[nodiscard]] nlohmann::json crash_cost_json() const;
  [[nodiscard]] nlohmann::json suggested_cadence_json() const;

  CheckpointerOptions options_;
  const std::int64_t pid_;
  std::unique_ptr<capture::Devices> devices_;
  mutable std::mutex mutex_;
  std::condition_variable reserving_done_;
  std::unique_ptr<arena::Arena> arena_;
  std::vector<std::unique_ptr<device::PinnedMemory>> pinned_;  // of the arena, for every GPU
  std::uint64_t pinned_slots_ = 0;
  std::uint64_t populated_slots_ = 0;
  bool pinning_refused_ = false;
  ForkGuard arena_guard_;
  std::unique_ptr<capture::Copier> copier_;
  std::deque<Outstanding> outstanding_;
  std::deque<Outstanding> wordless_;  // given back to the arena before the daemon's words came; the oldest makes room
  std::vector<protocol::SnapshotNews> early_news_;  // of a snapshot that snapshot() has not entered yet
  std::deque<std::string> warnings_;
  std::set<std::string> standing_alarms_;  // kinds, of the newest durable snapshot
  Counters counters_;
  const std::shared_ptr<capture::CrashLedger> ledger_ = std::make_shared<capture::CrashLedger>();
  Status newest_failure_;  // of the newest snapshot taken, when the daemon could not write it
  std::uint64_t budget_bytes_ = 0;
  arena::Mode mode_ = arena::Mode::none;
  // While it is there, its thread alone touches arena, copier, pins and link; the training thread's.
  struct Reserving {
    std::atomic<bool> ended{false};  // whoever needs what it uses has said so
    bool done = false;               // guarded by mutex_
    base::Thread thread;
  };
  std::unique_ptr<Reserving> reserving_;
  Snapshot persisted_;  // that was to go to the store last; the training thread's
  std::optional<LastPersisted> last_persisted_;
  bool has_planned_ = false;  // the daemon has heard of a plan: what a predecessor left is let go of
  bool closed_ = false;
  std::unique_ptr<Link> link_;  // last: its thread calls back into all of the above
};

}  // namespace stillframe::client
