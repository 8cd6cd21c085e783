#include "persist/group_commit.hpp"

#include <algorithm>

#include "base/clock.hpp"
#include "persist/group_seals.hpp"

namespace stillframe::persist {

GroupCommit::GroupCommit(std::string id, std::string name, std::uint32_t world_size, std::uint64_t deadline_ms,
                         Origin origin)
    : id_(std::move(id)),
      name_(std::move(name)),
      world_size_(world_size),
      origin_(origin),
      rounds_(world_size, deadline_ms),
      members_(world_size),
      dead_(world_size, false) {}

// The signals are futexes in the arenas: whoever sleeps on one looks at the group again.
void GroupCommit::wake_all() const {
  for (const auto& member : members_) {
    if (member) arena::DaemonSide(*member->arena).wake_self();
  }
}

GroupCommit::Writers GroupCommit::tidy() {
  Writers over;
  for (auto& [round, work] : works_) {
    if (work.writer && !rounds_.is_written(round)) over.push_back(std::move(work.writer));
  }
  std::erase_if(works_, [this](const auto& one) { return !rounds_.knows(one.first); });
  return over;
}

bool GroupCommit::is_open() const {
  const std::lock_guard lock(mutex_);
  return std::none_of(dead_.begin(), dead_.end(), [](bool dead) { return dead; });
}

Status GroupCommit::enter(std::uint32_t rank, Member member) {
  if (rank >= world_size_) {
    return {Code::invalid_argument,
            "group '" + name_ + "' has " + std::to_string(world_size_) + " ranks and no rank " + std::to_string(rank)};
  }
  const std::lock_guard calling(calling_mutex_);
  const std::lock_guard lock(mutex_);
  reads_format_ = std::min(reads_format_, member.reads_format);
  members_[rank] = std::move(member);
  return {};
}

std::uint32_t GroupCommit::reads_format() const {
  const std::lock_guard lock(mutex_);
  return reads_format_;
}

void GroupCommit::leave(std::uint32_t rank) noexcept {
  if (rank >= world_size_) return;
  const std::lock_guard calling(calling_mutex_);
  const std::lock_guard lock(mutex_);
  for (auto& [name, published] : published_) {
    const auto found = published.witnesses.find(rank);
    if (found != published.witnesses.end()) found->second.last_flags = flags_of(rank, found->second);
  }
  members_[rank].reset();
}

void GroupCommit::trainer_died(std::uint32_t rank) noexcept {
  if (rank >= world_size_) return;
  const std::lock_guard lock(mutex_);
  dead_[rank] = true;
  wake_all();
}

void GroupCommit::gone(std::uint32_t rank, const std::string& why) noexcept {
  if (rank >= world_size_) return;
  Writers over;
  const std::lock_guard lock(mutex_);
  dead_[rank] = true;
  rounds_.gone(rank, why);
  over = tidy();
  wake_all();
}

void GroupCommit::stands_still(std::uint32_t rank) {
  const std::lock_guard lock(mutex_);
  rounds_.stands_still(rank);
  wake_all();
}

void GroupCommit::look_at_seals() {
  const std::lock_guard calling(calling_mutex_);
  std::vector<std::pair<const Member*, arena::RecordView>> captured;
  {
    const std::lock_guard lock(mutex_);
    const Records records = records_of_all();
    note_seals(records, base::system_clock().monotonic_ns());
    for (const std::vector<SealedByAll>& together : sealed_by_all(records)) {
      const bool in_vain = std::any_of(together.begin(), together.end(), [this](const SealedByAll& one) {
        return rounds_.is_obstructed(one.rank, one.view.step, one.view.snapshot_id);
      });
      if (in_vain) continue;
      for (const SealedByAll& one : together) {
        const Member& member = *members_[one.rank];
        if (arena::DaemonSide(*member.arena).mark_captured(one.view)) captured.emplace_back(&member, one.view);
      }
    }
    wake_all();
  }
  for (const auto& [member, view] : captured) member->on_captured(view);
}

GroupCommit::Records GroupCommit::records_of_all() const {
  Records records;
  for (const auto& member : members_) {
    records.push_back(member ? arena::DaemonSide(*member->arena).records() : std::vector<arena::RecordView>());
  }
  return records;
}

// Also of those whose persisters wait for a disk.
void GroupCommit::note_seals(const Records& records, std::int64_t now_ns) {
  for (std::uint32_t rank = 0; rank < world_size_; ++rank) {
    for (const arena::RecordView& view : records[rank]) {
      // What is durable is of a round before, whose step may have come again.
      const bool on_its_way = view.state == arena::RecordState::sealed && is_sealed_whole(view);
      if (on_its_way) rounds_.has_sealed(rank, view.step, view.snapshot_id, now_ns);
    }
  }
}

void GroupCommit::look_at_clock() {
  const std::int64_t now_ns = base::system_clock().monotonic_ns();
  if (!rounds_.is_overdue(now_ns)) return;
  note_seals(records_of_all(), now_ns);
  rounds_.look_at_clock(now_ns);
}

std::uint64_t GroupCommit::join(std::uint32_t rank, const arena::RecordView& view) {
  Writers over;
  const std::lock_guard lock(mutex_);
  const std::uint64_t round = rounds_.join(rank, view.step, view.snapshot_id);
  works_[round].views[rank] = view;
  over = tidy();
  wake_all();
  return round;
}

void GroupCommit::ready(std::uint64_t round, std::uint32_t rank, std::uint64_t needed_bytes, bool can_rewrite) {
  const std::lock_guard lock(mutex_);
  rounds_.ready(round, rank, needed_bytes, can_rewrite);
  wake_all();
}

void GroupCommit::sealed(std::uint64_t round, std::uint32_t rank) {
  const std::lock_guard lock(mutex_);
  rounds_.sealed(round, rank, base::system_clock().monotonic_ns());
}

GroupCommit::Turn GroupCommit::turn(std::uint64_t round, std::uint32_t rank) {
  Writers over;
  const std::lock_guard lock(mutex_);
  look_at_clock();
  over = tidy();
  return rounds_.turn(round, rank);
}

GroupCommit::Turn GroupCommit::look(std::uint64_t round, std::uint32_t rank) {
  const std::lock_guard lock(mutex_);
  look_at_clock();
  return rounds_.look(round, rank);
}

bool GroupCommit::held_up(std::uint64_t round) const {
  const std::lock_guard lock(mutex_);
  return rounds_.held_up(round);
}

Status GroupCommit::obstacle(std::uint64_t round) const {
  const std::lock_guard lock(mutex_);
  const Status why = rounds_.obstacle(round);
  return {why.code(), "the ranks of group '" + name_ + "' commit together or not at all: " + why.message()};
}

bool GroupCommit::obstruct(std::uint64_t round, Code code, const std::string& text) {
  Writers over;
  const std::lock_guard lock(mutex_);
  const bool in_time = rounds_.obstruct(round, code, text);
  over = tidy();
  wake_all();
  return in_time;
}

void GroupCommit::step_back(std::uint64_t round, std::uint32_t rank) {
  Writers over;
  const std::lock_guard lock(mutex_);
  rounds_.step_back(round, rank);
  over = tidy();
  wake_all();
}

void GroupCommit::fail_attempt(std::uint64_t round, std::uint32_t rank, Code code, const std::string& text) {
  Writers over;
  const std::lock_guard lock(mutex_);
  rounds_.fail_attempt(round, rank, code, text);
  over = tidy();
  wake_all();
}

void GroupCommit::leave_round(std::uint64_t round, std::uint32_t rank) {
  Writers over;
  const std::lock_guard lock(mutex_);
  rounds_.leave(round, rank);
  over = tidy();
}

GroupCommit::Opening GroupCommit::opening(std::uint64_t round) const {
  const std::lock_guard lock(mutex_);
  return {rounds_.needed_bytes(round), rounds_.attempt(round)};
}

void GroupCommit::opened(std::uint64_t round, const Opening& opening, std::shared_ptr<store::CheckpointWriter> writer) {
  const std::lock_guard lock(mutex_);
  if (rounds_.attempt(round) != opening.attempt) return;
  works_[round].writer = std::move(writer);
  works_[round].parts.clear();
  rounds_.opened(round, opening.attempt);
  wake_all();
}

std::shared_ptr<store::CheckpointWriter> GroupCommit::writer(std::uint64_t round) const {
  const std::lock_guard lock(mutex_);
  const auto found = works_.find(round);
  return found == works_.end() ? nullptr : found->second.writer;
}

bool GroupCommit::part_done(std::uint64_t round, std::uint32_t rank, Part part) {
  const std::lock_guard lock(mutex_);
  if (rounds_.look(round, rank) != Turn::write) return false;
  if (part.view.step != rounds_.step(round)) {
    (void)rounds_.obstruct(round, Code::corrupt,
                           "rank " + std::to_string(rank) + " wrote its step " + std::to_string(part.view.step));
    wake_all();
    return false;
  }
  works_[round].parts[rank] = std::move(part);
  rounds_.part_done(round, rank);
  wake_all();
  return true;
}

GroupCommit::Gathered GroupCommit::gather(std::uint64_t round) {
  const std::lock_guard lock(mutex_);
  Work& work = works_[round];
  Gathered gathered{std::move(work.writer), {}, true, std::nullopt};
  for (auto& [rank, part] : work.parts) {
    const std::uint32_t flags = flags_of(rank, {part.view, 0, false});
    gathered.confirmed = gathered.confirmed && (flags & arena::kConfirmed) != 0;
    if ((flags & arena::kWithdrawn) != 0) gathered.torn = rank;
    gathered.parts.push_back(std::move(part));
  }
  work.parts.clear();
  return gathered;
}

void GroupCommit::published(std::uint64_t round, std::uint32_t rank, const store::Published& published) {
  const std::lock_guard lock(mutex_);
  Work& work = works_[round];
  work.published = published;
  Published& entry = published_[published.name];
  entry.verifies = rank;
  for (const auto& [one, view] : work.views) entry.witnesses[one] = {view, 0, false};
  rounds_.published(round);
  wake_all();
}

store::Published GroupCommit::publication(std::uint64_t round) const {
  const std::lock_guard lock(mutex_);
  const auto found = works_.find(round);
  return found != works_.end() && found->second.published ? *found->second.published : store::Published();
}

GroupCommit::Adoption GroupCommit::was_published(std::uint32_t rank, const arena::RecordView& view,
                                                  const std::string& name) {
  const std::lock_guard lock(mutex_);
  Published& entry = published_[name];
  if (entry.verdict) {
    Adoption adoption{false, entry.verdict};
    adoption.missed->view = view;
    entry.witnesses.erase(rank);
    if (entry.witnesses.empty()) published_.erase(name);
    return adoption;
  }
  const bool known = entry.witnesses.size() == world_size_;
  entry.witnesses[rank] = {view, 0, true};
  const bool verifies = (known && entry.verifies == rank) || (!known && entry.witnesses.size() == world_size_);
  if (verifies) entry.verifies = rank;
  return {verifies, std::nullopt};
}

std::uint32_t GroupCommit::flags_of(std::uint32_t rank, const Witness& witness) const {
  if (!members_[rank]) return witness.last_flags;
  const auto now = arena::DaemonSide(*members_[rank]->arena).view(witness.view.record);
  return now && now->snapshot_id == witness.view.snapshot_id ? now->flags : witness.last_flags;
}

void GroupCommit::acknowledge(std::uint32_t rank, const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = published_.find(name);
  if (found != published_.end()) found->second.witnesses[rank].acknowledged = true;
  wake_all();
}

Word GroupCommit::word(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = published_.find(name);
  if (found == published_.end()) return Word::never;
  const auto& witnesses = found->second.witnesses;
  const bool early = std::any_of(witnesses.begin(), witnesses.end(),
                                 [this](const auto& one) { return members_[one.first] && !one.second.acknowledged; });
  if (early) return Word::early;
  bool awaited = witnesses.size() < world_size_;
  bool never = false;
  for (const auto& [rank, witness] : witnesses) {
    const std::uint32_t flags = flags_of(rank, witness);
    if ((flags & arena::kWithdrawn) != 0) return Word::withdrawn;
    if ((flags & arena::kConfirmed) != 0) continue;
    (dead_[rank] ? never : awaited) = true;
  }
  return never ? Word::never : awaited ? Word::awaited : Word::confirmed;
}

void GroupCommit::tell(const Verdict& verdict) {
  const std::lock_guard calling(calling_mutex_);
  std::vector<std::pair<const Member*, Verdict>> told;
  {
    const std::lock_guard lock(mutex_);
    const auto found = published_.find(verdict.name);
    if (found == published_.end()) return;
    found->second.verdict = verdict;
    std::erase_if(found->second.witnesses, [&](const auto& one) {
      const auto& [rank, witness] = one;
      if (!members_[rank]) return static_cast<bool>(dead_[rank]);
      told.emplace_back(&*members_[rank], Verdict{witness.view, verdict.name, verdict.kind, verdict.error});
      return true;
    });
    if (found->second.witnesses.empty()) published_.erase(found);
  }
  for (const auto& [member, own] : told) member->on_verdict(own);
}

void GroupCommit::give_back_verification(std::uint32_t rank) {
  std::vector<std::string> names;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, published] : published_) {
      const bool in_hand = published.verifies == rank && published.witnesses.size() == world_size_;
      if (in_hand && !published.verdict) names.push_back(name);
    }
  }
  for (const std::string& name : names) tell({{}, name, Verdict::Kind::unchecked, ""});
}

}  // namespace stillframe::persist
