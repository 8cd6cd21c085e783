// Trainer and daemon as the tests of the arena play them: the trainer in single steps, so that it can stop after any.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "arena/daemon_side.hpp"
#include "arena/trainer_side.hpp"

namespace stillframe::arena::steps {

[[nodiscard]] inline base::Deadline soon() { return base::Deadline::after_ms(60'000); }
[[nodiscard]] inline base::Deadline now() { return base::Deadline::after_ms(0); }

[[nodiscard]] inline Arena make_arena(std::uint64_t slots, std::uint64_t committed) {
  auto arena = Arena::create(slots);
  EXPECT_TRUE(arena.ok()) << arena.status().message();
  const Status status = arena->commit_slots(committed);
  EXPECT_TRUE(status.ok()) << status.message();
  return std::move(arena).value();
}
[[nodiscard]] inline Arena make_arena(std::uint64_t slots) { return make_arena(slots, slots); }

// What a chunk of the tests' snapshots holds, throughout.
[[nodiscard]] inline std::uint64_t word_of(std::uint64_t snapshot_id, SlotKind kind, std::uint64_t index) {
  return snapshot_id << 32U | static_cast<std::uint64_t>(kind) << 31U | index;
}
inline void fill(std::span<std::byte> chunk, std::uint64_t word) {
  for (std::size_t at = 0; at + sizeof word <= chunk.size(); at += sizeof word) {
    std::memcpy(chunk.data() + at, &word, sizeof word);
  }
}
[[nodiscard]] inline bool holds(std::span<const std::byte> bytes, std::uint64_t word) {
  std::size_t at = 0;
  for (; at + sizeof word <= bytes.size(); at += sizeof word) {
    if (std::memcmp(bytes.data() + at, &word, sizeof word) != 0) return false;
  }
  return std::memcmp(bytes.data() + at, &word, bytes.size() - at) == 0;
}

// Takes one snapshot, one operation a step: begin, (lease, write, mark_filled) per chunk with the descriptor's first,
// seal, confirm.
class SteppedTrainer {
 public:
  SteppedTrainer(const Arena& arena, const SnapshotFacts& facts) : arena_(&arena), side_(arena), facts_(facts) {}

  [[nodiscard]] std::uint64_t chunk_count() const {
    return chunks_of(facts_.descriptor_bytes) + chunks_of(facts_.image_bytes);
  }
  [[nodiscard]] std::uint64_t step_count() const { return 3 + 3 * chunk_count(); }
  [[nodiscard]] std::uint64_t seal_step() const { return step_count() - 2; }
  [[nodiscard]] bool finished() const { return next_ == step_count(); }
  [[nodiscard]] const SnapshotHandle& handle() const { return handle_; }
  [[nodiscard]] TrainerSide& side() { return side_; }

  // False when the step could not be done.
  bool step() {
    const std::uint64_t now = next_++;
    if (now == 0) {
      auto begun = side_.begin(facts_);
      if (begun.ok()) handle_ = *begun;
      return begun.ok();
    }
    if (now == seal_step()) return side_.seal(handle_);
    if (now > seal_step()) {
      side_.confirm(handle_);
      return true;
    }
    return step_of_chunk((now - 1) / 3, (now - 1) % 3);
  }
  bool run_steps(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      if (!step()) return false;
    }
    return true;
  }

 private:
  bool step_of_chunk(std::uint64_t chunk, std::uint64_t part) {
    const std::uint64_t descriptor_chunks = chunks_of(facts_.descriptor_bytes);
    const SlotKind kind = chunk < descriptor_chunks ? SlotKind::descriptor : SlotKind::image;
    const std::uint64_t index = kind == SlotKind::descriptor ? chunk : chunk - descriptor_chunks;
    if (part == 0) {
      auto leased = side_.lease(handle_, kind, index, soon());
      if (leased.ok()) slot_ = *leased;
      return leased.ok();
    }
    if (part == 1) {
      fill(arena_->chunk(slot_), word_of(handle_.snapshot_id, kind, index));
    } else {
      side_.mark_filled(handle_, slot_);
    }
    return true;
  }

  const Arena* arena_;
  TrainerSide side_;
  SnapshotFacts facts_;
  SnapshotHandle handle_;
  std::uint64_t next_ = 0;
  std::uint64_t slot_ = 0;
};

// Every chunk of the image and the descriptor is there with the bytes that SteppedTrainer wrote.
[[nodiscard]] inline bool is_whole(const Arena& arena, const RecordView& view) {
  const DaemonSide daemon(arena);
  const auto descriptor = daemon.descriptor(view);
  if (!descriptor || descriptor->size() != view.descriptor_bytes) return false;
  for (std::uint64_t i = 0; i < view.descriptor_chunks(); ++i) {
    const std::uint64_t from = i * kChunkBytes;
    const auto chunk = std::span(*descriptor).subspan(from, std::min(kChunkBytes, view.descriptor_bytes - from));
    if (!holds(chunk, word_of(view.snapshot_id, SlotKind::descriptor, i))) return false;
  }
  for (std::uint64_t i = 0; i < view.image_chunks(); ++i) {
    const auto slot = daemon.filled_slot(view, i);
    if (!slot || !holds(daemon.chunk(*slot), word_of(view.snapshot_id, SlotKind::image, i))) return false;
  }
  return true;
}

}  // namespace stillframe::arena::steps
