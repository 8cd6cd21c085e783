// What a trainer may expect of a real daemon: refusals that name the other, deaths on either side, and stops.
#include <nlohmann/json.hpp>

#include "e2e/rig.hpp"
#include "format/writer_words.hpp"

namespace stillframe::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using Daemon = DaemonTest;

TEST_F(Daemon, ASnapshotGoesAllTheWayAndComesBack) {
  start_daemon();
  State state;
  {
    auto checkpointer = open(state);
    SF_ASSERT_OK(checkpointer);
    state.set(5);
    const auto ticket = checkpointer->snapshot(5);
    SF_ASSERT_OK(ticket);
    SF_ASSERT_OK(checkpointer->fence());
    state.set(6);
    SF_ASSERT_OK(ticket->wait_verified(kPatienceMs));
    EXPECT_FALSE(ticket->info().name.empty());
    SF_ASSERT_OK(checkpointer->close(kPatienceMs));
  }
  State restored;
  auto checkpointer = open(restored);
  SF_ASSERT_OK(checkpointer);
  const auto from = checkpointer->restore();
  SF_ASSERT_OK(from);
  ASSERT_TRUE(from->has_value());
  EXPECT_EQ((*from)->step, 5);
  EXPECT_TRUE(restored.is(5));
}

TEST_F(Daemon, SaysItsLevelAndThatNothingIsAmiss) {
  start_daemon({"persist.level=fast"});
  const auto status = client::query_status(socket(), base::Deadline::after_ms(5000));
  SF_ASSERT_OK(status);
  const auto said = nlohmann::json::parse(*status).at("daemon");
  EXPECT_EQ(said.at("level"), "fast");
  EXPECT_EQ(said.at("notice"), "");
}

TEST_F(Daemon, EncodesAtTheLevelThatIsConfigured) {
  for (const std::string level : {"raw", "fast", "default"}) {
    start_daemon({"persist.level=" + level});
    State state;
    auto checkpointer = open(state, level);
    SF_ASSERT_OK(checkpointer);
    state.set(5);
    const auto ticket = checkpointer->snapshot(5);
    SF_ASSERT_OK(ticket);
    SF_ASSERT_OK(ticket->wait_durable(kPatienceMs));
    const auto reader =
        store::CheckpointReader::open(store::Store::open(env::posix_env(), store_path()).value(), ticket->info().name);
    SF_ASSERT_OK(reader);
    EXPECT_EQ((*reader)->manifest().version, level == "raw" ? 1U : 2U);
    EXPECT_EQ(format::said_level((*reader)->manifest().writer), level == "raw" ? "" : level);
    SF_ASSERT_OK(checkpointer->close(kPatienceMs));
    daemon_ = Process();
  }
}

TEST_F(Daemon, ASecondOneOnTheSameSocketIsRefusedAndTheFirstIsNamed) {
  start_daemon();
  daemon::Config config;
  config.socket = socket();
  const Status second = daemon::run(config, [] { ADD_FAILURE() << "two daemons serve one socket"; });
  EXPECT_EQ(second.code(), Code::busy);
  EXPECT_THAT(second.message(), HasSubstr("process " + std::to_string(daemon_.pid())));
  EXPECT_TRUE(daemon_answers());
}

TEST_F(Daemon, ASecondWriterOfARunIsRefusedAndTheFirstIsNamedAndAnotherRunIsWelcome) {
  start_daemon();
  const Process first = start_trainer("plain", 1);
  State state;
  const auto second = open(state);
  EXPECT_EQ(second.status().code(), Code::busy);
  EXPECT_THAT(second.status().message(), HasSubstr("process " + std::to_string(first.pid())));
  EXPECT_THAT(second.status().message(), HasSubstr("run="));
  SF_ASSERT_OK(open(state, "other"));
}

TEST_F(Daemon, APrivateDaemonServesNoOtherStore) {
  start_daemon({"daemon.private_store=" + dir_.path() + "/elsewhere"});
  State state;
  const auto refused = open(state);
  EXPECT_EQ(refused.status().code(), Code::invalid_argument);
  EXPECT_THAT(refused.status().message(), HasSubstr("/elsewhere"));
}

TEST_F(Daemon, LeavesByItselfWhenIdleButNotWhileATrainerIsThere) {
  start_daemon({"daemon.idle_exit_seconds=3"});
  {
    State state;
    auto checkpointer = open(state);
    SF_ASSERT_OK(checkpointer);
    const auto from = base::system_clock().monotonic_ns();
    ASSERT_TRUE(wait_until([&] { return base::system_clock().monotonic_ns() - from > 3'600'000'000; }));
    EXPECT_TRUE(daemon_answers());
    SF_ASSERT_OK(checkpointer->close(kPatienceMs));
  }
  EXPECT_EQ(daemon_.wait(), 0);
}

TEST_F(Daemon, OnSigtermWhatIsCapturedIsMadeDurableFirst) {
  start_daemon();
  const Process trainer = start_trainer("plain", 7);
  daemon_.signal(SIGTERM);
  EXPECT_EQ(daemon_.wait(), 0);
  EXPECT_THAT(steps(), ElementsAre(7));
}

TEST_F(Daemon, OnSigtermItLeavesAlthoughAClientStaysConnected) {
  start_daemon();
  State state;
  const auto checkpointer = open(state);
  SF_ASSERT_OK(checkpointer);
  daemon_.signal(SIGTERM);
  EXPECT_EQ(daemon_.wait(), 0);
}

TEST_F(Daemon, WhatAKilledTrainerHadCapturedIsThereForItsSuccessor) {
  start_daemon();
  Process trainer = start_trainer("plain", 9);
  trainer.kill();
  State state;
  auto successor = open(state);
  SF_ASSERT_OK(successor);
  const auto restored = successor->restore();
  SF_ASSERT_OK(restored);
  ASSERT_TRUE(restored->has_value());
  EXPECT_EQ((*restored)->step, 9);
  EXPECT_TRUE(state.is(9));
  state.set(10);
  const auto ticket = successor->snapshot(10);
  SF_ASSERT_OK(ticket);
  SF_ASSERT_OK(successor->fence());
  SF_ASSERT_OK(ticket->wait_verified(kPatienceMs));
}

class Orphan : public DaemonTest, public testing::WithParamInterface<const char*> {};

TEST_P(Orphan, AForkedChildOfADeadTrainerDoesNotKeepItsRunLocked) {
  start_daemon();
  Process trainer = start_trainer(GetParam(), 9);
  const auto child = trainer.line();
  ASSERT_TRUE(child.has_value());
  const pid_t child_pid = static_cast<pid_t>(std::stol(*child));
  trainer.kill();
  ASSERT_EQ(::kill(child_pid, 0), 0) << "the child lives on";
  State state;
  auto successor = open(state);
  const bool opened = successor.ok();
  const auto restored = opened ? successor->restore() : successor.status();
  ::kill(child_pid, SIGKILL);
  ASSERT_TRUE(opened) << successor.status().message();
  SF_ASSERT_OK(restored);
  ASSERT_TRUE(restored->has_value());
  EXPECT_EQ((*restored)->step, 9);
}
INSTANTIATE_TEST_SUITE_P(Children, Orphan, testing::Values("fork", "clone"),
                         [](const auto& one) { return std::string(one.param); });

TEST_F(Daemon, AfterItsDeathTheNextOneTakesTheArenaOverFromTheLivingTrainer) {
  start_daemon();
  State state;
  auto checkpointer = open(state);
  SF_ASSERT_OK(checkpointer);
  state.set(1);
  const auto first = checkpointer->snapshot(1);
  SF_ASSERT_OK(first);
  SF_ASSERT_OK(first->wait_captured(kPatienceMs));
  daemon_.kill();
  SF_ASSERT_OK(checkpointer->fence());
  state.set(2);

  start_daemon();
  SF_ASSERT_OK(first->wait_verified(kPatienceMs));
  const auto second = checkpointer->snapshot(2, /*wait=*/true);
  SF_ASSERT_OK(second);
  SF_ASSERT_OK(checkpointer->fence());
  SF_ASSERT_OK(second->wait_verified(kPatienceMs));
  SF_ASSERT_OK(checkpointer->close(kPatienceMs));
  EXPECT_THAT(steps(), ElementsAre(2, 1));
}

TEST_F(Daemon, KilledAgainAndAgainNothingCapturedIsLostOrDoubled) {
  State state;
  start_daemon();
  auto checkpointer = open(state);
  SF_ASSERT_OK(checkpointer);
  std::vector<std::int64_t> expected;
  for (std::int64_t step = 1; step <= 3; ++step) {
    state.set(step);
    const auto ticket = checkpointer->snapshot(step, /*wait=*/true);
    SF_ASSERT_OK(ticket);
    SF_ASSERT_OK(ticket->wait_captured(kPatienceMs));
    daemon_.kill();
    SF_ASSERT_OK(checkpointer->fence());
    start_daemon();
    SF_ASSERT_OK(ticket->wait_verified(kPatienceMs));
    expected.insert(expected.begin(), step);
  }
  SF_ASSERT_OK(checkpointer->close(kPatienceMs));
  EXPECT_EQ(steps(), expected);
}

using Budget = DaemonTest;

TEST_F(Budget, TwoRunsThatMakeRoomAtOnceStayWithinIt) {
  constexpr std::uint64_t kImageBytes = 100 << 20;
  start_daemon({"arena.budget_bytes=268435456"});
  Process trainer = start_trainer("plain", 9);
  trainer.kill();
  ASSERT_TRUE(wait_until([this] { return steps().size() == 1; }));
  std::vector<std::shared_ptr<client::Core>> cores;
  for (const char* run : {"one", "other"}) {
    auto core = client::Core::open(options(run));
    SF_ASSERT_OK(core);
    cores.push_back(std::move(core).value());
  }
  const auto reserve = [](client::Core& core) {
    const Status reserved = core.reserve({kImageBytes, 1}, base::Deadline::after_ms(kPatienceMs));
    EXPECT_TRUE(reserved.ok() || reserved.code() == Code::no_space) << reserved.message();
  };
  {
    auto beside = base::Thread::start("beside", [&] { reserve(*cores[1]); });
    SF_ASSERT_OK(beside);
    reserve(*cores[0]);
  }
  const auto status = client::query_status(socket(), base::Deadline::after_ms(5000));
  SF_ASSERT_OK(status);
  const auto arena = nlohmann::json::parse(*status).at("arena");
  EXPECT_LE(arena.at("used_bytes").get<std::uint64_t>(), arena.at("budget_bytes").get<std::uint64_t>());
}

}  // namespace
}  // namespace stillframe::test
