// A trainer that writes anything anywhere into the shared memory harms its own snapshots, never the daemon.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <atomic>
#include <random>

#include "arena_steps.hpp"
#include "base/thread.hpp"

namespace stillframe::arena {
namespace {

using steps::make_arena;
using steps::now;
using steps::SteppedTrainer;

constexpr std::uint64_t kSlots = 8;

std::span<std::byte> control_of(const Arena& arena) {
  return {reinterpret_cast<std::byte*>(&arena.header()), control_bytes(arena.slot_count())};
}

// Everything that the daemon does with memory it did not write; every answer stays inside the arena.
void use_as_daemon(const Arena& arena) {
  const DaemonSide daemon(arena);
  ASSERT_LE(arena.committed_slots(), arena.slot_count());
  ASSERT_LE(arena.committed_bytes(), control_bytes(kSlots) + kSlots * kChunkBytes);
  for (const RecordView& view : daemon.records()) {
    ASSERT_LE(view.image_bytes, kMaxImageBytes);
    ASSERT_LE(view.descriptor_bytes, kMaxManifestBytes);
    ASSERT_LE(view.state, RecordState::abandoned);
    const auto descriptor = daemon.descriptor(view);
    if (descriptor) {
      ASSERT_EQ(descriptor->size(), view.descriptor_bytes);
    }
    for (const std::uint64_t index : {std::uint64_t{0}, std::uint64_t{5}, view.image_chunks(), ~std::uint64_t{0}}) {
      const auto slot = daemon.filled_slot(view, index);
      if (!slot) continue;
      ASSERT_LT(*slot, arena.slot_count());
      (void)base::xxh128(daemon.chunk(*slot));
      daemon.set_hash(*slot, daemon.generation(*slot), {});
      daemon.release_chunk(view, index, *slot);
    }
    daemon.set_sequence(view, 1);
    (void)daemon.advance(view, view.state, RecordState::failed);
    daemon.release_all(view);
    daemon.done(view);
  }
  daemon.wait(daemon.signal(), now());
  (void)arena.id_hex();
}

void make_checksums_right(const Arena& arena) {
  for (std::uint32_t i = 0; i < kMaxSnapshots; ++i) arena.record(i).checksum = record_checksum(arena.record(i));
}

TEST(HostileMemory, RandomControlStructuresNeverLeadTheDaemonOutside) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE(round);
    const Arena arena = make_arena(kSlots, 4);
    for (std::byte& byte : control_of(arena)) byte = static_cast<std::byte>(random());
    if (round % 2 == 1) make_checksums_right(arena);
    ASSERT_NO_FATAL_FAILURE(use_as_daemon(arena));
  }
}

TEST(HostileMemory, SmallRandomValuesInEveryWordNeverLeadTheDaemonOutside) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 500; ++round) {
    SCOPED_TRACE(round);
    const Arena arena = make_arena(kSlots, 4);
    const std::span<std::byte> control = control_of(arena);
    const std::uint32_t range = round % 3 == 0 ? 3 : 12;
    for (std::size_t at = 0; at + 4 <= control.size(); at += 4) {
      const auto word = static_cast<std::uint32_t>(random() % range);
      std::memcpy(control.data() + at, &word, sizeof word);
    }
    for (std::uint32_t i = 0; i < kMaxSnapshots; ++i) {
      arena.record(i).image_bytes = random() % (20 * kChunkBytes);
      arena.record(i).descriptor_bytes = random() % (4 * kChunkBytes);
    }
    make_checksums_right(arena);
    ASSERT_NO_FATAL_FAILURE(use_as_daemon(arena));
  }
}

TEST(HostileMemory, EveryByteOfAGoodArenaMayBeDamaged) {
  std::mt19937_64 random(3);
  const Arena arena = make_arena(kSlots);
  SteppedTrainer trainer(arena, {1, 3 * kChunkBytes, kChunkBytes + 1, 0});
  ASSERT_TRUE(trainer.run_steps(trainer.step_count()));
  const std::span<std::byte> control = control_of(arena);
  const std::vector<std::byte> good(control.begin(), control.end());
  for (std::size_t at = 0; at < control.size(); ++at) {
    // The pages are mostly empty: every byte in use, and every 61st of the rest.
    if (good[at] == std::byte{0} && at % 61 != 0) continue;
    control[at] ^= static_cast<std::byte>(1 + random() % 255);
    ASSERT_NO_FATAL_FAILURE(use_as_daemon(arena)) << "byte " << at;
    std::copy(good.begin(), good.end(), control.begin());
  }
}

TEST(HostileMemory, AnIndexThatChangesWhileTheDescriptorIsReadLeadsNowhere) {
  const Arena arena = make_arena(kSlots);
  SteppedTrainer trainer(arena, {1, kChunkBytes, 1000, 0});
  ASSERT_TRUE(trainer.run_steps(trainer.step_count()));
  const DaemonSide daemon(arena);
  const RecordView view = *daemon.view(0);
  std::uint64_t descriptor_slot = 0;
  while (arena.slot(descriptor_slot).kind != SlotKind::descriptor) ++descriptor_slot;
  std::atomic<bool> stop{false};
  auto hostile = base::Thread::start("hostile", [&] {
    const std::atomic_ref<std::uint64_t> index(arena.slot(descriptor_slot).index);
    while (!stop) {
      index.store(1ULL << 40U, std::memory_order_relaxed);
      index.store(0, std::memory_order_relaxed);
    }
  });
  ASSERT_TRUE(hostile.ok());
  std::uint64_t found = 0;
  for (int i = 0; i < 400'000; ++i) found += daemon.descriptor(view).has_value();
  stop = true;
  hostile->join();
  EXPECT_LE(found, 400'000U);
}

TEST(HostileMemory, ASlotCountThatChangesWhileTheArenaIsAttachedIsNotBelieved) {
  const Arena arena = make_arena(kSlots, 0);
  std::atomic<bool> stop{false};
  auto hostile = base::Thread::start("hostile", [&] {
    const std::atomic_ref<std::uint64_t> slot_count(arena.header().slot_count);
    while (!stop) {
      slot_count.store(kMaxSlots, std::memory_order_relaxed);
      slot_count.store(kSlots, std::memory_order_relaxed);
    }
  });
  ASSERT_TRUE(hostile.ok());
  std::uint64_t misled = 0;
  for (int i = 0; i < 5'000; ++i) {
    const auto attached = Arena::attach(base::UniqueFd(::fcntl(arena.memfd(), F_DUPFD_CLOEXEC, 0)));
    misled += attached.ok() && attached->slot_count() != kSlots;
  }
  stop = true;
  hostile->join();
  EXPECT_EQ(misled, 0U);
}

}  // namespace
}  // namespace stillframe::arena
