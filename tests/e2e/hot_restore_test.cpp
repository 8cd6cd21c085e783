// A trainer is killed, and the next one goes on from the daemon's memory: without the disk, and without a byte that is not
// what was captured.
#include <sys/resource.h>

#include "e2e/hot_rig.hpp"

namespace stillframe::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

TEST_F(HotRestore, ComesFromMemoryWhileTheDiskHangsAndTheRunGoesOnInOrder) {
  start_daemon();
  base::UniqueFd hung;
  {
    SF_ASSERT_OK(store::Store::open_or_create(env::posix_env(), store_path()));
    hung = hold_the_store();
    Process trainer = start_trainer("plain", 9);
    trainer.kill();
  }
  expect_restored(9, "memory");
  EXPECT_THAT(restored_.name, StartsWith("memory-step000009-"));
  EXPECT_THAT(steps(), IsEmpty()) << "nothing was durable when it was restored";
  hung.reset();
  state_.set(10);
  const auto ticket = successor_->snapshot(10, /*wait=*/true);
  SF_ASSERT_OK(ticket);
  SF_ASSERT_OK(successor_->fence());
  SF_ASSERT_OK(ticket->wait_verified(kPatienceMs));
  SF_ASSERT_OK(successor_->close(kPatienceMs));
  EXPECT_THAT(steps(), ElementsAre(10, 9));
}

TEST_F(HotRestore, WhatIsDurableAlreadyComesFromMemoryUnderItsNameAndOnceMoreForTheNext) {
  start_daemon({"arena.budget_bytes=268435456"});  // room for both arenas
  Process trainer = start_trainer("plain", 9);
  trainer.kill();
  ASSERT_NO_FATAL_FAILURE(settle());
  expect_restored(9, "memory");
  EXPECT_THAT(restored_.name, StartsWith("000001-step000009-"));
  ASSERT_TRUE(wait_until([this] { return arena_bytes_of_the_living() > 0; }));
  successor_.reset();
  expect_restored(9, "memory");
}

TEST_F(HotRestore, WhatWasForMemoryOnlyIsRestoredAndGoesToTheStoreAfterTheDeath) {
  start_daemon();
  Process trainer = start_trainer("memory", 9);
  EXPECT_THAT(steps(), ElementsAre(8));
  trainer.kill();
  expect_restored(9, "memory");
  EXPECT_TRUE(wait_until([this] { return steps() == std::vector<std::int64_t>{9, 8}; }));
}

TEST_F(HotRestore, AStoreThatCannotBeWrittenLosesNothingThatWasCaptured) {
  start_daemon();
  leave_an_only_copy();
  expect_restored(9, "memory");
  EXPECT_THAT(steps(), ElementsAre(8));
}

TEST_F(HotRestore, AFullDiskBeforeTheDeathLosesNothingThatWasCaptured) {
  start_daemon();
  ASSERT_NO_FATAL_FAILURE(leave_one_that_no_store_took([](const auto&, const auto&) {}));
  expect_restored(9, "memory");
  EXPECT_THAT(steps(), IsEmpty());
}

TEST_F(HotRestore, AByteThatChangedSinceItWasCapturedIsFoundAndTheStoreIsRead) {
  start_daemon();
  Process trainer = start_trainer("memory", 9);
  {
    const arena::Arena arena = arena_of(trainer);
    flip_a_byte(arena, 1);
    trainer.kill();
  }
  expect_restored(8, "store");
  ASSERT_EQ(restored_.skipped.size(), 1U);
  EXPECT_THAT(restored_.skipped[0], StartsWith("memory-step000009-"));
  EXPECT_THAT(restored_.skipped[0], HasSubstr("chunk 1"));
  EXPECT_THAT(steps(), ElementsAre(8)) << "nor is it written to the store";
}

TEST_F(HotRestore, ATornSnapshotIsNotRestored) {
  start_daemon();
  Process trainer = start_trainer("memory", 9);
  {
    const arena::Arena arena = arena_of(trainer);
    const arena::RecordView view = newest_of(arena);
    arena::TrainerSide(arena).withdraw({view.record, view.snapshot_id});
  }
  trainer.kill();
  expect_restored(8, "");  // from memory when the older image had not been let go of yet
}

TEST_F(HotRestore, ATornSnapshotLeavesTheOneBeforeItInMemory) {
  start_daemon();
  Process trainer = start_trainer("twice", 9);
  {
    const arena::Arena arena = arena_of(trainer);
    const arena::RecordView view = newest_of(arena);
    arena::TrainerSide(arena).withdraw({view.record, view.snapshot_id});
  }
  trainer.kill();
  expect_restored(8, "memory");
}

TEST_F(HotRestore, OneThatIsKilledInTheMiddleLeavesTheMemoryToTheNext) {
  start_daemon();
  Process trainer = start_trainer("memory", 9);
  trainer.kill();
  for (int killed = 0; killed < 2; ++killed) {
    Process reader({"/proc/self/exe", "--role-reader", socket(), store_path(), "plain"});
    ASSERT_EQ(reader.line(), "reading");
    reader.kill();
  }
  expect_restored(9, "memory");
}

TEST_F(HotRestore, AReaderThatDiesWithoutAnArenaLeavesNoSession) {
  start_daemon();
  Process trainer = start_trainer("memory", 9);
  trainer.kill();
  Process reader({"/proc/self/exe", "--role-reader", socket(), store_path(), "plain"});
  ASSERT_EQ(reader.line(), "reading");
  reader.kill();
  ASSERT_TRUE(wait_until([this] { return steps().size() == 2; })) << "until the trainer's own rests";
  EXPECT_TRUE(wait_until([this] { return dead_sessions() == 1; }));
}

TEST_F(HotRestore, AnArenaRequestThatDoesNotWaitLeavesTheMemory) {
  start_daemon({"arena.budget_bytes=73400320"});  // a segment, and room for one image more
  leave_an_only_copy();
  auto core = client::Core::open(options());
  SF_ASSERT_OK(core);
  SF_ASSERT_OK((*core)->settle(base::Deadline::after_ms(kPatienceMs)));
  EXPECT_EQ((*core)->reserve({kFloats * sizeof(float), 1}, base::Deadline::after_ms(0)).code(), Code::deadline);
  EXPECT_TRUE(keeps());
  const auto image = (*core)->hot_image(base::Deadline::after_ms(kPatienceMs));
  SF_ASSERT_OK(image);
  EXPECT_NE(*image, nullptr);
}

TEST_F(HotRestore, TheArenaIsMadeBehindTheRestoreSoThatTheFirstSnapshotNeedNotWaitForIt) {
  start_daemon();
  Process trainer = start_trainer("plain", 9);
  trainer.kill();
  expect_restored(9, "memory");
  EXPECT_TRUE(wait_until([this] { return arena_bytes_of_the_living() > 0; }));
}

TEST_F(HotRestore, WhileTheDiskHangsTheRestoredTrainingGoesOnAndMayEnd) {
  start_daemon();
  SF_ASSERT_OK(store::Store::open_or_create(env::posix_env(), store_path()));
  const base::UniqueFd hung = hold_the_store();
  Process trainer = start_trainer("plain", 9);
  trainer.kill();
  expect_restored(9, "memory");
  SF_ASSERT_OK(successor_->fence());
  EXPECT_EQ(arena_bytes_of_the_living(), 0U) << "what the predecessor has is not in the store";
  const auto from_ns = base::system_clock().monotonic_ns();
  successor_.reset();
  EXPECT_LT(base::system_clock().monotonic_ns() - from_ns, 10'000'000'000);
}

TEST_F(HotRestore, WhatTheStoreLacksStaysAlsoWhenTheSuccessorHasMemoryOfItsOwn) {
  start_daemon({"arena.budget_bytes=268435456"});  // room for both arenas
  leave_an_only_copy();
  expect_restored(9, "memory");
  SF_ASSERT_OK(successor_->prepare());
  EXPECT_TRUE(keeps());
  successor_.reset();
  expect_restored(9, "memory");
}

TEST_F(HotRestore, ABadImageAndNothingInTheStoreIsAnErrorThatSaysWhatWasTouched) {
  start_daemon();
  SF_ASSERT_OK(store::Store::open_or_create(env::posix_env(), store_path()));
  base::UniqueFd hung = hold_the_store();
  Process trainer = start_trainer("plain", 9);
  {
    const arena::Arena arena = arena_of(trainer);
    flip_a_byte(arena, 1);
    trainer.kill();
  }
  hung.reset();
  auto successor = open(state_);
  SF_ASSERT_OK(successor);
  const auto restored = successor->restore();
  EXPECT_EQ(restored.status().code(), Code::corrupt);
  EXPECT_THAT(restored.status().message(), HasSubstr("partly overwritten"));
  EXPECT_THAT(restored.status().message(), HasSubstr("memory-step000009-"));
  EXPECT_THAT(restored.status().message(), HasSubstr("no checkpoint"));
  EXPECT_THAT(steps(), IsEmpty());
}

TEST_F(HotRestore, AnUnreadableImageAndNothingInTheStoreIsAnErrorAndNoBeginningAnew) {
  start_daemon();
  ASSERT_NO_FATAL_FAILURE(leave_one_that_no_store_took([](const arena::Arena& arena, const arena::RecordView& view) {
    const auto slots = arena::DaemonSide(arena).descriptor_slots(view);
    ASSERT_TRUE(slots.has_value());
    std::ranges::fill(arena.chunk(slots->front()).first(512), std::byte{0});
  }));
  auto successor = open(state_);
  SF_ASSERT_OK(successor);
  const auto restored = successor->restore();
  EXPECT_EQ(restored.status().code(), Code::corrupt);
  EXPECT_THAT(restored.status().message(), HasSubstr("nothing was touched"));
  EXPECT_THAT(restored.status().message(), HasSubstr("no checkpoint"));
}

TEST_F(HotRestore, AnImageThatCannotBeHandedOutAndNothingInTheStoreIsAnErrorAndTheImageStays) {
  start_daemon();
  ASSERT_NO_FATAL_FAILURE(leave_one_that_no_store_took([](const auto&, const auto&) {}));
  auto successor = open(state_);
  SF_ASSERT_OK(successor);
  rlimit before{};
  ASSERT_EQ(::prlimit(daemon_.pid(), RLIMIT_NOFILE, nullptr, &before), 0);
  const rlimit fewer{0, before.rlim_max};  // no further descriptor
  ASSERT_EQ(::prlimit(daemon_.pid(), RLIMIT_NOFILE, &fewer, nullptr), 0);
  EXPECT_THAT(successor->restore().status().message(), HasSubstr("no checkpoint"));
  ASSERT_EQ(::prlimit(daemon_.pid(), RLIMIT_NOFILE, &before, nullptr), 0);
  const auto restored = successor->restore();
  SF_ASSERT_OK(restored);
  ASSERT_TRUE(restored->has_value());
  EXPECT_EQ((*restored)->source, "memory");
}

TEST_F(HotRestore, AnImageThatTheStoreLacksIsNotEvictedForASecondImageOfAnotherRun) {
  start_daemon({"arena.budget_bytes=73400320"});  // a segment, and room for one image more
  leave_an_only_copy();
  ASSERT_TRUE(keeps());
  auto other = open(state_, "other");
  SF_ASSERT_OK(other);
  SF_ASSERT_OK(other->prepare());
  expect_restored(9, "memory");
}

TEST_F(HotRestore, AnImageThatTheStoreLacksGoesWhereARunWouldGetNoMemoryAtAll) {
  start_daemon({"arena.budget_bytes=10485760"});
  leave_an_only_copy();
  auto other = open(state_, "other");
  SF_ASSERT_OK(other);
  EXPECT_TRUE(wait_until([&] { return other->prepare().ok(); }));
}

TEST_F(HotRestore, AnImageThatTheStoreLacksKeepsAnIdleDaemon) {
  start_daemon({"daemon.idle_exit_seconds=4"});
  leave_an_only_copy();
  ASSERT_TRUE(wait_until([this] { return dead_sessions() == 1; }));
  // Unasked: a question is a use.
  const auto from_ns = base::system_clock().monotonic_ns();
  ASSERT_TRUE(wait_until([&] { return base::system_clock().monotonic_ns() - from_ns > 6'000'000'000; }));
  expect_restored(9, "memory");
}

TEST_F(HotRestore, TheMemoryThatWaitsGoesWhereAnotherRunNeedsTheRoom) {
  start_daemon({"arena.budget_bytes=10485760"});
  Process trainer = start_trainer("plain", 9);
  trainer.kill();
  ASSERT_NO_FATAL_FAILURE(settle());
  auto other = open(state_, "other");
  SF_ASSERT_OK(other);
  state_.set(1);
  const auto ticket = other->snapshot(1);
  SF_ASSERT_OK(ticket);
  SF_ASSERT_OK(other->fence());
  SF_ASSERT_OK(ticket->wait_durable(kPatienceMs));
}

TEST_F(HotRestore, WithTheDaemonKilledTooTheStoreIsRead) {
  start_daemon();
  Process trainer = start_trainer("memory", 9);
  trainer.kill();
  daemon_.kill();
  start_daemon();
  auto successor = open(state_);
  SF_ASSERT_OK(successor);
  const auto restored = successor->restore();
  SF_ASSERT_OK(restored);
  ASSERT_TRUE(restored->has_value());
  EXPECT_EQ((*restored)->source, "store");
  EXPECT_TRUE(state_.is((*restored)->step));
}

TEST_F(HotRestore, AfterAGoodEndTheMemoryIsGivenBackAtOnce) {
  start_daemon();
  auto first = open(state_);
  SF_ASSERT_OK(first);
  state_.set(4);
  SF_ASSERT_OK(first->snapshot(4));
  SF_ASSERT_OK(first->close(kPatienceMs));
  EXPECT_EQ(dead_sessions(), 0U);
  expect_restored(4, "store");
}

class HotHold : public HotRestore {
 protected:
  // Reads the memory of a trainer that has died, all of which is durable.
  void start_reading(std::uint64_t deadline_ms) {
    start_daemon({"arena.hot_restore_seconds=0"});
    SF_ASSERT_OK(store::Store::open_or_create(env::posix_env(), store_path()));
    base::UniqueFd hung = hold_the_store();
    Process trainer = start_trainer("plain", 9);
    trainer.kill();
    auto opened = client::Core::open(options());
    SF_ASSERT_OK(opened);
    core_ = std::move(opened).value();
    auto image = core_->hot_image(base::Deadline::after_ms(deadline_ms));
    SF_ASSERT_OK(image);
    ASSERT_NE(*image, nullptr);
    image_ = std::move(image).value();
    hung.reset();
    ASSERT_TRUE(wait_until([this] { return steps().size() == 1; }));
    SF_ASSERT_OK(core_->settle(base::Deadline::after_ms(kPatienceMs)));
  }
  [[nodiscard]] bool lets_go() const {
    return wait_until([this] { return dead_sessions() == 0; });
  }

  std::shared_ptr<client::Core> core_;
  std::unique_ptr<restore::MemoryImage> image_;
};

TEST_F(HotHold, LastsUntilTheReaderHasDone) {
  ASSERT_NO_FATAL_FAILURE(start_reading(kPatienceMs));
  EXPECT_TRUE(keeps());
  core_->hot_done();
  EXPECT_TRUE(lets_go());
}

TEST_F(HotHold, EndsWithTheReadersLine) {
  ASSERT_NO_FATAL_FAILURE(start_reading(kPatienceMs));
  EXPECT_TRUE(keeps());
  core_.reset();
  EXPECT_TRUE(lets_go());
}

TEST_F(HotHold, TheEndOfAnOlderReaderLeavesTheNewOnesHold) {
  start_daemon({"arena.hot_restore_seconds=0"});
  SF_ASSERT_OK(store::Store::open_or_create(env::posix_env(), store_path()));
  base::UniqueFd hung = hold_the_store();
  Process trainer = start_trainer("plain", 9);
  trainer.kill();
  Process older({"/proc/self/exe", "--role-reader", socket(), store_path(), "clone"});
  ASSERT_EQ(older.line(), "reading");
  const pid_t holder_of_its_line = std::stoi(older.line().value_or("0"));
  ASSERT_GT(holder_of_its_line, 0);
  older.kill();
  core_ = client::Core::open(options()).value();
  image_ = core_->hot_image(base::Deadline::after_ms(kPatienceMs)).value();
  ASSERT_NE(image_, nullptr);
  hung.reset();
  ASSERT_TRUE(wait_until([this] { return steps().size() == 1 && dead_sessions() == 1; }));
  ASSERT_EQ(::kill(holder_of_its_line, SIGKILL), 0);
  EXPECT_TRUE(keeps());
  core_->hot_done();
  EXPECT_TRUE(lets_go());
}

TEST_F(HotHold, EndsAtTheDeadlineAndTheReaderStillReadsWhatWasThere) {
  ASSERT_NO_FATAL_FAILURE(start_reading(4000));
  EXPECT_TRUE(lets_go());
  std::vector<std::byte> raw(kChunkBytes);
  store::ReadScratch scratch;
  EXPECT_TRUE(image_->read_chunk(0, raw, scratch).ok());
}

}  // namespace
}  // namespace stillframe::test
