// Which step the ranks of a group can commit together, and whose turn it is. Pure: it is told what happened and asked
// what follows. A round is one step on its way; ranks find each other by the step, and each brings one snapshot of it.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "stillframe/status.hpp"

namespace stillframe::persist {

// One thread at a time. Ranks are below the world size; a round is named by the number that join() gave.
class GroupRounds {
 public:
  enum class Turn : std::uint8_t {
    wait,        // for others
    open,        // this rank makes room and directory for all; asked for once
    write,       // its own part
    commit,      // this rank publishes for all; asked for once
    publishing,  // another rank does so now: nobody can leave any more
    published,
    again,  // what was written so far is given up: join anew
    off,    // the step will never be whole: obstacle()
  };

  // `patience_ms`: from the first rank's seal of a step to the last one's.
  GroupRounds(std::uint32_t world_size, std::uint64_t patience_ms);

  // The rank has come to its snapshot of `step`. Lower steps that it has not come to, or has stepped back from with
  // another snapshot, can never be whole. Joining again with the same snapshot of the same step gives the same round.
  [[nodiscard]] std::uint64_t join(std::uint32_t rank, std::int64_t step, std::uint64_t snapshot_id);
  // It knows how much it will write. `can_rewrite`: its image stays in memory until the commit.
  void ready(std::uint64_t round, std::uint32_t rank, std::uint64_t needed_bytes, bool can_rewrite);
  void sealed(std::uint64_t round, std::uint32_t rank, std::int64_t now_ns);
  // The same, by what its record says: a rank that is busy with a slow disk has not come to the round, or does not look
  // up.
  void has_sealed(std::uint32_t rank, std::int64_t step, std::uint64_t snapshot_id, std::int64_t now_ns);
  // Counts the times that the round was begun anew: what was opened for an earlier one is of no use.
  [[nodiscard]] std::uint32_t attempt(std::uint64_t round) const;
  void opened(std::uint64_t round, std::uint32_t attempt);
  void part_done(std::uint64_t round, std::uint32_t rank);
  void published(std::uint64_t round);
  // The step will never be whole, for this reason; the first reason stands. False when it is too late: it is published
  // or being published.
  bool obstruct(std::uint64_t round, Code code, std::string text);
  // The rank stops, and may come back to this snapshot under another daemon: what all have written so far is given up;
  // where a ring has given chunks back, for ever.
  void step_back(std::uint64_t round, std::uint32_t rank);
  // What the rank knows of was written in vain. Tried anew, unless that is of no use or was the third time: then
  // obstructed. One attempt fails once, however many ranks say so.
  void fail_attempt(std::uint64_t round, std::uint32_t rank, Code code, const std::string& text);
  // The rank has no more to do with it.
  void leave(std::uint64_t round, std::uint32_t rank);

  // The rank brings nothing any more: whatever it has not joined will never be whole.
  void gone(std::uint32_t rank, const std::string& why);
  // The rank stands still until it joins again: it may come back under another daemon.
  void stands_still(std::uint32_t rank);
  // A rank that the round still waits for stands still.
  [[nodiscard]] bool held_up(std::uint64_t round) const;
  // look_at_clock() would obstruct a round.
  [[nodiscard]] bool is_overdue(std::int64_t now_ns) const;
  // Obstructs what has waited longer than the patience for a seal.
  void look_at_clock(std::int64_t now_ns);

  [[nodiscard]] Turn turn(std::uint64_t round, std::uint32_t rank);
  // As turn(), but takes up no task.
  [[nodiscard]] Turn look(std::uint64_t round, std::uint32_t rank) const;
  [[nodiscard]] Status obstacle(std::uint64_t round) const;
  // The round to which this snapshot belongs, or will when the rank comes to it, will never be whole.
  [[nodiscard]] bool is_obstructed(std::uint32_t rank, std::int64_t step, std::uint64_t snapshot_id) const;
  [[nodiscard]] std::optional<std::int64_t> step(std::uint64_t round) const;
  [[nodiscard]] std::uint64_t needed_bytes(std::uint64_t round) const;
  // What was opened for it is still of use.
  [[nodiscard]] bool is_written(std::uint64_t round) const;
  [[nodiscard]] bool knows(std::uint64_t round) const { return find(round) != nullptr; }

 private:
  enum class Stage : std::uint8_t { gathering, opening, writing, committing, published };
  struct Seat {
    std::uint64_t snapshot_id = 0;  // 0: the rank has not come to this step
    std::uint32_t attempt = 0;      // it takes part in; 0: in none
    std::uint64_t needed_bytes = 0;
    bool can_rewrite = true;
    bool ready = false;
    bool sealed = false;
    bool done = false;
    bool left = false;
  };
  struct Round {
    std::uint64_t id = 0;
    std::int64_t step = 0;
    Stage stage = Stage::gathering;
    std::uint32_t attempt = 1;
    std::uint32_t failures = 0;
    std::int64_t first_seal_ns = 0;  // 0: none yet
    std::optional<Status> obstacle;
    std::vector<Seat> seats;
  };
  struct Rank {
    std::optional<std::string> gone;
    bool still = false;
  };
  [[nodiscard]] Round* find(std::uint64_t id);
  [[nodiscard]] const Round* find(std::uint64_t id) const;
  [[nodiscard]] Round& open_round(std::int64_t step);
  static void obstruct(Round& round, Code code, std::string text);
  static void clear_attempt(Round& round);
  static void mark_sealed(Round& round, std::uint32_t rank, std::int64_t now_ns);
  [[nodiscard]] bool is_overdue(const Round& round, std::int64_t now_ns) const;
  // The seat is this snapshot's, or still waits for one.
  [[nodiscard]] static bool suits(const Round& round, std::uint32_t rank, std::int64_t step, std::uint64_t snapshot_id);
  [[nodiscard]] static bool all(const Round& round, bool Seat::*what);
  void drop_finished();

  const std::int64_t patience_ns_;
  std::vector<Rank> ranks_;
  std::deque<Round> rounds_;  // in the order in which they came up
  std::uint64_t next_id_ = 1;
};

}  // namespace stillframe::persist
