// Every snapshot is captured, some go to the store: what a training loop and its tickets see of that.
#include <nlohmann/json.hpp>

#include "e2e/rig.hpp"

namespace stillframe::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class Cadence : public DaemonTest {
 protected:
  [[nodiscard]] Result<Checkpointer> open_with(std::uint64_t every_steps, std::uint64_t budget_bytes = 0) {
    CheckpointerOptions with = options();
    with.persist_every_steps = every_steps;
    with.budget_bytes = budget_bytes;
    SF_ASSIGN(Checkpointer made, Checkpointer::open(with));
    SF_TRY(made.add("values", DType::f32, {kFloats}, state_.values.data()));
    return made;
  }
  // Captured, and the state may change again.
  [[nodiscard]] Ticket capture(Checkpointer& checkpointer, std::int64_t step) {
    state_.set(step);
    const auto ticket = checkpointer.snapshot(step, /*wait=*/true);
    EXPECT_TRUE(ticket.ok()) << ticket.status().message();
    EXPECT_TRUE(checkpointer.fence().ok());
    EXPECT_TRUE(ticket->wait_captured(kPatienceMs).ok());
    return *ticket;
  }

  State state_;
};

TEST_F(Cadence, TheFirstAtOrAfterEachMultipleGoesToTheStoreAndTheLastAtTheEnd) {
  start_daemon();
  auto checkpointer = open_with(3);
  SF_ASSERT_OK(checkpointer);
  std::vector<Ticket> tickets;
  for (std::int64_t step = 0; step <= 5; ++step) {
    tickets.push_back(capture(*checkpointer, step));
    EXPECT_EQ(tickets.back().info().persisted, step % 3 == 0) << step;
    if (step % 3 == 0) SF_ASSERT_OK(tickets.back().wait_durable(kPatienceMs));
  }
  EXPECT_THAT(steps(), ElementsAre(3, 0));
  SF_ASSERT_OK(checkpointer->close(kPatienceMs));
  EXPECT_THAT(steps(), ElementsAre(5, 3, 0));
  EXPECT_TRUE(tickets[5].info().persisted);
  EXPECT_EQ(tickets[5].info().state, SnapshotState::verified);
  EXPECT_EQ(tickets[4].info().state, SnapshotState::captured);
}

TEST_F(Cadence, WhoWaitsForDurableOfOneInMemoryIsToldAtOnce) {
  start_daemon();
  auto checkpointer = open_with(1000);
  SF_ASSERT_OK(checkpointer);
  SF_ASSERT_OK(capture(*checkpointer, 1).wait_durable(kPatienceMs));
  const Status told = capture(*checkpointer, 2).wait_durable(kPatienceMs);
  EXPECT_EQ(told.code(), Code::unsupported);
  EXPECT_THAT(told.message(), HasSubstr("step 2"));
  EXPECT_THAT(told.message(), HasSubstr("memory only"));
}

TEST_F(Cadence, TheDaemonsConfigurationStandsWhereTheClientSaysNothing) {
  start_daemon({"persist.every_steps=1000"});
  {
    auto silent = open_with(0);
    SF_ASSERT_OK(silent);
    SF_ASSERT_OK(capture(*silent, 1).wait_durable(kPatienceMs));
    EXPECT_FALSE(capture(*silent, 2).info().persisted);
    SF_ASSERT_OK(silent->close(kPatienceMs));
  }
  auto all = open_with(1);
  SF_ASSERT_OK(all);
  for (std::int64_t step = 3; step <= 5; ++step) EXPECT_TRUE(capture(*all, step).info().persisted);
}

TEST_F(Cadence, ABudgetWithoutRoomForTwoImagesIsRefusedWithTheFigures) {
  start_daemon();
  auto checkpointer = open_with(20, 6 * kChunkBytes);
  SF_ASSERT_OK(checkpointer);
  const auto refused = checkpointer->snapshot(1);
  EXPECT_EQ(refused.status().code(), Code::invalid_argument);
  EXPECT_THAT(refused.status().message(), HasSubstr("8.0 MiB"));
  EXPECT_THAT(refused.status().message(), HasSubstr("6.0 MiB"));
}

TEST_F(Cadence, AfterTheDaemonsDeathTheNextOneKeepsWhatIsInMemory) {
  start_daemon();
  auto checkpointer = open_with(1000);
  SF_ASSERT_OK(checkpointer);
  SF_ASSERT_OK(capture(*checkpointer, 1).wait_durable(kPatienceMs));
  const Ticket kept = capture(*checkpointer, 2);
  daemon_.kill();
  start_daemon();
  const Ticket next = capture(*checkpointer, 3);
  EXPECT_FALSE(next.info().persisted);
  EXPECT_EQ(kept.info().state, SnapshotState::captured);
  SF_ASSERT_OK(checkpointer->close(kPatienceMs));
  EXPECT_THAT(steps(), ElementsAre(3, 1));
}

}  // namespace
}  // namespace stillframe::test
