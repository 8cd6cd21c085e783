// The memory of a dead trainer in the hands of its successor: readable, and nothing else. And the hashes that stand in it.
#include <fcntl.h>
#include <sys/mman.h>

#include "unit/arena/arena_steps.hpp"

namespace stillframe::test {
namespace {

arena::Arena make(std::uint64_t slots) {
  arena::Arena made = arena::Arena::create(slots).value();
  EXPECT_TRUE(made.commit_slots(slots).ok());
  return made;
}

TEST(ReadOnlyArena, IsReadByItsDescriptorAndCannotBeMappedForWriting) {
  const arena::Arena arena = make(4);
  arena.chunk(2)[77] = std::byte{42};
  auto reader = arena.reopen_read_only();
  ASSERT_TRUE(reader.ok()) << reader.status().message();
  EXPECT_EQ(::fcntl(reader->get(), F_GETFL) & O_ACCMODE, O_RDONLY);
  EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, reader->get(), 0), MAP_FAILED);
  EXPECT_FALSE(arena::Arena::attach(base::UniqueFd(::dup(reader->get()))).ok());
  const auto attached = arena::Arena::attach_read_only(std::move(reader).value());
  ASSERT_TRUE(attached.ok()) << attached.status().message();
  EXPECT_EQ(attached->chunk(2)[77], std::byte{42});
  EXPECT_EQ(attached->id_hex(), arena.id_hex());
}

TEST(ReadOnlyArena, OutlivesTheOneItCameFrom) {
  std::optional<arena::Arena> arena(make(4));
  arena->chunk(0)[0] = std::byte{7};
  const auto attached = arena::Arena::attach_read_only(arena->reopen_read_only().value());
  ASSERT_TRUE(attached.ok());
  arena.reset();
  EXPECT_EQ(attached->chunk(0)[0], std::byte{7});
}

TEST(ChunkHash, TheFirstOneStandsUntilTheSlotIsLeasedAgain) {
  const arena::Arena arena = make(1);
  arena::TrainerSide trainer(arena);
  const arena::DaemonSide daemon(arena);
  const auto handle = trainer.begin({1, 100, 0, 0}).value();
  const auto now = base::Deadline::after_ms(0);
  ASSERT_EQ(trainer.lease(handle, arena::SlotKind::image, 0, now).value(), 0U);
  EXPECT_FALSE(daemon.hash(0).has_value());
  const base::Hash128 first = base::xxh128(std::as_bytes(std::span("first")));
  daemon.set_hash(0, 1, first);
  daemon.set_hash(0, 1, base::xxh128(std::as_bytes(std::span("second"))));
  EXPECT_EQ(daemon.hash(0), first);
  arena.slot(0).state = arena::SlotState::free;
  ASSERT_TRUE(trainer.lease(handle, arena::SlotKind::image, 1, now).ok());
  EXPECT_FALSE(daemon.hash(0).has_value());
  daemon.set_hash(0, 1, first);
  EXPECT_FALSE(daemon.hash(0).has_value()) << "it was read before the lease";
}

TEST(MemoryOnly, IsAFlagOfTheRecordThatEitherSideTakesAway) {
  const arena::Arena arena = make(4);
  arena::TrainerSide trainer(arena);
  const arena::DaemonSide daemon(arena);
  const auto flags_of = [&](const arena::SnapshotHandle& handle) { return daemon.view(handle.record)->flags; };
  EXPECT_EQ(flags_of(trainer.begin({1, 100, 0, 0}).value()), 0U);
  arena::SnapshotFacts facts{2, 100, 0, 0};
  facts.memory_only = true;
  const auto first = trainer.begin(facts).value();
  EXPECT_EQ(flags_of(first), std::uint32_t{arena::kMemoryOnly});
  trainer.send_to_store(first);
  EXPECT_EQ(flags_of(first), 0U);
  const auto second = trainer.begin(facts).value();
  daemon.claim_for_store(*daemon.view(second.record));
  EXPECT_EQ(flags_of(second), 0U);
}

}  // namespace
}  // namespace stillframe::test
