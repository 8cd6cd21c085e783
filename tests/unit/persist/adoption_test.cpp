// A daemon dies or stops at any point; the next one on the same arena makes everything captured durable, exactly once.
#include <sys/wait.h>
#include <unistd.h>

#include "unit/persist/persist_rig.hpp"

namespace stillframe::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

using Adopting = PersistTest;

TEST_F(Adopting, WhatWasSealedWhileNoDaemonLivedIsMadeDurable) {
  start(8);
  persister_.reset();
  const Shot shot = trainer_->capture(1, three_chunk_layout());
  start_daemon();
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  EXPECT_TRUE(holds(shot));
}

TEST_F(Adopting, PublishedButNotYetSaidSoIsNotPublishedAgain) {
  start(8);
  const Shot shot = trainer_->capture(1, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  persister_.reset();
  // As a daemon leaves it that dies between the commit and the word of it.
  arena_->record(shot.handle.record).state = RecordState::sealed;
  start_daemon();
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  ASSERT_TRUE(drains());
  EXPECT_THAT(steps(), ElementsAre(1));
  EXPECT_EQ(news_.of("durable").size(), 2U) << "each daemon says it once";
  EXPECT_EQ(news_.of("durable")[1].name, name_of(1));
  trainer_->side().confirm(shot.handle);
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::verified));
}

TEST_F(Adopting, ADurableOneIsVerifiedByTheNextDaemon) {
  start(8);
  const Shot shot = trainer_->capture(1, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  persister_.reset();
  trainer_->side().confirm(shot.handle);
  start_daemon();
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::verified));
  EXPECT_TRUE(marks(1).verified);
}

TEST_F(Adopting, ThePartialFilesOfAnAttemptThatWasCutOffAreNotTakenForACheckpoint) {
  start(8);
  hold_at(EnvOp::sync, format::data_file(0));
  const Shot shot = trainer_->capture(1, three_chunk_layout());
  ASSERT_TRUE(wait_until([&] { return gate_.arrived(); }));
  auto ending = base::Thread::start("test-end", [this] { persister_.reset(); });
  SF_ASSERT_OK(ending);
  gate_.open();
  ending->join();
  env_.observe({});
  start_daemon();
  ASSERT_TRUE(wait_until([&] { return trainer_->state(shot) != RecordState::sealed; }));
  ASSERT_TRUE(drains());
  EXPECT_THAT(steps(), ElementsAre(1));
  EXPECT_THAT(leftovers(), IsEmpty());
  EXPECT_TRUE(holds(shot));
}

// The next three: the record's slots and place must come back to the trainer although the daemon that held them is
// gone.
TEST_F(Adopting, AVerifiedImageGivesItsSlotsBackOnceANewerOneIsSealed) {
  start(8);
  const Shot first = trainer_->capture(1, three_chunk_layout());
  trainer_->side().confirm(first.handle);
  ASSERT_TRUE(trainer_->reaches(first, RecordState::verified));
  persister_.reset();
  start_daemon();
  EXPECT_FALSE(trainer_->done_now(first));
  const Shot second = trainer_->capture(2, three_chunk_layout());
  ASSERT_TRUE(trainer_->is_done(first));
  ASSERT_TRUE(trainer_->reaches(second, RecordState::durable));
}

TEST_F(Adopting, AnImageMarkedBadGivesItsSlotsBackOnceANewerOneIsSealed) {
  start(8);
  const Shot torn = trainer_->capture(1, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(torn, RecordState::durable));
  trainer_->side().withdraw(torn.handle);
  ASSERT_TRUE(trainer_->reaches(torn, RecordState::failed));
  persister_.reset();
  start_daemon();
  const Shot second = trainer_->capture(2, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(second, RecordState::durable));
  ASSERT_TRUE(trainer_->is_done(torn));
  EXPECT_EQ(trainer_->free_slots(), 4U);
}

TEST_F(Adopting, ADurableOneWhoseCheckpointWasRemovedMeanwhileGivesItsSlotsBack) {
  start(8);
  const Shot first = trainer_->capture(1, three_chunk_layout());
  trainer_->side().confirm(first.handle);
  ASSERT_TRUE(trainer_->reaches(first, RecordState::verified));
  persister_.reset();
  SF_ASSERT_OK(store_.remove(name_of(1)));
  start_daemon();
  const Shot second = trainer_->capture(2, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(second, RecordState::durable));
  ASSERT_TRUE(trainer_->is_done(first));
  EXPECT_EQ(trainer_->free_slots(), 4U);
}

TEST_F(Adopting, AStoreThatCannotBeListedIsNotAdoptedSinceASnapshotCouldBePublishedTwice) {
  start(8);
  const Shot shot = trainer_->capture(1, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  persister_.reset();
  arena_->record(shot.handle.record).state = RecordState::sealed;
  mem_.fail({EnvOp::list, Code::io_error, 1, true});
  const auto refused = persist::Persister::start(*arena_, store_, *encoders_, options_of_run("main"),
                                                 [this](const persist::News& news) { news_.add(news); });
  EXPECT_EQ(refused.status().code(), Code::io_error);
  mem_.fail_nothing();
  start_daemon();
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  EXPECT_THAT(steps(), ElementsAre(1));
}

TEST_F(Adopting, ASealedRingWhoseEarlyChunksWentWithTheOldDaemonFailsAndDoesNotHang) {
  start(6);
  const Shot shot = trainer_->begin(1, layout_of_chunks(10));
  hold_at(EnvOp::rename_no_replace, "step000001");
  trainer_->fill_descriptor(shot);
  for (std::uint64_t chunk = 0; chunk < 10; ++chunk) trainer_->fill_chunk(shot, chunk);
  ASSERT_TRUE(trainer_->side().seal(shot.handle));
  ASSERT_TRUE(wait_until([&] { return gate_.arrived(); }));
  mem_.fail({EnvOp::rename_no_replace, Code::io_error, 1, true});
  auto ending = base::Thread::start("test-end", [this] { persister_.reset(); });
  SF_ASSERT_OK(ending);
  gate_.open();
  ending->join();
  mem_.fail_nothing();
  // As a killed daemon leaves it: sealed, not failed.
  arena_->record(shot.handle.record).state = RecordState::sealed;
  arena_->record(shot.handle.record).flags = 0;
  start_daemon();
  ASSERT_TRUE(trainer_->is_done(shot));
  EXPECT_EQ(trainer_->state(shot), RecordState::failed);
  EXPECT_TRUE(drains());
  EXPECT_THAT(steps(), IsEmpty());
  EXPECT_EQ(trainer_->free_slots(), 6U);
}

#if !defined(__SANITIZE_THREAD__)  // forks a process that then starts threads

// A daemon process that ends, as by SIGKILL, before its `die_at`-th changing call on the store.
class DaemonProcess {
 public:
  static constexpr int kDied = 9;
  // Exits with kDied, or with 0 when everything was verified before.
  static int run(const arena::Arena& arena, const std::string& path, std::uint64_t die_at, bool die_in_news) {
    const pid_t child = ::fork();
    if (child == 0) {
      ObservedEnv env(env::posix_env());
      const auto store = store::Store::open_or_create(env, path).value();
      std::atomic<std::uint64_t> calls{0};
      env.observe([&](EnvOp, const std::string&) {
        if (++calls == die_at) ::_exit(kDied);
      });
      const auto encoders = persist::Encoders::start("test-encode", 2, 8).value();
      const auto persister =
          persist::Persister::start(arena, store, *encoders, options_of_run("main"), [&](const persist::News& news) {
            if (die_in_news && news.state == "durable") ::_exit(kDied);
          }).value();
      const arena::DaemonSide side(arena);
      const bool ended = wait_until([&] {
        const auto view = side.view(0);
        return view && view->state == RecordState::verified;
      });
      ::_exit(ended ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
};

class KilledDaemon : public testing::Test {
 protected:
  // One snapshot, a daemon that dies at a point, and the next one. Returns the first daemon's exit status.
  int die_and_adopt(std::uint64_t die_at, bool die_in_news) {
    const TempDir dir;
    const std::string path = dir.path() + "/gpt";
    const arena::Arena arena = make_arena(8);
    ArenaTrainer trainer(arena);
    const Shot shot = trainer.capture(3, three_chunk_layout());
    trainer.side().confirm(shot.handle);
    const int exit_status = DaemonProcess::run(arena, path, die_at, die_in_news);

    const auto store = store::Store::open_or_create(env::posix_env(), path).value();
    EXPECT_TRUE(store::recover(store, {"main"}).ok());
    const auto encoders = persist::Encoders::start("test-encode", 2, 8).value();
    const auto persister =
        persist::Persister::start(arena, store, *encoders, options_of_run("main"), [](const persist::News&) {}).value();
    EXPECT_TRUE(trainer.reaches(shot, RecordState::verified)) << "died at call " << die_at;
    EXPECT_TRUE(wait_until([&] { return persister->drained(); }));
    const auto listed = store.list().value();
    EXPECT_EQ(listed.size(), 1U) << "died at call " << die_at;
    for (const auto& ref : listed) {
      const Status whole = check_whole(store, ref.name, 3);
      EXPECT_TRUE(whole.ok()) << whole.message();
      EXPECT_TRUE(store.marks(ref.name)->verified);
    }
    const auto left = env::posix_env().list(path).value();
    for (const auto& entry : left) {
      EXPECT_TRUE(!entry.is_directory || format::parse_checkpoint_name(entry.name)) << entry.name;
    }
    return exit_status;
  }
};

TEST_F(KilledDaemon, AtEachOfItsCallsOnTheStoreTheNextOneMakesTheSnapshotDurableExactlyOnce) {
  std::uint64_t die_at = 1;
  while (die_and_adopt(die_at, /*die_in_news=*/false) == DaemonProcess::kDied) {
    ASSERT_LT(die_at, 200U);
    ASSERT_FALSE(HasFailure());
    ++die_at;
  }
  EXPECT_GT(die_at, 12U) << "each file, its sync, the rename and the marks are calls of their own";
}

TEST_F(KilledDaemon, BetweenTheCommitAndTheStateTheNextOneDoesNotPublishItAgain) {
  EXPECT_EQ(die_and_adopt(/*die_at=*/0, /*die_in_news=*/true), DaemonProcess::kDied);
}

#endif

}  // namespace
}  // namespace stillframe::test
