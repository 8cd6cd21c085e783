// Making an arena and taking one over: what is accepted, what is refused, and what it costs of a budget.
#include "arena/arena.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <random>

#include "arena_steps.hpp"
#include "support/temp_dir.hpp"

namespace stillframe::arena {
namespace {

using steps::make_arena;

base::UniqueFd duplicate(const Arena& arena) { return base::UniqueFd(::fcntl(arena.memfd(), F_DUPFD_CLOEXEC, 0)); }

// A memfd with the bytes of a fresh arena's control structures, damaged, and the seals asked for.
base::UniqueFd damaged_memfd(const std::function<void(ArenaHeader&)>& damage, std::int64_t more_bytes = 0,
                             int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) {
  const Arena whole = make_arena(4, 0);
  base::UniqueFd memfd(::memfd_create("damaged", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const auto bytes = static_cast<std::int64_t>(whole.header().total_bytes) + more_bytes;
  EXPECT_EQ(::ftruncate(memfd.get(), bytes), 0);
  alignas(ArenaHeader) std::array<std::byte, sizeof(ArenaHeader)> header;
  std::memcpy(header.data(), &whole.header(), header.size());
  damage(*reinterpret_cast<ArenaHeader*>(header.data()));
  EXPECT_EQ(::pwrite(memfd.get(), header.data(), header.size(), 0), static_cast<ssize_t>(header.size()));
  EXPECT_EQ(::fcntl(memfd.get(), F_ADD_SEALS, seals), 0);
  return memfd;
}
void unharmed(ArenaHeader&) {}

TEST(Arena, WhatOneSideWritesTheOtherSideReads) {
  Arena daemon = make_arena(5, 3);
  auto trainer = Arena::attach(duplicate(daemon));
  ASSERT_TRUE(trainer.ok()) << trainer.status().message();
  EXPECT_EQ(trainer->slot_count(), 5U);
  EXPECT_EQ(trainer->committed_slots(), 3U);
  EXPECT_EQ(trainer->id_hex(), daemon.id_hex());
  EXPECT_EQ(trainer->committed_bytes(), daemon.committed_bytes());
  steps::fill(trainer->chunk(2), 42);
  EXPECT_TRUE(steps::holds(daemon.chunk(2), 42));
  ASSERT_TRUE(daemon.commit_slots(5).ok());
  EXPECT_EQ(trainer->committed_slots(), 5U) << "growth is seen without another message";
}

TEST(Arena, NoTwoArenasHaveOneId) { EXPECT_NE(make_arena(1).id_hex(), make_arena(1).id_hex()); }

TEST(Arena, IsItsUsersOwnSoThatNoOtherOpensItAnewForWriting) {
  const Arena arena = make_arena(1);
  struct stat info {};
  ASSERT_EQ(::fstat(arena.memfd(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
  EXPECT_TRUE(arena.is_of(arena.reopen_read_only()->get()));
  EXPECT_FALSE(arena.is_of(make_arena(1).memfd()));
}

TEST(Arena, NobodyCanResizeItOrLoosenItsSeals) {
  const Arena arena = make_arena(2);
  const auto bytes = static_cast<off_t>(arena.header().total_bytes);
  EXPECT_NE(::ftruncate(arena.memfd(), bytes - 4096), 0);
  EXPECT_NE(::ftruncate(arena.memfd(), bytes + 4096), 0);
  EXPECT_NE(::fcntl(arena.memfd(), F_ADD_SEALS, F_SEAL_WRITE), 0);
  EXPECT_NE(::fcntl(arena.memfd(), F_GETFD) & FD_CLOEXEC, 0) << "a child that runs another program must not hold it";
}

TEST(Arena, CreateRefusesSlotCountsOutOfRange) {
  EXPECT_EQ(Arena::create(0).status().code(), Code::invalid_argument);
  EXPECT_EQ(Arena::create(kMaxSlots + 1).status().code(), Code::invalid_argument);
  EXPECT_EQ(Arena::create(~std::uint64_t{0}).status().code(), Code::invalid_argument);
}

TEST(Arena, CommittingMoreThanItHasIsRefusedAndCommittingLessChangesNothing) {
  Arena arena = make_arena(4, 2);
  EXPECT_FALSE(arena.commit_slots(5).ok());
  EXPECT_EQ(arena.committed_slots(), 2U);
  EXPECT_TRUE(arena.commit_slots(1).ok());
  EXPECT_EQ(arena.committed_slots(), 2U);
}

TEST(Arena, AMovedArenaStaysMappedAndTheOneItReplacesGoes) {
  Arena first = make_arena(2);
  steps::fill(first.chunk(1), 7);
  const std::string id = first.id_hex();
  Arena second = make_arena(3);
  second = std::move(first);
  EXPECT_EQ(second.id_hex(), id);
  EXPECT_EQ(second.slot_count(), 2U);
  EXPECT_TRUE(steps::holds(second.chunk(1), 7));
}

TEST(Arena, AClaimOfMoreCommittedSlotsThanThereAreIsNotBelieved) {
  const Arena arena = make_arena(4, 2);
  arena.header().committed_slots.store(~std::uint64_t{0});
  EXPECT_EQ(arena.committed_slots(), 4U);
  EXPECT_EQ(arena.committed_bytes(), arena.header().total_bytes);
}

TEST(ArenaAttach, TakesAnUndamagedCopy) { EXPECT_TRUE(Arena::attach(damaged_memfd(unharmed)).ok()); }

TEST(ArenaAttach, RefusesMemoryThatTheOtherSideCouldStillShrink) {
  for (const int seals : {0, F_SEAL_SHRINK, F_SEAL_SHRINK | F_SEAL_GROW, F_SEAL_GROW | F_SEAL_SEAL}) {
    EXPECT_EQ(Arena::attach(damaged_memfd(unharmed, 0, seals)).status().code(), Code::corrupt) << seals;
  }
}

TEST(ArenaAttach, RefusesAnotherSize) {
  for (const std::int64_t more : {-4096, -1, 1, 4096, 1 << 20}) {
    EXPECT_EQ(Arena::attach(damaged_memfd(unharmed, more)).status().code(), Code::corrupt) << more;
  }
}

TEST(ArenaAttach, RefusesWhatIsNoMemoryAtAll) {
  EXPECT_FALSE(Arena::attach(base::UniqueFd()).ok());
  EXPECT_FALSE(Arena::attach(base::UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC))).ok());
  base::UniqueFd tiny(::memfd_create("tiny", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::fcntl(tiny.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
  EXPECT_EQ(Arena::attach(std::move(tiny)).status().code(), Code::corrupt);
}

TEST(ArenaAttach, RefusesAFileThatHoldsAnArenasBytes) {
  const test::TempDir dir;
  const Arena arena = make_arena(1, 0);
  base::UniqueFd file(::open((dir.path() + "/arena").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::ftruncate(file.get(), static_cast<off_t>(arena.header().total_bytes)), 0);
  ASSERT_EQ(::pwrite(file.get(), &arena.header(), sizeof(ArenaHeader), 0), static_cast<ssize_t>(sizeof(ArenaHeader)));
  EXPECT_EQ(Arena::attach(std::move(file)).status().code(), Code::corrupt) << "anybody may cut a file short";
}

struct HeaderDamage {
  const char* what;
  std::function<void(ArenaHeader&)> damage;
  Code code;
};

TEST(ArenaAttach, RefusesEveryDamagedFieldOfTheHeader) {
  const std::vector<HeaderDamage> cases{
      {"magic", [](ArenaHeader& h) { h.magic ^= 1; }, Code::corrupt},
      {"version above", [](ArenaHeader& h) { ++h.version; }, Code::unsupported},
      {"version zero", [](ArenaHeader& h) { h.version = 0; }, Code::unsupported},
      {"fewer records", [](ArenaHeader& h) { --h.max_snapshots; }, Code::unsupported},
      {"more records", [](ArenaHeader& h) { ++h.max_snapshots; }, Code::unsupported},
      {"total one less", [](ArenaHeader& h) { --h.total_bytes; }, Code::corrupt},
      {"total one more", [](ArenaHeader& h) { ++h.total_bytes; }, Code::corrupt},
      {"no slots", [](ArenaHeader& h) { h.slot_count = 0; }, Code::corrupt},
      {"one slot less", [](ArenaHeader& h) { --h.slot_count; }, Code::corrupt},
      {"one slot more", [](ArenaHeader& h) { ++h.slot_count; }, Code::corrupt},
      {"slots past the limit", [](ArenaHeader& h) { h.slot_count = kMaxSlots + 1; }, Code::corrupt},
      {"slots that overflow", [](ArenaHeader& h) { h.slot_count = ~std::uint64_t{0}; }, Code::corrupt},
      {"slots that wrap round", [](ArenaHeader& h) { h.slot_count += 1ULL << 44U; }, Code::corrupt},
      {"slots offset", [](ArenaHeader& h) { h.slots_offset += 64; }, Code::corrupt},
      {"map offset", [](ArenaHeader& h) { h.map_offset -= 4096; }, Code::corrupt},
      {"chunks offset", [](ArenaHeader& h) { h.chunks_offset = 0; }, Code::corrupt},
  };
  for (const HeaderDamage& one : cases) {
    const auto attached = Arena::attach(damaged_memfd(one.damage));
    EXPECT_EQ(attached.status().code(), one.code) << one.what;
    EXPECT_FALSE(attached.status().message().empty()) << one.what;
  }
}

TEST(ArenaBudget, SlotsNeverCostMoreThanTheBudgetAndOneMoreWould) {
  std::mt19937_64 random(20261122);
  std::vector<std::uint64_t> budgets{0, 1, 4096, kChunkBytes - 1, kChunkBytes, kChunkBytes + 16384, 2 * kChunkBytes};
  for (int i = 0; i < 3000; ++i) budgets.push_back(random() >> (22 + random() % 42));
  for (std::uint64_t slots = 1; slots < 300; ++slots) {
    const std::uint64_t exact = control_bytes(slots) + slots * kChunkBytes;
    EXPECT_EQ(slots_in_budget(exact), slots);
    EXPECT_EQ(slots_in_budget(exact - 1), slots - 1);
    budgets.push_back(exact + 1);
  }
  for (const std::uint64_t budget : budgets) {
    const std::uint64_t slots = slots_in_budget(budget);
    ASSERT_LE(slots, kMaxSlots);
    if (slots > 0) {
      ASSERT_LE(control_bytes(slots) + slots * kChunkBytes, budget) << budget;
    }
    if (slots < kMaxSlots) {
      ASSERT_GT(control_bytes(slots + 1) + (slots + 1) * kChunkBytes, budget) << budget;
    }
  }
  EXPECT_EQ(slots_in_budget(~std::uint64_t{0}), kMaxSlots);
}

TEST(ArenaBudget, AnArenaOfTheSlotsInABudgetIsNotLargerThanIt) {
  for (const std::uint64_t budget : {kChunkBytes + 100'000, 7 * kChunkBytes, 64 * kChunkBytes + 12'345}) {
    const std::uint64_t slots = slots_in_budget(budget);
    ASSERT_GT(slots, 0U);
    const Arena arena = make_arena(slots);
    EXPECT_LE(arena.committed_bytes(), budget);
    EXPECT_EQ(arena.committed_bytes(), control_bytes(slots) + slots * kChunkBytes);
  }
}

TEST(ArenaMode, ChangesExactlyAtItsBorders) {
  // 10 image chunks and 2 of the descriptor: 12 for one snapshot, 24 for two, 2 x 2 + 4 for a ring.
  EXPECT_EQ(mode_of(24, 10, 2), Mode::twofold);
  EXPECT_EQ(mode_of(23, 10, 2), Mode::single);
  EXPECT_EQ(mode_of(12, 10, 2), Mode::single);
  EXPECT_EQ(mode_of(11, 10, 2), Mode::ring);
  EXPECT_EQ(mode_of(8, 10, 2), Mode::ring);
  EXPECT_EQ(mode_of(7, 10, 2), Mode::none);
  EXPECT_EQ(mode_of(0, 10, 2), Mode::none);
  EXPECT_EQ(mode_of(2, 1, 1), Mode::single) << "a state smaller than the least ring still fits whole";
  EXPECT_EQ(mode_of(1, 1, 1), Mode::none);
}

TEST(ArenaMode, NeverGetsWorseWithMoreSlots) {
  for (std::uint64_t image = 0; image < 20; ++image) {
    for (std::uint64_t descriptor = 1; descriptor < 5; ++descriptor) {
      for (std::uint64_t slots = 0; slots < 60; ++slots) {
        EXPECT_LE(mode_of(slots, image, descriptor), mode_of(slots + 1, image, descriptor));
      }
    }
  }
}

TEST(ArenaLayout, ChunksOfCountsTheShortLastChunk) {
  EXPECT_EQ(chunks_of(0), 0U);
  EXPECT_EQ(chunks_of(1), 1U);
  EXPECT_EQ(chunks_of(kChunkBytes), 1U);
  EXPECT_EQ(chunks_of(kChunkBytes + 1), 2U);
  EXPECT_EQ(chunks_of(~std::uint64_t{0}), 1ULL << 44U);
}

}  // namespace
}  // namespace stillframe::arena
