// One trainer as the daemon knows it: its run's lock, its arena, its persister. No socket, no event loop.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "arena/arena.hpp"
#include "arena/crash_cost.hpp"
#include "base/unique_fd.hpp"
#include "daemon/config.hpp"
#include "daemon/grant.hpp"
#include "daemon/hot_image.hpp"
#include "daemon/scrubber.hpp"
#include "persist/persister.hpp"
#include "protocol/messages.hpp"
#include "store/store.hpp"

namespace stillframe::daemon {

// open(), provide_arena(), adopt() and drop() come from one thread at a time; the rest from any.
class RunSession {
 public:
  ~RunSession() { drop(); }
  RunSession(const RunSession&) = delete;
  RunSession& operator=(const RunSession&) = delete;
  // Opens (making it when missing) the store, takes the run's lock or shares `inherited_lock`, and, with a lock of its own,
  // removes what dead writers left. busy names the run when another process writes it; invalid_argument, before anything
  // is touched, for a retention policy that cannot be taken.
  // `joint`: of the generation that the rank joins; null for a trainer alone.
  [[nodiscard]] static Result<std::shared_ptr<RunSession>> open(const protocol::Hello& hello, const Config& config,
                                                                base::UniqueFd pidfd,
                                                                std::shared_ptr<env::Lock> inherited_lock,
                                                                std::shared_ptr<persist::GroupCommit> joint);

  // Makes the arena or gives it more memory. `free_bytes` as decide_grant.
  [[nodiscard]] Result<protocol::ArenaReady> provide_arena(const protocol::ArenaRequest& request, std::uint64_t free_bytes,
                                                           persist::Encoders& encoders,
                                                           std::function<void(const persist::News&)> on_news);
  // Whether provide_arena() would refuse, were there so many free bytes.
  [[nodiscard]] bool would_refuse(const protocol::ArenaRequest& request, std::uint64_t free_bytes) const;
  // Takes over the arena of a trainer whose daemon died.
  [[nodiscard]] Status adopt(base::UniqueFd memfd, persist::Encoders& encoders,
                             std::function<void(const persist::News&)> on_news);

  // The trainer is gone: what is sealed goes on, the rest is given up. `died`: its memory may serve its successor.
  void trainer_gone(bool died = false) noexcept;
  [[nodiscard]] bool died() const noexcept { return died_; }
  [[nodiscard]] bool is_alone() const noexcept { return hello_.world_size == 1; }
  // The newest image that the dead trainer left whole in memory; nullopt when there is none. Waits until it is hashed.
  [[nodiscard]] Result<std::optional<HotOffer>> offer_hot_image(const base::Deadline& deadline);
  [[nodiscard]] Leavings leavings();
  // How long the memory of a dead trainer stays after all is durable; the event loop's alone.
  [[nodiscard]] HotStay& stay() noexcept { return stay_; }
  // The daemon stops, or (not `stopping`) the line to a living trainer broke: what is sealed goes on, what is being copied is
  // left for the next daemon.
  void finish(bool stopping = false) noexcept;
  // The line to a living trainer broke; it may come back with its arena.
  void set_away() noexcept { away_ = true; }
  [[nodiscard]] bool away() const noexcept { return away_; }
  // Grows while something is written.
  [[nodiscard]] std::uint64_t progress() const { return counters().chunks_written; }
  // Nothing captured is on its way any more.
  [[nodiscard]] bool drained() const;
  // Stops persisting, lets go of the arena's memory and then of the run's lock.
  void drop() noexcept;
  // After drop(), when nobody comes back to the place of this rank: what its fellows still wait for can never be whole.
  void leave_group() noexcept;

  struct ArenaFacts {
    int memfd = -1;
    std::string id;
    std::uint64_t committed_bytes = 0;
    std::uint64_t image_bytes = 0;
    arena::Mode mode = arena::Mode::none;
  };
  // While it is dropped its bytes still count.
  [[nodiscard]] ArenaFacts arena_facts() const;
  // Of this trainer's arena: its own word, else the daemon's.
  [[nodiscard]] std::uint64_t budget_bytes() const noexcept;
  // Of a living trainer, as far as its arena tells; nothing while that is on its way from a daemon before.
  struct CrashOutlook {
    arena::CrashCost cost;
    std::optional<arena::Cadence> cadence;
  };
  [[nodiscard]] std::optional<CrashOutlook> crash_outlook(std::int64_t now_monotonic_ns) const;
  // Before provide_arena() and adopt(): the scrub of its store, which stands still while this session writes.
  void set_scrubber(std::shared_ptr<Scrubber> scrubber);
  [[nodiscard]] std::shared_ptr<Scrubber> scrubber() const;
  [[nodiscard]] std::shared_ptr<env::Lock> lock() const;  // null once dropped
  [[nodiscard]] const store::Store& store() const noexcept { return store_; }
  [[nodiscard]] const std::string& store_path() const noexcept { return store_.path(); }
  // Whether it has asked for so long. The daemon's loop only.
  [[nodiscard]] bool has_asked_for_ms(std::uint64_t wanted_ms, std::int64_t now_ns) noexcept {
    if (asks_since_ns_ == 0) asks_since_ns_ = now_ns;
    return now_ns - asks_since_ns_ >= static_cast<std::int64_t>(wanted_ms) * 1'000'000;
  }
  [[nodiscard]] std::uint64_t store_file_id() const noexcept { return store_file_id_; }  // of its directory, when it was opened
  [[nodiscard]] const std::string& run() const noexcept { return hello_.run; }
  [[nodiscard]] const std::string& group() const noexcept { return hello_.group; }
  [[nodiscard]] std::uint32_t rank() const noexcept { return hello_.rank; }
  [[nodiscard]] std::uint32_t world_size() const noexcept { return hello_.world_size; }
  [[nodiscard]] const std::shared_ptr<persist::GroupCommit>& joint() const noexcept { return joint_; }
  [[nodiscard]] std::int64_t pid() const noexcept { return hello_.pid; }
  [[nodiscard]] int pidfd() const noexcept { return pidfd_.get(); }
  [[nodiscard]] bool gone() const noexcept { return gone_; }
  struct Cadence {
    std::uint64_t every_steps = 0;
    std::uint64_t every_seconds = 0;
  };
  // Which snapshots go to the store: the trainer's word, else the daemon's. Of a group every one.
  [[nodiscard]] Cadence persist_cadence() const noexcept;
  [[nodiscard]] persist::PersistCounters counters() const;

 private:
  RunSession(protocol::Hello hello, const Config& config, retention::Policy retention, store::Store store,
             std::shared_ptr<env::Lock> lock, base::UniqueFd pidfd, std::shared_ptr<persist::GroupCommit> joint);
  [[nodiscard]] bool writing() const;
  [[nodiscard]] bool verifies(const std::string& name) const;
  [[nodiscard]] Result<ArenaGrant> decide(const protocol::ArenaRequest& request, std::uint64_t free_bytes) const;
  [[nodiscard]] Status begin(arena::Arena arena, persist::Encoders& encoders,
                             std::function<void(const persist::News&)> on_news);

  const protocol::Hello hello_;
  const Config config_;
  const retention::Policy retention_;  // the trainer's, else the daemon's
  const store::Store store_;
  const std::shared_ptr<persist::GroupCommit> joint_;
  std::uint64_t store_file_id_ = 0;
  std::int64_t asks_since_ns_ = 0;  // for room while it trains; the daemon's loop only
  const std::int64_t opened_ns_ = base::system_clock().monotonic_ns();
  std::shared_ptr<env::Lock> lock_;
  base::UniqueFd pidfd_;
  std::atomic<bool> gone_{false};
  std::atomic<bool> died_{false};
  HotStay stay_;
  std::atomic<bool> away_{false};
  std::atomic<bool> dropped_{false};
  std::mutex drop_mutex_;     // a second drop() returns only when the first has ended
  mutable std::mutex mutex_;  // guards the pointers and figures below, not what they point to
  arena::Mode mode_ = arena::Mode::none;
  std::uint64_t image_bytes_ = 0;
  std::uint64_t dropping_bytes_ = 0;
  std::shared_ptr<arena::Arena> arena_;  // the other ranks of a group look into it
  std::unique_ptr<persist::Persister> persister_;
  std::shared_ptr<Scrubber> scrubber_;
};

}  // namespace stillframe::daemon
