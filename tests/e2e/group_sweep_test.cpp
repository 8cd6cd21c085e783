// Four ranks that train, one of them killed again and again in the middle of its snapshots.
#include <array>

#include "e2e/rig.hpp"

namespace stillframe::test {
namespace {

using testing::Each;
using testing::Eq;
using testing::SizeIs;

constexpr std::size_t kRanks = 4;
constexpr int kKills = 8;
constexpr std::int64_t kStepsBetween = 3;

class GroupSweep : public DaemonTest {
 protected:
  void start_ranks() {
    for (std::size_t rank = 0; rank < kRanks; ++rank) {
      ranks_[rank] = Process({"/proc/self/exe", "--role-rank", socket(), store_path(), "train", std::to_string(rank),
                              std::to_string(kRanks), "0"});
    }
  }
  // The step from which each goes on; -1 when there is nothing yet.
  [[nodiscard]] std::vector<std::int64_t> starts() {
    std::vector<std::int64_t> found;
    for (Process& rank : ranks_) {
      const std::string said = rank.line().value_or("nothing");
      EXPECT_TRUE(said.starts_with("from ")) << said;
      found.push_back(said.starts_with("from ") ? std::stoll(said.substr(5)) : -2);
    }
    return found;
  }
  // A line of a rank; false at its end.
  [[nodiscard]] bool hear(std::size_t rank) {
    const auto said = ranks_[rank].line();
    if (!said) return false;
    if (said->starts_with("captured ")) captured_ = std::max<std::int64_t>(captured_, std::stoll(said->substr(9)));
    return true;
  }
  void expect_only_whole_checkpoints() {
    const auto store = store::Store::open(env::posix_env(), store_path());
    SF_ASSERT_OK(store);
    const auto listed = store->list().value();
    for (const auto& ref : listed) {
      const auto reader = store::CheckpointReader::open(*store, ref.name);
      SF_ASSERT_OK(reader);
      EXPECT_THAT((*reader)->manifest().ranks, SizeIs(kRanks)) << ref.name;
    }
  }

  std::array<Process, kRanks> ranks_;
  std::int64_t captured_ = -1;  // by all, as some rank said
};

TEST_F(GroupSweep, AfterEachKillAllGoOnFromOneStepThatIsNotOlderThanWhatWasCaptured) {
  start_daemon();
  std::int64_t last = -1;
  for (int kill = 0; kill < kKills; ++kill) {
    start_ranks();
    const std::vector<std::int64_t> from = starts();
    ASSERT_THAT(from, Each(Eq(from[0]))) << "kill " << kill;
    ASSERT_GE(from[0], captured_) << "kill " << kill;
    ASSERT_GE(from[0], last);
    last = from[0];
    expect_only_whole_checkpoints();
    const std::size_t victim = static_cast<std::size_t>(kill) % kRanks;
    while (captured_ < last + kStepsBetween) ASSERT_TRUE(hear(victim));
    ranks_[victim].kill();
    for (Process& rank : ranks_) rank.kill();
    for (std::size_t rank = 0; rank < kRanks; ++rank) {
      while (hear(rank)) {
      }
    }
  }
  start_ranks();
  const std::vector<std::int64_t> from = starts();
  EXPECT_THAT(from, Each(Eq(from[0])));
  EXPECT_GE(from[0], captured_);
  std::cout << "group sweep: " << kKills << " kills, up to step " << from[0] << std::endl;
}

}  // namespace
}  // namespace stillframe::test
