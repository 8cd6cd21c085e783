#include "arena/daemon_side.hpp"

#include <algorithm>
#include <cstring>

#include "base/futex.hpp"

namespace stillframe::arena {
namespace {

// A trainer that works changes a record's state a few times in its life; one that does so without end is not waited for.
constexpr int kViewAttempts = 64;

// One read of a field that the trainer may be writing: what was checked is what is used.
template <typename T>
T read_once(T& field) noexcept {
  return std::atomic_ref<T>(field).load(std::memory_order_acquire);
}

}  // namespace

std::optional<RecordView> DaemonSide::view(std::uint32_t index) const {
  if (index >= kMaxSnapshots) return std::nullopt;
  SnapshotRecord& record = arena_->record(index);
  for (int attempt = 0; attempt < kViewAttempts; ++attempt) {
    const RecordState state = record.state.load(std::memory_order_acquire);
    if (state == RecordState::empty || state > RecordState::abandoned) return std::nullopt;
    SnapshotRecord copy{};
    copy.snapshot_id = read_once(record.snapshot_id);
    copy.step = read_once(record.step);
    copy.image_bytes = read_once(record.image_bytes);
    copy.descriptor_bytes = read_once(record.descriptor_bytes);
    copy.taken_unix_ns = read_once(record.taken_unix_ns);
    copy.taken_monotonic_ns = read_once(record.taken_monotonic_ns);
    const std::uint64_t checksum = read_once(record.checksum);
    const std::uint32_t flags = record.flags.load(std::memory_order_acquire);
    const std::uint64_t sequence = record.sequence.load(std::memory_order_acquire);
    // The record may have been given back and taken for another snapshot between these reads.
    if (record.state.load(std::memory_order_acquire) != state) continue;
    if (checksum != record_checksum(copy)) return std::nullopt;
    if (copy.image_bytes > kMaxImageBytes || copy.descriptor_bytes > kMaxManifestBytes) return std::nullopt;
    return RecordView{index,           copy.snapshot_id,      state,              flags,   copy.step,
                      copy.image_bytes, copy.descriptor_bytes, copy.taken_unix_ns, sequence,
                      copy.taken_monotonic_ns};
  }
  return std::nullopt;
}

std::vector<RecordView> DaemonSide::records() const {
  std::vector<RecordView> found;
  for (std::uint32_t i = 0; i < kMaxSnapshots; ++i) {
    if (auto one = view(i)) found.push_back(*one);
  }
  std::sort(found.begin(), found.end(),
            [](const RecordView& a, const RecordView& b) { return a.snapshot_id < b.snapshot_id; });
  return found;
}

// Of one lease: its trainer may free the slot and lease it anew (one that supersedes a snapshot) between two of these reads.
std::optional<DaemonSide::SlotFacts> DaemonSide::filled(std::uint64_t index) const noexcept {
  ChunkSlot& slot = arena_->slot(index);
  const std::uint64_t lease = generation(index);
  if (slot.state.load(std::memory_order_acquire) != SlotState::filled) return std::nullopt;
  const SlotFacts facts{read_once(slot.kind), read_once(slot.snapshot_id), read_once(slot.index)};
  if (generation(index) != lease) return std::nullopt;
  return facts;
}

std::optional<std::uint64_t> DaemonSide::filled_slot(const RecordView& view, std::uint64_t index) const noexcept {
  const std::uint32_t entry = arena_->map_entry(view.record, index).load(std::memory_order_acquire);
  if (entry == 0 || entry > arena_->committed_slots()) return std::nullopt;
  const auto facts = filled(entry - 1);
  const bool holds_it = facts && facts->kind == SlotKind::image && facts->snapshot_id == view.snapshot_id && facts->index == index;
  return holds_it ? std::optional<std::uint64_t>(entry - 1) : std::nullopt;
}

std::optional<std::vector<std::uint64_t>> DaemonSide::descriptor_slots(const RecordView& view) const {
  constexpr std::uint64_t kMissing = ~std::uint64_t{0};
  const std::uint64_t chunks = view.descriptor_chunks();
  const std::uint64_t slots = arena_->committed_slots();
  if (chunks > slots) return std::nullopt;
  std::vector<std::uint64_t> places(chunks, kMissing);
  std::uint64_t found = 0;
  for (std::uint64_t i = 0; i < slots && found < chunks; ++i) {
    const auto facts = filled(i);
    if (!facts || facts->kind != SlotKind::descriptor || facts->snapshot_id != view.snapshot_id) continue;
    if (facts->index >= chunks || places[facts->index] != kMissing) continue;
    places[facts->index] = i;
    ++found;
  }
  if (found < chunks) return std::nullopt;
  return places;
}

std::optional<std::vector<std::byte>> DaemonSide::descriptor(const RecordView& view) const {
  const auto places = descriptor_slots(view);
  if (!places) return std::nullopt;
  std::vector<std::byte> bytes(view.descriptor_bytes);
  for (std::uint64_t i = 0; i < places->size(); ++i) {
    std::memcpy(bytes.data() + i * kChunkBytes, arena_->chunk((*places)[i]).data(), chunk_length(bytes.size(), i));
  }
  return bytes;
}

// Two threads of the daemon may come to one chunk: words, so that neither sees half of the other's.
std::optional<base::Hash128> DaemonSide::hash(std::uint64_t index) const noexcept {
  ChunkSlot& slot = arena_->slot(index);
  if (slot.hashed_generation.load(std::memory_order_acquire) != generation(index)) return std::nullopt;
  std::array<std::uint64_t, 2> words{};
  auto* shared = reinterpret_cast<std::uint64_t*>(slot.raw_hash.data());
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = read_once(shared[i]);
  base::Hash128 hash;
  std::memcpy(hash.bytes.data(), words.data(), sizeof words);
  return hash;
}

void DaemonSide::set_hash(std::uint64_t index, std::uint64_t generation, const base::Hash128& hash) const noexcept {
  ChunkSlot& slot = arena_->slot(index);
  const bool stands = slot.hashed_generation.load(std::memory_order_acquire) == generation;
  if (stands || slot.generation.load(std::memory_order_acquire) != generation) return;
  std::array<std::uint64_t, 2> words{};
  std::memcpy(words.data(), hash.bytes.data(), sizeof words);
  auto* shared = reinterpret_cast<std::uint64_t*>(slot.raw_hash.data());
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::atomic_ref<std::uint64_t>(shared[i]).store(words[i], std::memory_order_relaxed);
  }
  slot.hashed_generation.store(generation, std::memory_order_release);
}

std::uint64_t DaemonSide::generation(std::uint64_t slot) const noexcept {
  return arena_->slot(slot).generation.load(std::memory_order_acquire);
}

void DaemonSide::release_chunk(const RecordView& view, std::uint64_t index, std::uint64_t slot) const noexcept {
  // The map first: its place is used again by chunk index + slot_count, whose lease may follow at once.
  arena_->map_entry(view.record, index).store(0, std::memory_order_release);
  arena_->slot(slot).state.store(SlotState::free, std::memory_order_release);
}

void DaemonSide::release_all(const RecordView& view) const noexcept {
  const std::uint64_t slots = arena_->committed_slots();
  for (std::uint64_t i = 0; i < slots; ++i) {
    ChunkSlot& slot = arena_->slot(i);
    if (slot.state.load(std::memory_order_acquire) != SlotState::free && read_once(slot.snapshot_id) == view.snapshot_id) {
      slot.state.store(SlotState::free, std::memory_order_release);
    }
  }
  wake_trainer();
}

void DaemonSide::set_durable_taken(std::int64_t monotonic_ns) const noexcept {
  arena_->header().durable_monotonic_ns.store(monotonic_ns, std::memory_order_relaxed);
}

std::int64_t DaemonSide::durable_taken() const noexcept {
  return arena_->header().durable_monotonic_ns.load(std::memory_order_relaxed);
}

void DaemonSide::set_sequence(const RecordView& view, std::uint64_t sequence) const noexcept {
  arena_->record(view.record).sequence.store(sequence, std::memory_order_release);
}

bool DaemonSide::take(const RecordView& view) const noexcept {
  SnapshotRecord& record = arena_->record(view.record);
  std::uint32_t flags = record.flags.load(std::memory_order_acquire);
  do {
    if ((flags & kSuperseded) != 0) return false;
  } while (!record.flags.compare_exchange_weak(flags, flags | kTaken, std::memory_order_acq_rel));
  return true;
}

void DaemonSide::claim_for_store(const RecordView& view) const noexcept {
  arena_->record(view.record).flags.fetch_and(~std::uint32_t{kMemoryOnly}, std::memory_order_acq_rel);
}

void DaemonSide::set_unwritten(const RecordView& view) const noexcept {
  arena_->record(view.record).flags.fetch_or(kUnwritten, std::memory_order_acq_rel);
}

bool DaemonSide::advance(const RecordView& view, RecordState from, RecordState to) const noexcept {
  RecordState expected = from;
  const bool moved =
      arena_->record(view.record).state.compare_exchange_strong(expected, to, std::memory_order_acq_rel);
  if (moved) wake_trainer();
  return moved;
}

bool DaemonSide::mark_captured(const RecordView& seen) const noexcept {
  SnapshotRecord& record = arena_->record(seen.record);
  record.flags.fetch_or(kCaptured, std::memory_order_acq_rel);
  const auto now = view(seen.record);
  const bool sealed = now && (now->state == RecordState::sealed || now->state == RecordState::durable ||
                              now->state == RecordState::verified);
  const bool stands = sealed && now->snapshot_id == seen.snapshot_id;
  if (!stands) record.flags.fetch_and(~std::uint32_t{kCaptured}, std::memory_order_acq_rel);
  wake_trainer();
  return stands;
}

void DaemonSide::done(const RecordView& view) const noexcept {
  arena_->record(view.record).flags.fetch_or(kDone, std::memory_order_acq_rel);
  wake_trainer();
}

std::uint32_t DaemonSide::signal() const noexcept {
  return arena_->header().to_daemon.load(std::memory_order_seq_cst);
}

void DaemonSide::wait(std::uint32_t seen, const base::Deadline& deadline) const noexcept {
  base::futex_wait(arena_->header().to_daemon, seen, deadline);
}

void DaemonSide::wake_self() const noexcept { base::futex_bump(arena_->header().to_daemon); }

void DaemonSide::wake_trainer() const noexcept { base::futex_bump(arena_->header().to_trainer); }

}  // namespace stillframe::arena
