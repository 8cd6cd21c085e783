#include "arena/trainer_side.hpp"

#include <algorithm>
#include <string>

#include "base/futex.hpp"

namespace stillframe::arena {
namespace {

// The daemon may look at a record or a slot while it changes hands; released, so that whoever sees the value sees that the
// record was empty, the slot free before.
template <typename T>
void write_shared(T& field, T value) noexcept {
  std::atomic_ref<T>(field).store(value, std::memory_order_release);
}

constexpr double kMostSeconds = 1e9;  // 31 years: what is longer is as good as never

std::uint64_t whole_ns(double seconds) noexcept {
  return seconds > 0 ? static_cast<std::uint64_t>(std::min(seconds, kMostSeconds) * 1e9) : 0;
}

}  // namespace

bool TrainerSide::has_free_record() const noexcept {
  for (std::uint32_t i = 0; i < kMaxSnapshots; ++i) {
    if (arena_->record(i).state.load(std::memory_order_acquire) == RecordState::empty) return true;
  }
  return false;
}

Result<SnapshotHandle> TrainerSide::begin(const SnapshotFacts& facts) {
  std::uint64_t next_id = 1;
  std::optional<std::uint32_t> place;
  for (std::uint32_t i = 0; i < kMaxSnapshots; ++i) {
    const SnapshotRecord& record = arena_->record(i);
    next_id = std::max(next_id, record.snapshot_id + 1);
    if (!place && record.state.load(std::memory_order_acquire) == RecordState::empty) place = i;
  }
  if (!place) {
    return Status(Code::busy, "all " + std::to_string(kMaxSnapshots) + " snapshot records are in use: the daemon has not "
                              "finished the earlier ones");
  }
  SnapshotRecord& record = arena_->record(*place);
  const std::uint32_t flags = (facts.memory_only ? kMemoryOnly : 0U) | (facts.from_gpu ? kFromGpu : 0U);
  record.flags.store(flags, std::memory_order_relaxed);
  record.sequence.store(0, std::memory_order_relaxed);
  write_shared(record.snapshot_id, next_id);
  write_shared(record.step, facts.step);
  write_shared(record.image_bytes, facts.image_bytes);
  write_shared(record.descriptor_bytes, facts.descriptor_bytes);
  write_shared(record.taken_unix_ns, facts.taken_unix_ns);
  write_shared(record.taken_monotonic_ns, facts.taken_monotonic_ns);
  write_shared(record.checksum, record_checksum(record));
  for (std::uint64_t i = 0; i < arena_->slot_count(); ++i) {
    arena_->map_entry(*place, i).store(0, std::memory_order_relaxed);
  }
  record.state.store(RecordState::copying, std::memory_order_release);
  base::futex_bump(arena_->header().to_daemon);
  return SnapshotHandle{*place, next_id};
}

void TrainerSide::tell_costs(double mean_block_seconds, double failures_apart_seconds) noexcept {
  arena_->header().mean_block_ns.store(whole_ns(mean_block_seconds), std::memory_order_relaxed);
  arena_->header().failures_apart_ns.store(whole_ns(failures_apart_seconds), std::memory_order_relaxed);
}

std::optional<std::uint64_t> TrainerSide::find_free() noexcept {
  const std::uint64_t slots = arena_->committed_slots();
  for (std::uint64_t tried = 0; tried < slots; ++tried) {
    if (cursor_ >= slots) cursor_ = 0;
    const std::uint64_t candidate = cursor_++;
    if (arena_->slot(candidate).state.load(std::memory_order_acquire) == SlotState::free) return candidate;
  }
  return std::nullopt;
}

Result<std::uint64_t> TrainerSide::lease(const SnapshotHandle& handle, SlotKind kind, std::uint64_t index,
                                         const base::Deadline& deadline) {
  for (;;) {
    const std::uint32_t seen = arena_->header().to_trainer.load(std::memory_order_seq_cst);
    if (const auto found = find_free()) {
      ChunkSlot& slot = arena_->slot(*found);
      // The state goes last: a death between these stores leaves a slot that still counts as free. The lease is counted
      // first: a daemon that reads two leases in one (a superseded snapshot's and ours) sees that it did.
      slot.generation.fetch_add(1, std::memory_order_acq_rel);
      write_shared(slot.kind, kind);
      write_shared(slot.snapshot_id, handle.snapshot_id);
      write_shared(slot.index, index);
      slot.state.store(SlotState::leased, std::memory_order_release);
      return *found;
    }
    if (deadline.expired()) {
      return Status(Code::deadline, "no chunk of the arena came back in time: the disk or the daemon is too slow for this "
                                    "budget");
    }
    base::futex_wait(arena_->header().to_trainer, seen, deadline);
  }
}

void TrainerSide::mark_filled(const SnapshotHandle& handle, std::uint64_t slot_index) noexcept {
  ChunkSlot& slot = arena_->slot(slot_index);
  slot.state.store(SlotState::filled, std::memory_order_release);
  if (slot.kind == SlotKind::image) {
    arena_->map_entry(handle.record, slot.index).store(static_cast<std::uint32_t>(slot_index + 1), std::memory_order_release);
  }
  base::futex_bump(arena_->header().to_daemon);
}

bool TrainerSide::seal(const SnapshotHandle& handle) noexcept {
  // First: whoever finds the record failed must know whether its trainer still fills slots.
  arena_->record(handle.record).flags.fetch_or(kSealed, std::memory_order_acq_rel);
  RecordState expected = RecordState::copying;
  const bool sealed = arena_->record(handle.record).state.compare_exchange_strong(expected, RecordState::sealed,
                                                                                  std::memory_order_acq_rel);
  base::futex_bump(arena_->header().to_daemon);
  return sealed;
}

void TrainerSide::abandon(const SnapshotHandle& handle) noexcept {
  SnapshotRecord& record = arena_->record(handle.record);
  if (record.snapshot_id != handle.snapshot_id) return;
  for (RecordState from : {RecordState::copying, RecordState::failed}) {
    if (record.state.compare_exchange_strong(from, RecordState::abandoned, std::memory_order_acq_rel)) break;
  }
  base::futex_bump(arena_->header().to_daemon);
}

bool TrainerSide::supersede(const SnapshotHandle& handle) noexcept {
  SnapshotRecord& record = arena_->record(handle.record);
  if (record.snapshot_id != handle.snapshot_id || record.state.load(std::memory_order_acquire) != RecordState::sealed) return false;
  std::uint32_t flags = record.flags.load(std::memory_order_acquire);
  do {
    if ((flags & (kTaken | kSuperseded | kDone)) != 0) return false;
  } while (!record.flags.compare_exchange_weak(flags, flags | kSuperseded, std::memory_order_acq_rel));
  for (std::uint64_t i = 0; i < arena_->committed_slots(); ++i) {
    ChunkSlot& slot = arena_->slot(i);
    if (slot.snapshot_id == handle.snapshot_id) slot.state.store(SlotState::free, std::memory_order_release);
  }
  record.state.store(RecordState::abandoned, std::memory_order_release);
  base::futex_bump(arena_->header().to_daemon);
  return true;
}

std::uint64_t TrainerSide::supersedable_slots(const SnapshotHandle& handle) const noexcept {
  const auto now = progress(handle);
  if (!now || now->state != RecordState::sealed || (now->flags & (kTaken | kSuperseded | kDone)) != 0) return 0;
  std::uint64_t count = 0;
  for (std::uint64_t i = 0; i < arena_->committed_slots(); ++i) {
    const ChunkSlot& slot = arena_->slot(i);
    if (slot.snapshot_id == handle.snapshot_id && slot.state.load(std::memory_order_acquire) == SlotState::filled) ++count;
  }
  return count;
}

void TrainerSide::set_flag(const SnapshotHandle& handle, RecordFlag flag) noexcept {
  SnapshotRecord& record = arena_->record(handle.record);
  if (record.snapshot_id != handle.snapshot_id) return;
  record.flags.fetch_or(flag, std::memory_order_acq_rel);
  base::futex_bump(arena_->header().to_daemon);
}

void TrainerSide::send_to_store(const SnapshotHandle& handle) noexcept {
  SnapshotRecord& record = arena_->record(handle.record);
  if (record.snapshot_id != handle.snapshot_id) return;
  record.flags.fetch_and(~std::uint32_t{kMemoryOnly}, std::memory_order_acq_rel);
  base::futex_bump(arena_->header().to_daemon);
}

std::optional<TrainerSide::Progress> TrainerSide::progress(const SnapshotHandle& handle) const noexcept {
  const SnapshotRecord& record = arena_->record(handle.record);
  const RecordState state = record.state.load(std::memory_order_acquire);
  if (state == RecordState::empty || record.snapshot_id != handle.snapshot_id) return std::nullopt;
  return Progress{state, record.flags.load(std::memory_order_acquire), record.sequence.load(std::memory_order_acquire),
                  record.taken_unix_ns};
}

bool TrainerSide::recycle(const SnapshotHandle& handle) noexcept {
  const auto now = progress(handle);
  if (!now || (now->flags & kDone) == 0) return false;
  arena_->record(handle.record).state.store(RecordState::empty, std::memory_order_release);
  return true;
}

std::uint64_t TrainerSide::free_slots(std::uint64_t limit) const noexcept {
  std::uint64_t count = 0;
  const std::uint64_t slots = arena_->committed_slots();
  for (std::uint64_t i = 0; i < slots && count < limit; ++i) {
    if (arena_->slot(i).state.load(std::memory_order_acquire) == SlotState::free) ++count;
  }
  return count;
}

}  // namespace stillframe::arena
