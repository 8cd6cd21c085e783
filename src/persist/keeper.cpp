#include "persist/keeper.hpp"

#include <algorithm>

#include "base/log.hpp"

namespace stillframe::persist {
namespace {

constexpr std::uint64_t kIdleWaitMs = 1000;

bool is_captured(const arena::RecordView& view) noexcept {
  return view.state == arena::RecordState::sealed || view.state == arena::RecordState::durable ||
         view.state == arena::RecordState::verified;
}

}  // namespace

bool is_kept_unwritten(const arena::RecordView& view) noexcept {
  constexpr std::uint32_t kAsked = arena::kUnwritten | arena::kDone | arena::kWithdrawn;
  return view.state == arena::RecordState::failed && (view.flags & kAsked) == arena::kUnwritten;
}

std::uint64_t newest_captured(const std::vector<arena::RecordView>& records, std::uint64_t up_to) noexcept {
  std::uint64_t newest = 0;
  for (const arena::RecordView& view : records) {
    const bool let_go = view.state == arena::RecordState::sealed && (view.flags & arena::kDone) != 0;
    const bool counts = is_captured(view) && !let_go && (view.flags & (arena::kWithdrawn | arena::kSuperseded)) == 0;
    if (counts && view.snapshot_id <= up_to) newest = std::max(newest, view.snapshot_id);
  }
  return newest;
}

std::uint64_t newest_confirmed(const std::vector<arena::RecordView>& records, std::uint64_t up_to) noexcept {
  constexpr std::uint32_t kAsked = arena::kConfirmed | arena::kWithdrawn | arena::kSuperseded;
  std::uint64_t newest = 0;
  for (const arena::RecordView& view : records) {
    const bool counts = (is_captured(view) || is_kept_unwritten(view)) && (view.flags & kAsked) == arena::kConfirmed;
    if (counts && view.snapshot_id <= up_to) newest = std::max(newest, view.snapshot_id);
  }
  return newest;
}

Keeping decide_keeping(const arena::RecordView& view, std::uint64_t newest_confirmed, bool trainer_dead) noexcept {
  if (view.state == arena::RecordState::abandoned) return Keeping::let_go;
  if (view.state == arena::RecordState::copying) return trainer_dead ? Keeping::let_go : Keeping::keep;
  if ((view.flags & arena::kWithdrawn) != 0) return Keeping::withdraw;
  if (trainer_dead) return Keeping::keep;  // which leases nothing
  return newest_confirmed > view.snapshot_id ? Keeping::let_go : Keeping::keep;
}

Result<std::unique_ptr<Keeper>> Keeper::start(const arena::Arena& arena, std::string run,
                                              KeeperEvents events) {
  std::unique_ptr<Keeper> keeper(new Keeper(arena, std::move(run), std::move(events)));
  SF_ASSIGN(keeper->thread_, base::Thread::start("sf-keep", [raw = keeper.get()] { raw->run(); }));
  return keeper;
}

Keeper::~Keeper() { stop(); }

void Keeper::stop() noexcept {
  stopping_ = true;
  side_.wake_self();
  thread_.join();
}

void Keeper::trainer_died() noexcept {
  trainer_dead_ = true;
  side_.wake_self();
}

void Keeper::leave_with(std::uint64_t newest_snapshot) noexcept {
  const auto still = hold_still();
  newest_that_counts_ = newest_snapshot;
}

void Keeper::run() {
  while (!stopping_) {
    const std::uint32_t seen = side_.signal();
    events_.on_look();
    const std::vector<arena::RecordView> records = side_.records();
    std::erase_if(hashed_, [&](const auto& one) {
      return std::none_of(records.begin(), records.end(),
                          [&](const arena::RecordView& view) { return view.snapshot_id == one.first; });
    });
    for (const arena::RecordView& view : records) {
      if ((view.flags & arena::kDone) != 0) continue;
      hash_filled(view);
      if ((view.flags & arena::kMemoryOnly) != 0) look_after(view);
    }
    side_.wait(seen, base::Deadline::after_ms(kIdleWaitMs));
  }
}

void Keeper::look_after(const arena::RecordView& seen) {
  const auto still = hold_still();
  const bool trainer_dead = trainer_dead_;  // before the record: a seal that came first counts
  const auto view = side_.view(seen.record);
  // Claimed for the store meanwhile, by the persister or by the trainer's last word.
  const bool ours = view && view->snapshot_id == seen.snapshot_id && (view->flags & arena::kMemoryOnly) != 0;
  if (!ours) return;
  const Keeping keeping = decide_keeping(*view, newest_confirmed(side_.records(), newest_that_counts_), trainer_dead);
  if (keeping == Keeping::keep) return;
  // What its trainer supersedes in this instant it frees by itself.
  const bool superseded = view->state == arena::RecordState::sealed && !side_.take(*view);
  if (superseded && !trainer_dead) return;
  if (keeping == Keeping::withdraw) {
    if (!side_.advance(*view, arena::RecordState::sealed, arena::RecordState::failed)) return;
    events_.on_withdrawn(*view);
  }
  base::log(base::LogLevel::debug, "snapshot.let_go", {{"run", run_}, {"step", view->step}});
  side_.release_all(*view);
  side_.done(*view);
}

// One that goes to the store is hashed as it is written; only where the store is behind, it is hashed here once it is sealed.
void Keeper::hash_filled(const arena::RecordView& view) {
  const bool sealed = is_captured(view);
  if (!sealed && (view.flags & arena::kMemoryOnly) == 0) return;
  const bool whole =
      arena::mode_of(arena_->committed_slots(), view.image_chunks(), view.descriptor_chunks()) != arena::Mode::ring;
  if (!whole) return;
  const auto [at, fresh] = hashed_.try_emplace(view.snapshot_id, 0);
  while (!stopping_ && at->second < view.image_chunks() && hash_chunk(view, at->second)) ++at->second;
  if (sealed && at->second == view.image_chunks() && hash_descriptor(view)) ++at->second;  // once
}

bool Keeper::hash_chunk(const arena::RecordView& view, std::uint64_t index) const {
  const auto still = hold_still();
  const auto slot = side_.filled_slot(view, index);
  if (!slot) return false;
  // A trainer that supersedes the snapshot may lease the slot anew while it is read: the hash belongs to this lease.
  const std::uint64_t generation = side_.generation(*slot);
  if (side_.filled_slot(view, index) != slot) return false;
  if (!side_.hash(*slot)) {
    side_.set_hash(*slot, generation, base::xxh128(side_.chunk(*slot).first(arena::chunk_length(view.image_bytes, index))));
  }
  return true;
}

bool Keeper::hash_descriptor(const arena::RecordView& view) const {
  const auto still = hold_still();
  const auto slots = side_.descriptor_slots(view);
  if (!slots) return false;
  for (std::uint64_t i = 0; i < slots->size(); ++i) {
    const std::uint64_t slot = (*slots)[i];
    const std::uint64_t generation = side_.generation(slot);
    if (side_.descriptor_slots(view) != slots) return false;
    if (side_.hash(slot)) continue;
    side_.set_hash(slot, generation, base::xxh128(side_.chunk(slot).first(arena::chunk_length(view.descriptor_bytes, i))));
  }
  return true;
}

Status Keeper::hash_all(const arena::RecordView& view, const base::Deadline& deadline) const {
  const std::uint64_t chunks = view.image_chunks();
  for (std::uint64_t i = 0; i < chunks; ++i) {
    if (stopping_) return {Code::unavailable, "the daemon ends"};
    if (deadline.expired()) {
      return {Code::deadline, std::to_string(i) + " of " + std::to_string(chunks) +
                                  " chunks of the image in memory were hashed when the time was over"};
    }
    if (!hash_chunk(view, i)) return {Code::not_found, "chunk " + std::to_string(i) + " of the image is no longer in memory"};
  }
  if (!hash_descriptor(view)) return {Code::not_found, "the descriptor of the image is no longer in memory"};
  return {};
}

bool Keeper::claim_for_store(const arena::RecordView& view) const {
  const auto still = hold_still();
  const auto now = side_.view(view.record);
  const bool there = now && now->snapshot_id == view.snapshot_id && now->state == arena::RecordState::sealed &&
                     (now->flags & arena::kDone) == 0;
  if (there) side_.claim_for_store(view);
  return there;
}

}  // namespace stillframe::persist
