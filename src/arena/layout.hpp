// The shared memory of one trainer and the daemon, byte for byte. Chunk states, generations and snapshot records live here,
// in the memfd, so that the memory alone is enough for a new daemon to go on after the old one has died.
//
//   0                 ArenaHeader                               4096 bytes
//   4096              SnapshotRecord[kMaxSnapshots]             4096 bytes
//   slots_offset      ChunkSlot[slot_count]                     64 bytes each
//   map_offset        atomic<u32>[kMaxSnapshots][slot_count]    image chunk -> slot + 1, by (index modulo slot_count)
//   chunks_offset     slot_count x 1 MiB                        page-aligned; memory is committed by the daemon, in segments
//
// Who writes what: the trainer takes records and leases slots (free -> leased -> filled) and seals; the daemon gives slots
// back (-> free) and moves sealed records on. A process that dies at any instruction leaves a state that the other can read.
// The daemon trusts nothing here for its own safety: every index is checked against what it knows.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "stillframe/types.hpp"

namespace stillframe::arena {

inline constexpr std::uint64_t kArenaMagic = 0x616e657241465321ULL;  // "!SFArena" read as bytes
inline constexpr std::uint32_t kArenaVersion = 2;
inline constexpr std::uint32_t kMaxSnapshots = 8;
inline constexpr std::uint64_t kControlPageBytes = 4096;
// 4 TiB of chunks: a bound for parsing, not a promise.
inline constexpr std::uint64_t kMaxSlots = 1ULL << 22;

// empty -> copying -> sealed -> durable -> verified, or -> abandoned (trainer) or failed (daemon). The trainer makes a
// record empty again once `kDone` is set.
enum class RecordState : std::uint32_t { empty, copying, sealed, durable, verified, failed, abandoned };

enum RecordFlag : std::uint32_t {
  kConfirmed = 1,  // trainer: no guarded tensor moved between the snapshot and its fence
  kWithdrawn = 2,  // trainer: torn; never to be published, or to be marked bad
  kSealed = 8,     // trainer: every slot was filled, nothing is written any more
  kDone = 4,       // daemon: its slots are free and it will not touch the record again
  kTaken = 16,     // daemon: it writes the snapshot, or has; never together with the next
  kSuperseded = 32,  // trainer: it frees the slots for a newer one; when it dies before it has, the daemon does
  kMemoryOnly = 64,  // trainer: not for the store, kept until a newer one is confirmed; either side takes the flag away
  kUnwritten = 128,  // daemon: failed, and the store is at fault: its image stays until a newer one is confirmed
  kCaptured = 256,   // daemon: every rank of the group has sealed this step (a group of more than one only)
  kChecked = 512,    // trainer, before the seal: what is on GPUs was compared with them
  kFromGpu = 1024,   // trainer: some of its bytes are on GPUs
};

enum class SlotState : std::uint32_t { free, leased, filled };
enum class SlotKind : std::uint32_t { image, descriptor };

struct ArenaHeader {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t max_snapshots;
  std::array<std::uint8_t, 16> arena_id;
  std::uint64_t total_bytes;
  std::uint64_t slot_count;
  std::uint64_t slots_offset;
  std::uint64_t map_offset;
  std::uint64_t chunks_offset;
  std::atomic<std::uint64_t> committed_slots;  // slots [0, n) have memory; daemon only
  std::atomic<std::uint32_t> to_daemon;        // futex: filled, sealed, abandoned, confirmed, withdrawn
  std::atomic<std::uint32_t> to_trainer;       // futex: free, state
  // For status alone, times on the machine's monotonic clock; 0: not known.
  std::int64_t made_monotonic_ns;                  // daemon
  std::atomic<std::int64_t> durable_monotonic_ns;  // daemon: when the newest durable snapshot was taken
  std::atomic<std::uint64_t> mean_block_ns;        // trainer: host time that a snapshot has cost its loop so far
  std::atomic<std::uint64_t> failures_apart_ns;    // trainer: the time between failures that it was given
};
static_assert(sizeof(ArenaHeader) <= kControlPageBytes);

struct SnapshotRecord {
  std::atomic<RecordState> state;
  std::atomic<std::uint32_t> flags;
  std::uint64_t snapshot_id;       // from 1, never used twice in an arena
  std::int64_t step;
  std::uint64_t image_bytes;
  std::uint64_t descriptor_bytes;  // format/descriptor.hpp: layout, tree, metrics
  std::int64_t taken_unix_ns;      // label
  std::uint64_t checksum;          // of the five fields above: a stray write is not taken for a snapshot
  std::atomic<std::uint64_t> sequence;  // daemon: claimed for this snapshot; 0 before
  std::int64_t taken_monotonic_ns;      // of the call, for status alone; 0: not known
};
static_assert(sizeof(SnapshotRecord) * kMaxSnapshots <= kControlPageBytes);
static_assert(sizeof(SnapshotRecord) == 72, "another layout is another kArenaVersion");

struct ChunkSlot {
  std::atomic<SlotState> state;
  SlotKind kind;
  std::atomic<std::uint64_t> generation;  // counts leases
  std::uint64_t snapshot_id;
  std::uint64_t index;  // of the chunk in the image or in the descriptor
  std::array<std::uint8_t, 16> raw_hash;  // daemon: XXH3-128 of the chunk's bytes, as it read them first
  std::atomic<std::uint64_t> hashed_generation;  // daemon: the lease to which raw_hash belongs; another one's says nothing
  std::array<std::uint8_t, 8> reserved;
};
static_assert(sizeof(ChunkSlot) == 64);

// Chunks of one snapshot: the last image chunk and the last descriptor chunk may be short.
[[nodiscard]] constexpr std::uint64_t chunks_of(std::uint64_t bytes) noexcept {
  return bytes / kChunkBytes + (bytes % kChunkBytes != 0);
}

[[nodiscard]] constexpr std::uint64_t chunk_length(std::uint64_t bytes, std::uint64_t index) noexcept {
  const std::uint64_t rest = bytes - index * kChunkBytes;
  return rest < kChunkBytes ? rest : kChunkBytes;
}

// How snapshots of `need` chunks live in `slots` slots; the one formula for trainer, daemon and status.
enum class Mode : std::uint8_t {
  none,    // too small even for a ring
  ring,    // chunks come back once written and synced: the fence may wait for the disk
  single,  // the whole image fits: waits only while the previous commit has not ended
  twofold, // a whole sealed image is always there beside the one being taken
};
inline constexpr std::uint64_t kMinRingChunks = 4;
[[nodiscard]] constexpr Mode mode_of(std::uint64_t slots, std::uint64_t image_chunks,
                                     std::uint64_t descriptor_chunks) noexcept {
  const std::uint64_t need = image_chunks + descriptor_chunks;
  if (slots >= 2 * need) return Mode::twofold;
  if (slots >= need) return Mode::single;
  // A ring holds two descriptors, so that a sealed snapshot and the next can both be under way.
  return slots >= 2 * descriptor_chunks + kMinRingChunks ? Mode::ring : Mode::none;
}
[[nodiscard]] constexpr const char* mode_name(Mode mode) noexcept {
  switch (mode) {
    case Mode::none: return "none";
    case Mode::ring: return "ring";
    case Mode::single: return "single";
    case Mode::twofold: return "double";
  }
  return "?";
}

}  // namespace stillframe::arena
