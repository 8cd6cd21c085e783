#include "persist/group_rounds.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace stillframe::persist {
namespace {

// As often as a snapshot of one rank alone is written.
constexpr std::uint32_t kAttempts = 3;
// A rank that lags behind for ever leaves its fellows' given-up steps in the list.
constexpr std::size_t kMostRounds = 64;

std::string name_of(std::uint32_t rank) { return "rank " + std::to_string(rank); }

}  // namespace

GroupRounds::GroupRounds(std::uint32_t world_size, std::uint64_t patience_ms)
    : patience_ns_(static_cast<std::int64_t>(patience_ms) * 1'000'000), ranks_(world_size) {}

GroupRounds::Round* GroupRounds::find(std::uint64_t id) {
  const auto found = std::find_if(rounds_.begin(), rounds_.end(), [id](const Round& one) { return one.id == id; });
  return found == rounds_.end() ? nullptr : &*found;
}

const GroupRounds::Round* GroupRounds::find(std::uint64_t id) const {
  const auto found = std::find_if(rounds_.begin(), rounds_.end(), [id](const Round& one) { return one.id == id; });
  return found == rounds_.end() ? nullptr : &*found;
}

bool GroupRounds::all(const Round& round, bool Seat::*what) {
  return std::all_of(round.seats.begin(), round.seats.end(), [what](const Seat& seat) { return seat.*what; });
}

bool GroupRounds::suits(const Round& round, std::uint32_t rank, std::int64_t step, std::uint64_t snapshot_id) {
  const Seat& seat = round.seats[rank];
  const bool waits = seat.snapshot_id == 0 && !seat.left;
  return round.step == step && snapshot_id != 0 && (waits || seat.snapshot_id == snapshot_id);
}

void GroupRounds::obstruct(Round& round, Code code, std::string text) {
  if (round.stage == Stage::published || round.obstacle) return;
  round.obstacle = Status(code, std::move(text));
}

GroupRounds::Round& GroupRounds::open_round(std::int64_t step) {
  Round round;
  round.id = next_id_++;
  round.step = step;
  round.seats.resize(ranks_.size());
  for (std::uint32_t rank = 0; rank < ranks_.size(); ++rank) {
    if (ranks_[rank].gone) obstruct(round, Code::unavailable, name_of(rank) + " " + *ranks_[rank].gone);
    // Who is at a later one has passed this one over, and neither would ever come to the other.
    for (const Round& other : rounds_) {
      const Seat& seat = other.seats[rank];
      if (other.step <= step || seat.snapshot_id == 0 || seat.left || other.stage == Stage::published) continue;
      obstruct(round, Code::busy,
               name_of(rank) + " has no snapshot of it and is at step " + std::to_string(other.step));
    }
  }
  rounds_.push_back(std::move(round));
  if (rounds_.size() > kMostRounds) rounds_.pop_front();
  return rounds_.back();
}

std::uint64_t GroupRounds::join(std::uint32_t rank, std::int64_t step, std::uint64_t snapshot_id) {
  ranks_[rank].still = false;
  const auto found = std::find_if(rounds_.begin(), rounds_.end(),
                                  [&](const Round& round) { return suits(round, rank, step, snapshot_id); });
  Round& joined = found != rounds_.end() ? *found : open_round(step);
  if (snapshot_id == 0) obstruct(joined, Code::corrupt, name_of(rank) + " has a snapshot of it without a number");
  Seat& seat = joined.seats[rank];
  seat.snapshot_id = snapshot_id;
  seat.left = false;
  seat.attempt = joined.attempt;
  const std::uint64_t id = joined.id;
  for (Round& other : rounds_) {
    Seat& own = other.seats[rank];
    if (other.step >= step || own.attempt != 0 || own.left) continue;
    const std::string why =
        own.snapshot_id == 0 ? " has no snapshot of it" : " did not come back to its snapshot of it";
    obstruct(other, Code::busy, name_of(rank) + why + " and went on to step " + std::to_string(step));
    own.left = true;
  }
  drop_finished();
  return id;
}

void GroupRounds::ready(std::uint64_t id, std::uint32_t rank, std::uint64_t needed_bytes, bool can_rewrite) {
  Round* const round = find(id);
  if (round == nullptr) return;
  round->seats[rank].needed_bytes = needed_bytes;
  round->seats[rank].can_rewrite = can_rewrite;
  round->seats[rank].ready = true;
}

void GroupRounds::sealed(std::uint64_t id, std::uint32_t rank, std::int64_t now_ns) {
  if (Round* const round = find(id)) mark_sealed(*round, rank, now_ns);
}

void GroupRounds::has_sealed(std::uint32_t rank, std::int64_t step, std::uint64_t snapshot_id, std::int64_t now_ns) {
  const auto its = std::find_if(rounds_.begin(), rounds_.end(),
                                [&](const Round& round) { return suits(round, rank, step, snapshot_id); });
  if (its != rounds_.end()) mark_sealed(*its, rank, now_ns);
}

void GroupRounds::mark_sealed(Round& round, std::uint32_t rank, std::int64_t now_ns) {
  if (std::exchange(round.seats[rank].sealed, true)) return;
  if (round.first_seal_ns == 0) round.first_seal_ns = now_ns;
}

std::uint32_t GroupRounds::attempt(std::uint64_t id) const {
  const Round* const round = find(id);
  return round == nullptr ? 0 : round->attempt;
}

void GroupRounds::opened(std::uint64_t id, std::uint32_t attempt) {
  Round* const round = find(id);
  if (round != nullptr && round->attempt == attempt && round->stage == Stage::opening) round->stage = Stage::writing;
}

void GroupRounds::part_done(std::uint64_t id, std::uint32_t rank) {
  Round* const round = find(id);
  if (round != nullptr && round->seats[rank].attempt == round->attempt) round->seats[rank].done = true;
}

void GroupRounds::published(std::uint64_t id) {
  if (Round* const round = find(id)) round->stage = Stage::published;
}

bool GroupRounds::obstruct(std::uint64_t id, Code code, std::string text) {
  Round* const round = find(id);
  if (round == nullptr) return true;
  if (round->stage == Stage::committing || round->stage == Stage::published) return false;
  obstruct(*round, code, std::move(text));
  return true;
}

void GroupRounds::clear_attempt(Round& round) {
  ++round.attempt;
  round.stage = Stage::gathering;
  for (Seat& seat : round.seats) seat.ready = seat.done = false;
}

void GroupRounds::step_back(std::uint64_t id, std::uint32_t rank) {
  Round* const round = find(id);
  if (round == nullptr || round->stage == Stage::committing || round->stage == Stage::published) return;
  // While nothing is written, the others may wait on as they are.
  if (round->stage != Stage::gathering) {
    clear_attempt(*round);
    if (!all(*round, &Seat::can_rewrite)) {
      obstruct(*round, Code::unavailable,
               name_of(rank) + " stopped while it was written, and a ring has given back what was written first");
    }
  }
  round->seats[rank].ready = false;
  round->seats[rank].attempt = 0;
}

void GroupRounds::fail_attempt(std::uint64_t id, std::uint32_t rank, Code code, const std::string& text) {
  Round* const round = find(id);
  if (round == nullptr || round->stage == Stage::published || round->seats[rank].attempt != round->attempt) return;
  const bool again = code == Code::io_error && ++round->failures < kAttempts && all(*round, &Seat::can_rewrite);
  clear_attempt(*round);
  if (!again) obstruct(*round, code, text);
}

void GroupRounds::leave(std::uint64_t id, std::uint32_t rank) {
  if (Round* const round = find(id)) round->seats[rank].left = true;
  drop_finished();
}

void GroupRounds::gone(std::uint32_t rank, const std::string& why) {
  if (ranks_[rank].gone) return;
  ranks_[rank].gone = why;
  for (Round& round : rounds_) {
    Seat& seat = round.seats[rank];
    if (!seat.left) obstruct(round, Code::unavailable, name_of(rank) + " " + why);
    seat.left = true;
  }
  drop_finished();
}

void GroupRounds::stands_still(std::uint32_t rank) { ranks_[rank].still = true; }

bool GroupRounds::held_up(std::uint64_t id) const {
  const Round* const round = find(id);
  if (round == nullptr || round->stage == Stage::committing || round->stage == Stage::published) return false;
  for (std::uint32_t rank = 0; rank < ranks_.size(); ++rank) {
    if (ranks_[rank].still) return true;
  }
  return false;
}

bool GroupRounds::is_overdue(const Round& round, std::int64_t now_ns) const {
  const bool waited_for = round.first_seal_ns != 0 && !round.obstacle && !all(round, &Seat::sealed);
  return waited_for && now_ns - round.first_seal_ns >= patience_ns_;
}

bool GroupRounds::is_overdue(std::int64_t now_ns) const {
  return std::any_of(rounds_.begin(), rounds_.end(), [&](const Round& round) { return is_overdue(round, now_ns); });
}

void GroupRounds::look_at_clock(std::int64_t now_ns) {
  for (Round& round : rounds_) {
    if (!is_overdue(round, now_ns)) continue;
    std::string missing;
    for (std::uint32_t rank = 0; rank < ranks_.size(); ++rank) {
      if (!round.seats[rank].sealed) missing += (missing.empty() ? "" : ", ") + name_of(rank);
    }
    obstruct(round, Code::deadline,
             missing + " had not sealed it " + std::to_string(patience_ns_ / 1'000'000'000) +
                 " s after the first rank (persist.group_deadline_seconds)");
  }
}

GroupRounds::Turn GroupRounds::look(std::uint64_t id, std::uint32_t rank) const {
  const Round* const round = find(id);
  if (round == nullptr) return Turn::off;
  const Seat& seat = round->seats[rank];
  if (round->stage == Stage::published) return Turn::published;
  if (round->stage == Stage::committing) return Turn::publishing;
  if (round->obstacle) return Turn::off;
  if (seat.attempt != round->attempt) return Turn::again;
  if (round->stage == Stage::gathering && all(*round, &Seat::ready)) return Turn::open;
  if (round->stage != Stage::writing) return Turn::wait;
  if (!seat.done) return Turn::write;
  return all(*round, &Seat::done) ? Turn::commit : Turn::wait;
}

GroupRounds::Turn GroupRounds::turn(std::uint64_t id, std::uint32_t rank) {
  const Turn now = look(id, rank);
  if (now == Turn::open) find(id)->stage = Stage::opening;
  if (now == Turn::commit) find(id)->stage = Stage::committing;
  return now;
}

Status GroupRounds::obstacle(std::uint64_t id) const {
  const Round* const round = find(id);
  if (round != nullptr && round->obstacle) return *round->obstacle;
  return {Code::unavailable, "its fellows gave it up long ago"};
}

bool GroupRounds::is_obstructed(std::uint32_t rank, std::int64_t step, std::uint64_t snapshot_id) const {
  return std::any_of(rounds_.begin(), rounds_.end(),
                     [&](const Round& round) { return round.obstacle && suits(round, rank, step, snapshot_id); });
}

std::optional<std::int64_t> GroupRounds::step(std::uint64_t id) const {
  const Round* const round = find(id);
  return round == nullptr ? std::nullopt : std::optional(round->step);
}

bool GroupRounds::is_written(std::uint64_t id) const {
  const Round* const round = find(id);
  if (round == nullptr) return false;
  return round->stage == Stage::committing || (round->stage == Stage::writing && !round->obstacle);
}

std::uint64_t GroupRounds::needed_bytes(std::uint64_t id) const {
  const Round* const round = find(id);
  if (round == nullptr) return 0;
  return std::accumulate(round->seats.begin(), round->seats.end(), std::uint64_t{0},
                         [](std::uint64_t sum, const Seat& seat) { return sum + seat.needed_bytes; });
}

void GroupRounds::drop_finished() {
  std::erase_if(rounds_, [](const Round& round) { return all(round, &Seat::left); });
}

}  // namespace stillframe::persist
