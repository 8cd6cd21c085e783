// The ranks of one group, between their persisters: one directory and one sequence for all, published once every rank
// has sealed the step and written its part, or not at all. One object for each generation of a run's group.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "arena/daemon_side.hpp"
#include "persist/group_rounds.hpp"
#include "persist/verifier.hpp"
#include "store/writer.hpp"

namespace stillframe::persist {

// Thread-safe. Nothing here waits but for a mutex: a persister asks, and sleeps on the signal of its own arena, which
// moves when the answer may have changed.
class GroupCommit {
 public:
  using Turn = GroupRounds::Turn;

  // Rebuilt: from what its ranks said of it to a daemon that has not begun it.
  enum class Origin : std::uint8_t { begun, rebuilt };

  // `id`: of the generation, unique. `deadline_ms`: from the first rank's seal of a step to the last one's.
  GroupCommit(std::string id, std::string name, std::uint32_t world_size, std::uint64_t deadline_ms,
              Origin origin = Origin::begun);
  GroupCommit(const GroupCommit&) = delete;
  GroupCommit& operator=(const GroupCommit&) = delete;

  [[nodiscard]] const std::string& id() const noexcept { return id_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] std::uint32_t world_size() const noexcept { return world_size_; }
  [[nodiscard]] bool is_rebuilt() const noexcept { return origin_ == Origin::rebuilt; }

  // No rank has ended: a process may still take its place here.
  [[nodiscard]] bool is_open() const;

  // ---- a rank comes and goes

  struct Member {
    std::shared_ptr<const arena::Arena> arena;
    std::function<void(const Verdict&)> on_verdict;             // on the thread that verified
    std::function<void(const arena::RecordView&)> on_captured;  // on any persister's watch thread
    std::uint32_t reads_format = format::kFormatVersion;
  };
  // invalid_argument for a rank that the group does not have.
  [[nodiscard]] Status enter(std::uint32_t rank, Member member);
  // The highest version of the format that every rank reads that has ever entered. All have when a step's bytes are
  // written.
  [[nodiscard]] std::uint32_t reads_format() const;
  // Its persister has ended; no call back comes after this has returned.
  void leave(std::uint32_t rank) noexcept;
  // Its trainer is dead: what it has not confirmed it never will.
  void trainer_died(std::uint32_t rank) noexcept;
  // It brings nothing any more. `why` follows "rank 3 ".
  void gone(std::uint32_t rank, const std::string& why) noexcept;
  void stands_still(std::uint32_t rank);
  // A record of some rank has changed: captured is what all have sealed, and whoever waits looks again.
  void look_at_seals();

  // ---- a step on its way; see GroupRounds

  [[nodiscard]] std::uint64_t join(std::uint32_t rank, const arena::RecordView& view);
  void ready(std::uint64_t round, std::uint32_t rank, std::uint64_t needed_bytes, bool can_rewrite);
  void sealed(std::uint64_t round, std::uint32_t rank);
  [[nodiscard]] Turn turn(std::uint64_t round, std::uint32_t rank);
  [[nodiscard]] Turn look(std::uint64_t round, std::uint32_t rank);
  [[nodiscard]] bool held_up(std::uint64_t round) const;
  [[nodiscard]] Status obstacle(std::uint64_t round) const;
  bool obstruct(std::uint64_t round, Code code, const std::string& text);
  void step_back(std::uint64_t round, std::uint32_t rank);
  void fail_attempt(std::uint64_t round, std::uint32_t rank, Code code, const std::string& text);
  void leave_round(std::uint64_t round, std::uint32_t rank);

  // For the one whose turn it is to open.
  struct Opening {
    std::uint64_t needed_bytes = 0;
    std::uint32_t attempt = 0;
  };
  [[nodiscard]] Opening opening(std::uint64_t round) const;
  void opened(std::uint64_t round, const Opening& opening, std::shared_ptr<store::CheckpointWriter> writer);
  // For those whose turn it is to write; null when that has changed meanwhile.
  [[nodiscard]] std::shared_ptr<store::CheckpointWriter> writer(std::uint64_t round) const;
  struct Part {
    arena::RecordView view;
    std::uint32_t flags = arena::kFromGpu;  // of the record once it was sealed; where it cannot be read, nothing was checked
    format::RankManifest manifest;
    std::string checkpoint_id;  // what the rank would call the checkpoint; that of the lowest rank counts
    std::string metrics_json;   // likewise
    std::vector<format::Alarm> alarms;
  };
  // False when the attempt is over meanwhile, and for a part of another step, which obstructs the round.
  [[nodiscard]] bool part_done(std::uint64_t round, std::uint32_t rank, Part part);

  // For the one whose turn it is to commit. `torn`: a rank has withdrawn its snapshot.
  struct Gathered {
    std::shared_ptr<store::CheckpointWriter> writer;
    std::vector<Part> parts;  // by rank
    bool confirmed = false;   // by every rank
    std::optional<std::uint32_t> torn;
  };
  [[nodiscard]] Gathered gather(std::uint64_t round);
  void published(std::uint64_t round, std::uint32_t rank, const store::Published& published);
  [[nodiscard]] store::Published publication(std::uint64_t round) const;

  // ---- after the commit

  // A daemon before this one had published it, or this one while the rank was away.
  struct Adoption {
    bool verifies = false;          // the last rank to say so: it verifies it for all
    std::optional<Verdict> missed;  // told while the rank was away
  };
  [[nodiscard]] Adoption was_published(std::uint32_t rank, const arena::RecordView& view, const std::string& name);
  // The rank has moved its record on: only then can it be told more.
  void acknowledge(std::uint32_t rank, const std::string& name);
  [[nodiscard]] Word word(const std::string& name) const;
  // Tells every rank of the checkpoint, each with its own record; one that is away when it comes back.
  void tell(const Verdict& verdict);
  // The rank does not verify any more: what it had in hand stays unchecked for all.
  void give_back_verification(std::uint32_t rank);

  [[nodiscard]] const std::shared_ptr<RetentionTurn>& retention_turn() const noexcept { return retention_turn_; }

 private:
  struct Work {
    std::shared_ptr<store::CheckpointWriter> writer;
    std::map<std::uint32_t, Part> parts;
    std::map<std::uint32_t, arena::RecordView> views;
    std::optional<store::Published> published;
  };
  struct Witness {
    arena::RecordView view;
    std::uint32_t last_flags = 0;  // of a rank that has left
    bool acknowledged = false;
  };
  struct Published {
    std::map<std::uint32_t, Witness> witnesses;
    std::uint32_t verifies = 0;
    std::optional<Verdict> verdict;  // then the witnesses are those that have yet to hear it
  };
  [[nodiscard]] std::uint32_t flags_of(std::uint32_t rank, const Witness& witness) const;  // with mutex_ held
  void wake_all() const;                                                                   // likewise
  using Records = std::vector<std::vector<arena::RecordView>>;
  [[nodiscard]] Records records_of_all() const;                  // likewise
  void note_seals(const Records& records, std::int64_t now_ns);  // likewise
  void look_at_clock();                                          // likewise
  using Writers = std::vector<std::shared_ptr<store::CheckpointWriter>>;
  [[nodiscard]] Writers tidy();  // likewise: what is over; to be let go without it, since that unlinks files

  const std::string id_;
  const std::string name_;
  const std::uint32_t world_size_;
  const Origin origin_;
  const std::shared_ptr<RetentionTurn> retention_turn_ = std::make_shared<RetentionTurn>();
  mutable std::mutex calling_mutex_;  // held around calls back, and by leave(); before mutex_
  mutable std::mutex mutex_;
  GroupRounds rounds_;
  std::vector<std::optional<Member>> members_;
  std::vector<bool> dead_;
  std::uint32_t reads_format_ = format::kFormatVersion;
  std::map<std::uint64_t, Work> works_;
  std::map<std::string, Published> published_;  // until all have heard the verdict
};

}  // namespace stillframe::persist
