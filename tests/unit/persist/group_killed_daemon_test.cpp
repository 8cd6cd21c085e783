// A daemon that dies at each of its calls on the store while it writes a checkpoint of two ranks: the next one makes one
// whole checkpoint of what both had sealed, and none of what one had not.
#if !defined(__SANITIZE_THREAD__)  // forks a process that then starts threads

#include <sys/wait.h>
#include <unistd.h>

#include <array>

#include "unit/persist/persist_rig.hpp"

namespace stillframe::test {
namespace {

constexpr int kDied = 9;
constexpr std::uint32_t kRanks = 2;

// The daemon's side of both ranks, under one group.
class TwoPersisters {
 public:
  TwoPersisters(const std::array<std::shared_ptr<arena::Arena>, kRanks>& arenas, const store::Store& store)
      : encoders_(persist::Encoders::start("test-encode", 2, 8).value()) {
    const auto group = std::make_shared<persist::GroupCommit>("g1", "default", kRanks, kPatienceMs);
    for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
      persist::PersistOptions options = options_of_run("main");
      options.rank = rank;
      options.world_size = kRanks;
      options.joint = group;
      options.joint_arena = arenas[rank];
      persisters_[rank] = persist::Persister::start(*arenas[rank], store, *encoders_, std::move(options),
                                                    [](const persist::News&) {}).value();
    }
  }
  [[nodiscard]] persist::Persister& of(std::uint32_t rank) { return *persisters_[rank]; }

 private:
  std::unique_ptr<persist::Encoders> encoders_;
  std::array<std::unique_ptr<persist::Persister>, kRanks> persisters_;
};

class GroupKilledDaemon : public testing::TestWithParam<bool> {
 protected:
  // Ends, as by SIGKILL, before its `die_at`-th changing call; with 0 when it was done before.
  static int run_daemon(const std::array<std::shared_ptr<arena::Arena>, kRanks>& arenas, const std::string& path,
                        std::uint64_t die_at, bool both_sealed) {
    const pid_t child = ::fork();
    if (child == 0) {
      ObservedEnv env(env::posix_env());
      const auto store = store::Store::open_or_create(env, path).value();
      std::atomic<std::uint64_t> calls{0};
      env.observe([&](EnvOp, const std::string&) {
        if (++calls == die_at) ::_exit(kDied);
      });
      TwoPersisters two(arenas, store);
      const auto state_is = [&](RecordState state) {
        return std::ranges::all_of(arenas, [state](const auto& arena) {
          const auto view = arena::DaemonSide(*arena).view(0);
          return view && view->state == state;
        });
      };
      // The part of the rank that is still copied is written all the same; nothing follows it.
      const bool ended = wait_until([&] {
        return both_sealed ? state_is(RecordState::verified)
                           : two.of(0).counters().phase.starts_with("waiting") && two.of(1).counters().chunks_written == 3;
      });
      ::_exit(ended ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  // One step of two ranks, a daemon that dies at a point, and the next one. Returns the first daemon's exit status.
  static int die_and_adopt(std::uint64_t die_at, bool both_sealed) {
    const TempDir dir;
    const std::string path = dir.path() + "/gpt";
    std::array<std::shared_ptr<arena::Arena>, kRanks> arenas;
    std::vector<std::unique_ptr<ArenaTrainer>> trainers;
    std::vector<Shot> shots;
    for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
      arenas[rank] = std::make_shared<arena::Arena>(make_arena(8));
      trainers.push_back(std::make_unique<ArenaTrainer>(*arenas[rank]));
      shots.push_back(trainers[rank]->begin(3, three_chunk_layout()));
      trainers[rank]->fill_all(shots[rank]);
      if (rank == 0 || both_sealed) {
        EXPECT_TRUE(trainers[rank]->side().seal(shots[rank].handle));
        trainers[rank]->side().confirm(shots[rank].handle);
      }
    }
    const int exit_status = run_daemon(arenas, path, die_at, both_sealed);

    const auto store = store::Store::open_or_create(env::posix_env(), path).value();
    EXPECT_TRUE(store::recover(store, {"main"}).ok());
    TwoPersisters two(arenas, store);
    if (!both_sealed) two.of(1).trainer_died();
    for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
      const RecordState last = both_sealed ? RecordState::verified : rank == 0 ? RecordState::failed : RecordState::copying;
      EXPECT_TRUE(trainers[rank]->reaches(shots[rank], last)) << "rank " << rank << ", died at call " << die_at;
      EXPECT_TRUE(wait_until([&] { return two.of(rank).drained(); }));
    }
    const auto listed = store.list().value();
    EXPECT_EQ(listed.size(), both_sealed ? 1U : 0U) << "died at call " << die_at;
    for (const auto& ref : listed) {
      const auto reader = store::CheckpointReader::open(store, ref.name);
      EXPECT_TRUE(reader.ok()) << reader.status().message();
      EXPECT_TRUE(!reader.ok() || (*reader)->manifest().ranks.size() == kRanks);
      EXPECT_TRUE(store.marks(ref.name)->verified);
    }
    EXPECT_TRUE(wait_until([&] {
      const auto left = env::posix_env().list(path).value();
      return std::ranges::all_of(left, [](const auto& entry) {
        return !entry.is_directory || format::parse_checkpoint_name(entry.name).has_value();
      });
    })) << "died at call " << die_at;
    return exit_status;
  }
};

// Every second call in each: the parameter says which.
TEST_P(GroupKilledDaemon, AtEachOfItsCallsTheNextOneMakesOneCheckpointOfBoth) {
  std::uint64_t die_at = GetParam() ? 1 : 2;
  while (die_and_adopt(die_at, /*both_sealed=*/true) == kDied) {
    ASSERT_LT(die_at, 300U);
    ASSERT_FALSE(HasFailure());
    die_at += 2;
  }
  EXPECT_GT(die_at, 16U) << "files of two ranks, their syncs, the rename and the marks are calls of their own";
}

TEST_P(GroupKilledDaemon, AtEachOfItsCallsTheNextOneMakesNoneOfWhatOneHadNotSealed) {
  std::uint64_t die_at = GetParam() ? 1 : 2;
  while (die_and_adopt(die_at, /*both_sealed=*/false) == kDied) {
    ASSERT_LT(die_at, 300U);
    ASSERT_FALSE(HasFailure());
    die_at += 2;
  }
  EXPECT_GT(die_at, 6U);
}

INSTANTIATE_TEST_SUITE_P(Calls, GroupKilledDaemon, testing::Bool(),
                         [](const auto& calls) { return std::string(calls.param ? "Odd" : "Even"); });

}  // namespace
}  // namespace stillframe::test

#endif
