// The persister: takes the snapshots of one trainer out of its arena and makes them checkpoints. Consumes chunks as they are
// filled; only the commit waits for the seal.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "arena/daemon_side.hpp"
#include "base/thread.hpp"
#include "codec/codec.hpp"
#include "format/descriptor.hpp"
#include "persist/alarm_tally.hpp"
#include "persist/encode_pipeline.hpp"
#include "persist/group_commit.hpp"
#include "persist/group_watch.hpp"
#include "persist/inspector.hpp"
#include "persist/keeper.hpp"
#include "persist/verifier.hpp"
#include "retention/policy.hpp"
#include "store/store.hpp"
#include "store/writer.hpp"

namespace stillframe::persist {

struct PersistOptions {
  std::string run;
  std::string group;
  std::uint32_t rank = 0;
  std::uint32_t world_size = 1;
  codec::Level level = codec::Level::standard;
  // The highest version of the format that the trainer reads; of a group the lowest of its ranks' counts.
  std::uint32_t reads_format = format::kFormatVersion;
  retention::Policy retention;
  std::string writer;  // "stillframe 0.1.0"
  std::shared_ptr<GroupCommit> joint;                // of a group of more than one, else null
  std::shared_ptr<const arena::Arena> joint_arena;   // the arena, which then outlives this persister
  std::function<void()> make_way;  // may be empty: whoever reads old checkpoints in the background lets go of them
};

// News of a snapshot, for people; the arena holds the state itself.
struct News {
  std::uint64_t snapshot_id = 0;
  std::int64_t step = 0;
  std::string state;  // "durable", "verified", "failed", "withdrawn"; of a group also "captured"
  std::uint64_t sequence = 0;
  std::string name;
  std::uint64_t raw_bytes = 0;
  std::uint64_t stored_bytes = 0;
  Code code = Code::ok;
  std::string error;
  std::vector<Alarm> alarms;  // of a durable one
};

struct PersistCounters {
  std::uint64_t durable = 0;
  std::uint64_t verified = 0;
  std::uint64_t failed = 0;
  std::uint64_t consecutive_failures = 0;
  std::uint64_t chunks_written = 0;
  std::int64_t last_durable_step = 0;
  std::int64_t last_durable_monotonic_ns = 0;  // 0: none yet
  std::string last_error;
  std::string phase = "idle";  // or "copying step 12", likewise "preparing", "writing", "committing"
  std::int64_t phase_since_monotonic_ns = 0;
  std::vector<StandingAlarm> alarms;  // of the newest durable snapshot
};

// One thread for persist, one for verification, one that keeps what is for memory only (persist/keeper.hpp). `arena`, `encoders` and `store` outlive it; the caller holds the run's lock.
class Persister {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Persister>> start(const arena::Arena& arena, store::Store store,
                                                                Encoders& encoders, PersistOptions options,
                                                                std::function<void(const News&)> on_news);
  // Gives up what is not sealed, and what is sealed and not yet durable: call drain() before.
  ~Persister();
  Persister(const Persister&) = delete;
  Persister& operator=(const Persister&) = delete;

  // The trainer is dead: what is not sealed will never be, and what is not confirmed never will be either. The newest
  // snapshot goes to the store, also when it was for memory only; from now on its image stays in the arena.
  void trainer_died() noexcept;
  // The next images and their descriptors may take so many chunks: a finished image is kept only beside room for them.
  void set_next_need(std::uint64_t chunks) noexcept;
  // The daemon is about to stop, or the trainer may come back with its arena: what is sealed now is still finished, what is
  // being copied, or sealed later, is left as it is for the next daemon. When the trainer dies, all that is sealed is ours.
  // `stopping`: the daemon leaves; the newest snapshot goes to the store then, also when it was for memory only.
  void finish(bool stopping = false) noexcept;
  // True when nothing sealed waits to become durable, and nothing that can be checked waits to be verified.
  [[nodiscard]] bool drained() const;
  [[nodiscard]] PersistCounters counters() const;
  // A snapshot is being written, or copied to be written.
  [[nodiscard]] bool writing() const;
  // The checkpoint is in the hands of the one who verifies after durable.
  [[nodiscard]] bool verifies(const std::string& name) const { return verifier_->holds(name); }
  // Every chunk of a sealed snapshot that has no hash yet gets one; false while a chunk is missing.
  [[nodiscard]] Status hash_all(const arena::RecordView& view, const base::Deadline& deadline) const {
    return keeper_->hash_all(view, deadline);
  }

 private:
  [[nodiscard]] bool has_sealed_to_write() const;
  // again, off: of the group's attempt (GroupRounds::Turn).
  enum class Outcome { published, given_up, left, again, off };
  struct Written {
    store::Published published;
    Findings findings;
    bool verifies = true;  // among the ranks of a group the one that published does
  };
  // A snapshot past its commit (or failed): its record is the trainer's again once both have happened.
  struct Finished {
    arena::RecordView view;
    bool slots_released = false;
    bool checked = false;
  };

  Persister(const arena::Arena& arena, store::Store store, Encoders& encoders, PersistOptions options,
            std::function<void(const News&)> on_news);
  [[nodiscard]] Status adopt_finished();
  [[nodiscard]] News news_of_published(const arena::RecordView& view, const store::CheckpointRef& ref) const;
  void run();
  [[nodiscard]] bool step();
  [[nodiscard]] bool take(const arena::RecordView& view);
  [[nodiscard]] Result<Outcome> persist_once(const arena::RecordView& view, Written& written);
  [[nodiscard]] Status ensure_room(std::uint64_t needed_bytes);
  [[nodiscard]] Status begin_rank(store::CheckpointWriter& writer, const format::ImageLayout& layout) const;
  [[nodiscard]] Result<std::vector<std::byte>> wait_for_descriptor(const arena::RecordView& view, Outcome& outcome);
  // `Sink`: a CheckpointWriter, or the part of a rank.
  template <typename Sink>
  [[nodiscard]] Result<Outcome> write_chunks(const arena::RecordView& view, Sink& sink,
                                             const format::ImageLayout& layout, Inspector& inspector);
  [[nodiscard]] Result<Outcome> wait_for_seal(const arena::RecordView& view);
  [[nodiscard]] std::optional<Outcome> interrupted(const arena::RecordView& view) const;
  [[nodiscard]] std::optional<Outcome> interrupted_alone(const arena::RecordView& view) const;
  [[nodiscard]] std::uint64_t newest_to_write(const std::vector<arena::RecordView>& records) const noexcept;
  [[nodiscard]] bool stays_in_memory(const arena::RecordView& view, std::uint64_t newest) const noexcept;
  void give_slots_back(const arena::RecordView& view);
  void give_slots_back_held(const arena::RecordView& view);  // with the keeper held still
  [[nodiscard]] bool has_the_hash(std::uint64_t slot, std::uint64_t generation, const base::Hash128& hash) const;
  [[nodiscard]] bool is_next_daemons(const arena::RecordView& view) const noexcept;
  [[nodiscard]] bool is_sealed(const arena::RecordView& view) const;
  [[nodiscard]] bool is_confirmed(const arena::RecordView& view) const;
  [[nodiscard]] static std::uint64_t most_bytes(const arena::RecordView& view, const format::ImageLayout& layout);
  [[nodiscard]] bool is_checked(const arena::RecordView& view) const;
  [[nodiscard]] static Status lost_before_seal(const std::string& what);
  [[nodiscard]] bool is_ring(const arena::RecordView& view) const noexcept;
  [[nodiscard]] Encoding encoding() const;
  [[nodiscard]] std::string writer_words(bool checked) const;
  [[nodiscard]] format::Manifest draft_manifest(const arena::RecordView& view, std::string metrics_json,
                                                const std::vector<FoundAlarm>& alarms) const;
  void publish_done(const arena::RecordView& view, Written written);
  void count_alarms(const arena::RecordView& view, const std::vector<FoundAlarm>& found);
  void give_up(const arena::RecordView& view);
  void retire_abandoned();
  void fail(const arena::RecordView& view, const Status& status);
  void on_verdict(const Verdict& verdict);
  void add_finished(const arena::RecordView& view, bool slots_released, bool checked);
  void release_where_due();
  [[nodiscard]] static bool gives_way(const arena::RecordView& finished, const std::vector<arena::RecordView>& records) noexcept;
  void collect_finished();  // with mutex_ held

  // persister_group.cpp: the same, with the other ranks of the group.
  [[nodiscard]] Status enter_group();
  void leave_group();
  [[nodiscard]] bool is_to_verify_with_group(const arena::RecordView& view, const std::string& name);
  [[nodiscard]] std::optional<Verdict> verdict_in_store(const arena::RecordView& view, const std::string& name) const;
  [[nodiscard]] Result<Outcome> persist_with_group(const arena::RecordView& view, Written& written);
  [[nodiscard]] Result<Outcome> persist_part(const arena::RecordView& view, Written& written);
  [[nodiscard]] Result<GroupCommit::Part> write_part(const arena::RecordView& view, format::Descriptor descriptor,
                                                     Written& written, Outcome& outcome);
  [[nodiscard]] Result<std::unique_ptr<store::RankPart>> open_part(const store::CheckpointWriter& writer,
                                                                   const format::ImageLayout& layout) const;
  [[nodiscard]] Outcome wait_for_turn(const arena::RecordView& view, GroupCommit::Turn wanted, Written& written);
  void open_for_all(const arena::RecordView& view);
  void commit_for_all(const arena::RecordView& view, Written& written);
  [[nodiscard]] std::optional<Outcome> interrupted_in_group(const arena::RecordView& view) const;
  void stand_still_if_finishing(bool trainer_dead);
  void pass_over(const arena::RecordView& view);
  void count_chunk();
  void remember_durable(std::int64_t taken_monotonic_ns);
  void forget_durable(std::int64_t taken_monotonic_ns);
  void set_phase(const char* phase, const arena::RecordView& view);

  const arena::Arena* arena_;
  const arena::DaemonSide side_;
  const store::Store store_;
  Encoders* encoders_;
  const PersistOptions options_;
  const std::function<void(const News&)> on_news_;

  std::atomic<bool> begun_{false};  // the keeper's thread is there before all of us is
  std::atomic<bool> stopping_{false};
  std::atomic<bool> finishing_{false};
  std::atomic<bool> last_call_{false};  // what is for memory only would be lost
  std::atomic<std::uint64_t> last_to_finish_{0};  // of the sealed ones, once finishing
  std::atomic<bool> trainer_dead_{false};
  std::atomic<std::uint64_t> next_need_{0};
  mutable std::mutex mutex_;
  PersistCounters counters_;
  AlarmTally tally_;
  std::set<std::int64_t> durable_taken_ns_;  // the newest few: what turns out bad gives way to the one before
  bool busy_ = false;  // a sealed snapshot is in the thread's hands
  std::atomic<std::uint64_t> being_taken_{0};  // its snapshot; 0: none
  std::vector<Finished> finished_;
  std::optional<Remembered> remembered_;  // of the snapshot published last; the thread's own
  std::vector<codec::Decisions> decisions_;  // of each chunk of the snapshot written last; the thread's own
  std::optional<std::uint64_t> round_;   // of the group, that the thread is in
  std::uint64_t newest_joined_ = 0;      // snapshot that has been in a round; the thread's own
  std::unique_ptr<Keeper> keeper_;  // before those whose threads use it
  std::unique_ptr<Verifier> verifier_;
  std::unique_ptr<GroupWatch> watch_;
  base::Thread thread_;
};

}  // namespace stillframe::persist
