// What the daemon does with an arena: look at records, read filled chunks, give slots back, move records on. Everything read
// from the shared memory is checked. Thread-safe for different snapshots.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "arena/arena.hpp"
#include "base/checksum.hpp"
#include "base/clock.hpp"

namespace stillframe::arena {

// A record as the daemon saw it, checked.
struct RecordView {
  std::uint32_t record = 0;
  std::uint64_t snapshot_id = 0;
  RecordState state = RecordState::empty;
  std::uint32_t flags = 0;
  std::int64_t step = 0;
  std::uint64_t image_bytes = 0;
  std::uint64_t descriptor_bytes = 0;
  std::int64_t taken_unix_ns = 0;
  std::uint64_t sequence = 0;
  std::int64_t taken_monotonic_ns = 0;  // 0: not known

  [[nodiscard]] std::uint64_t image_chunks() const noexcept { return chunks_of(image_bytes); }
  [[nodiscard]] std::uint64_t descriptor_chunks() const noexcept { return chunks_of(descriptor_bytes); }
};

class DaemonSide {
 public:
  explicit DaemonSide(const Arena& arena) noexcept : arena_(&arena) {}

  // Records in use, oldest snapshot first; one whose checksum or sizes are wrong is left out.
  [[nodiscard]] std::vector<RecordView> records() const;
  [[nodiscard]] std::optional<RecordView> view(std::uint32_t record) const;

  // The slot that holds image chunk `index` of the snapshot, once it is filled.
  [[nodiscard]] std::optional<std::uint64_t> filled_slot(const RecordView& view, std::uint64_t index) const noexcept;
  // How often the slot was leased so far: what was read from it counts only when this has not changed meanwhile.
  [[nodiscard]] std::uint64_t generation(std::uint64_t slot) const noexcept;
  // The whole descriptor, copied; nullopt while a chunk of it is missing.
  [[nodiscard]] std::optional<std::vector<std::byte>> descriptor(const RecordView& view) const;
  [[nodiscard]] std::span<const std::byte> chunk(std::uint64_t slot) const noexcept { return arena_->chunk(slot); }
  // The slots of the snapshot's descriptor, by chunk; nullopt while one is missing.
  [[nodiscard]] std::optional<std::vector<std::uint64_t>> descriptor_slots(const RecordView& view) const;
  // Of the bytes that a filled slot held when the daemon read them first; nullopt before that.
  [[nodiscard]] std::optional<base::Hash128> hash(std::uint64_t slot) const noexcept;
  // Of what was read from the slot in that lease. The first one stands: what changes the memory later is found against it.
  void set_hash(std::uint64_t slot, std::uint64_t generation, const base::Hash128& hash) const noexcept;

  // One chunk back to the trainer (ring mode: it was written and synced).
  void release_chunk(const RecordView& view, std::uint64_t index, std::uint64_t slot) const noexcept;
  // Every slot of the snapshot back to the trainer.
  void release_all(const RecordView& view) const noexcept;

  // When the newest durable snapshot was taken; 0: there is none.
  void set_durable_taken(std::int64_t monotonic_ns) const noexcept;
  [[nodiscard]] std::int64_t durable_taken() const noexcept;
  void set_sequence(const RecordView& view, std::uint64_t sequence) const noexcept;
  // The snapshot is the daemon's from here on; also when it was before. False when the trainer has superseded it.
  [[nodiscard]] bool take(const RecordView& view) const noexcept;
  // A snapshot that was for memory only goes to the store.
  void claim_for_store(const RecordView& view) const noexcept;
  // A failed one whose image stays.
  void set_unwritten(const RecordView& view) const noexcept;
  // sealed -> durable, durable -> verified, sealed or copying -> failed. False when the trainer has abandoned it meanwhile.
  bool advance(const RecordView& view, RecordState from, RecordState to) const noexcept;
  // Every rank of the group has sealed the step: the trainer may call it captured. False when the record has become another
  // snapshot's meanwhile, or is no longer sealed.
  bool mark_captured(const RecordView& view) const noexcept;
  // The record is the trainer's again; nothing of the snapshot is read after this.
  void done(const RecordView& view) const noexcept;

  [[nodiscard]] std::uint32_t signal() const noexcept;  // value to pass to wait()
  // Until the trainer signals, the daemon wakes itself, or the deadline.
  void wait(std::uint32_t seen, const base::Deadline& deadline) const noexcept;
  void wake_self() const noexcept;
  void wake_trainer() const noexcept;

 private:
  struct SlotFacts {
    SlotKind kind = SlotKind::image;
    std::uint64_t snapshot_id = 0;
    std::uint64_t index = 0;
  };
  [[nodiscard]] std::optional<SlotFacts> filled(std::uint64_t slot) const noexcept;

  const Arena* arena_;
};

}  // namespace stillframe::arena
