// What the persister reads of a record before it acts: whether to go on, whose it is, what is known of it.
#include "persist/persister.hpp"

namespace stillframe::persist {

// What ends the work on a snapshot before its commit; nullopt to go on.
std::optional<Persister::Outcome> Persister::interrupted(const arena::RecordView& view) const {
  return round_ ? interrupted_in_group(view) : interrupted_alone(view);
}

std::optional<Persister::Outcome> Persister::interrupted_alone(const arena::RecordView& view) const {
  const bool trainer_dead = trainer_dead_;  // before the record: a seal that came first counts
  const auto now = side_.view(view.record);
  if (!now || now->snapshot_id != view.snapshot_id) return Outcome::given_up;
  if (now->state == arena::RecordState::abandoned) return Outcome::given_up;
  if (now->state == arena::RecordState::copying) {
    if (trainer_dead) return Outcome::given_up;
    if (finishing_) return Outcome::left;
  } else if ((now->flags & arena::kWithdrawn) != 0) {
    // Only now: a snapshot withdrawn while it is copied keeps its slots until the trainer has stopped writing into them.
    return Outcome::given_up;
  }
  return stopping_ ? std::optional(Outcome::left) : std::nullopt;
}

// A trainer that goes on sealing would keep a daemon from ever ending. It is alive, and hands its arena to the next one.
bool Persister::is_next_daemons(const arena::RecordView& view) const noexcept {
  return finishing_ && !trainer_dead_ && view.snapshot_id > last_to_finish_;
}

// What is the next daemon's is not waited for, and takes nothing's place.
std::uint64_t Persister::newest_to_write(const std::vector<arena::RecordView>& records) const noexcept {
  return last_call_ && !trainer_dead_ ? newest_captured(records, last_to_finish_) : newest_captured(records);
}

// Kept by the keeper. The newest is not, once its trainer has died or this daemon ends: captured must not be lost.
bool Persister::stays_in_memory(const arena::RecordView& view, std::uint64_t newest) const noexcept {
  const bool last_call = (trainer_dead_ || last_call_) && view.snapshot_id == newest && !is_next_daemons(view);
  return (view.flags & arena::kMemoryOnly) != 0 && !(last_call && view.state == arena::RecordState::sealed);
}

bool Persister::is_sealed(const arena::RecordView& view) const {
  const auto now = side_.view(view.record);
  return now && now->state == arena::RecordState::sealed;
}

bool Persister::is_confirmed(const arena::RecordView& view) const {
  const auto now = side_.view(view.record);
  return now && (now->flags & (arena::kConfirmed | arena::kWithdrawn)) == arena::kConfirmed;
}

// Where there are other ranks this one says nothing of the checkpoint (is_checked_by_all).
bool Persister::is_checked(const arena::RecordView& view) const {
  const auto now = side_.view(view.record);
  return options_.world_size == 1 && now && (now->flags & arena::kChecked) != 0;
}

// The trainer fills everything before it seals: what is missing after that will never come.
Status Persister::lost_before_seal(const std::string& what) {
  return {Code::corrupt, what + " is no longer in the memory of the sealed snapshot: a ring gives chunks back while it is "
                                "written, and the daemon that had written them has died"};
}

bool Persister::is_ring(const arena::RecordView& view) const noexcept {
  return arena::mode_of(arena_->committed_slots(), view.image_chunks(), view.descriptor_chunks()) == arena::Mode::ring;
}

}  // namespace stillframe::persist
