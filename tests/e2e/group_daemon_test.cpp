// Ranks of one group under a real daemon: one checkpoint for all or none, deaths on either side, and what a restart
// finds.
#include "e2e/rig.hpp"
#include "protocol/messages.hpp"
#include "transport/transport.hpp"

namespace stillframe::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint32_t kRanks = 2;

class Group : public DaemonTest {
 protected:
  [[nodiscard]] Result<Checkpointer> open_rank(State& state, std::uint32_t rank,
                                               std::uint32_t world_size = kRanks) const {
    CheckpointerOptions of_rank = options();
    of_rank.rank = rank;
    of_rank.world_size = world_size;
    of_rank.budget_bytes = 16ULL << 20;
    SF_ASSIGN(Checkpointer made, Checkpointer::open(of_rank));
    SF_TRY(made.add("values", DType::f32, {kFloats}, state.values.data()));
    return made;
  }
  // A session of this process with memory, whose line ends without a goodbye.
  void leave_a_place_behind(std::uint32_t rank) const {
    const auto line = transport::connect(socket(), base::Deadline::after_ms(kPatienceMs));
    SF_ASSERT_OK(line);
    const auto pidfd = transport::open_pidfd(::getpid());
    SF_ASSERT_OK(pidfd);
    protocol::Hello hello;
    hello.client_version = "0";
    hello.store = store_path();
    hello.run = "main";
    hello.group = "default";
    hello.rank = rank;
    hello.world_size = kRanks;
    hello.budget_bytes = 16ULL << 20;
    hello.pid = ::getpid();
    const std::vector<int> descriptors{pidfd->get()};
    SF_ASSERT_OK(line->send(protocol::encode(hello), descriptors, base::Deadline::after_ms(kPatienceMs)));
    SF_ASSERT_OK(line->receive(base::Deadline::after_ms(kPatienceMs)));
    const protocol::ArenaRequest request{1ULL << 20, 4096, kPatienceMs};
    SF_ASSERT_OK(line->send(protocol::encode(request), {}, base::Deadline::after_ms(kPatienceMs)));
    const auto answer = line->receive(base::Deadline::after_ms(kPatienceMs));
    SF_ASSERT_OK(answer);
    ASSERT_TRUE(answer->has_value());
    const auto ready = protocol::decode((*answer)->text);
    SF_ASSERT_OK(ready);
    EXPECT_TRUE(std::holds_alternative<protocol::ArenaReady>(*ready)) << (*answer)->text;
  }
  // A rank in a process of its own: says "joined", or "sealed" once its own copy of `step` is whole.
  [[nodiscard]] Process start_rank(const std::string& how, std::uint32_t rank, std::int64_t step) const {
    return Process({"/proc/self/exe", "--role-rank", socket(), store_path(), how, std::to_string(rank),
                    std::to_string(kRanks), std::to_string(step)});
  }
};

TEST_F(Group, CapturedAndDurableOnceEveryRankHasSealedAndEachGetsItsOwnBack) {
  start_daemon();
  State first_state;
  State second_state;
  first_state.set(5);
  second_state.set(1005);
  {
    auto first = open_rank(first_state, 0);
    auto second = open_rank(second_state, 1);
    SF_ASSERT_OK(first);
    SF_ASSERT_OK(second);
    const auto one = first->snapshot(5);
    SF_ASSERT_OK(one);
    SF_ASSERT_OK(first->fence());
    EXPECT_EQ(one->wait_captured(100).code(), Code::deadline) << "rank 1 has not sealed it";
    const auto other = second->snapshot(5);
    SF_ASSERT_OK(other);
    SF_ASSERT_OK(second->fence());
    SF_ASSERT_OK(one->wait_verified(kPatienceMs));
    SF_ASSERT_OK(other->wait_verified(kPatienceMs));
    EXPECT_EQ(one->info().name, other->info().name);
    SF_ASSERT_OK(first->close(kPatienceMs));
    SF_ASSERT_OK(second->close(kPatienceMs));
  }
  EXPECT_THAT(steps(), ElementsAre(5));
  first_state.set(0);
  second_state.set(0);
  auto first = open_rank(first_state, 0);
  auto second = open_rank(second_state, 1);
  SF_ASSERT_OK(first);
  SF_ASSERT_OK(second);
  for (Checkpointer* one : {&*first, &*second}) {
    const auto restored = one->restore();
    SF_ASSERT_OK(restored);
    ASSERT_TRUE(restored->has_value());
    EXPECT_EQ((*restored)->step, 5);
  }
  EXPECT_TRUE(first_state.is(5));
  EXPECT_TRUE(second_state.is(1005));
}

TEST_F(Group, ADeadRankTakesTheStepFromAllAndTheNextGenerationBeginsOnceAllAreDead) {
  start_daemon();
  Process first = start_rank("snapshot", 0, 5);
  Process second = start_rank("join", 1, 5);
  ASSERT_EQ(second.line(), "joined");
  ASSERT_EQ(first.line(), "sealed");
  second.kill();
  const auto said = first.line();
  ASSERT_TRUE(said.has_value());
  EXPECT_THAT(*said, HasSubstr("rank 1 ended before"));
  EXPECT_THAT(steps(), IsEmpty());
  State state;
  const auto too_early = open_rank(state, 1);
  EXPECT_EQ(too_early.status().code(), Code::busy) << "rank 0 of the generation before still lives";
  EXPECT_THAT(too_early.status().message(), HasSubstr("process " + std::to_string(first.pid()) + ", rank 0 of 2"));
  first.kill();
  State other;
  auto next = open_rank(state, 1);
  auto fellow = open_rank(other, 0);
  SF_ASSERT_OK(next);
  SF_ASSERT_OK(fellow);
  const auto restored = next->restore();
  SF_ASSERT_OK(restored);
  EXPECT_FALSE(restored->has_value());
}

TEST_F(Group, WhatAllHadSealedBeforeTheyDiedIsThereForTheNextGeneration) {
  start_daemon();
  Process first = start_rank("snapshot", 0, 5);
  Process second = start_rank("snapshot", 1, 5);
  ASSERT_EQ(first.line(), "sealed");
  ASSERT_EQ(second.line(), "sealed");
  ASSERT_EQ(first.line(), "captured");
  first.kill();
  second.kill();
  State state;
  auto next = open_rank(state, 1);
  SF_ASSERT_OK(next);
  const auto restored = next->restore();
  SF_ASSERT_OK(restored);
  ASSERT_TRUE(restored->has_value());
  EXPECT_EQ((*restored)->step, 5);
  EXPECT_EQ((*restored)->source, "store") << "in memory the newest of each rank may be of another step";
  EXPECT_TRUE(state.is(1005)) << "rank 1's own";
}

TEST_F(Group, ANewDaemonGoesOnWithTheRanksThatHandTheirMemoryBack) {
  start_daemon();
  State first_state;
  State second_state;
  first_state.set(5);
  second_state.set(1005);
  auto first = open_rank(first_state, 0);
  auto second = open_rank(second_state, 1);
  SF_ASSERT_OK(first);
  SF_ASSERT_OK(second);
  const auto one = first->snapshot(5);
  SF_ASSERT_OK(one);
  SF_ASSERT_OK(first->fence());
  daemon_.kill();
  start_daemon();
  const auto other = second->snapshot(5, /*wait=*/true);
  SF_ASSERT_OK(other);
  SF_ASSERT_OK(second->fence());
  SF_ASSERT_OK(one->wait_durable(kPatienceMs));
  SF_ASSERT_OK(other->wait_durable(kPatienceMs));
  EXPECT_THAT(steps(), ElementsAre(5));
}

TEST_F(Group, APlaceIsTakenOnceAndSizesMustAgree) {
  start_daemon();
  State state;
  auto first = open_rank(state, 0);
  SF_ASSERT_OK(first);
  Process same = start_rank("join", 0, 1);
  const auto refused = same.line();
  ASSERT_TRUE(refused.has_value());
  EXPECT_THAT(*refused, HasSubstr("rank 0 of 2"));
  EXPECT_EQ(open_rank(state, 2, 2).status().code(), Code::invalid_argument);
  EXPECT_EQ(open_rank(state, 1, 4).status().code(), Code::busy);
}

TEST_F(Group, ACheckpointerOpenedAnewInTheSameProcessDoesNotTakeItsOldPlace) {
  start_daemon();
  leave_a_place_behind(0);
  Process fellow = start_rank("snapshot", 1, 5);
  ASSERT_EQ(fellow.line(), "sealed");
  State state;
  const auto too_early = open_rank(state, 0);
  EXPECT_EQ(too_early.status().code(), Code::busy);
  EXPECT_THAT(too_early.status().message(), HasSubstr("rank 1 of 2"));
  const auto said = fellow.line();
  ASSERT_TRUE(said.has_value());
  EXPECT_THAT(*said, HasSubstr("rank 0 ended")) << "what this process captured before is not what it captures now";
  fellow.kill();
  State other;
  auto first = open_rank(state, 0);
  auto second = open_rank(other, 1);
  SF_ASSERT_OK(first);
  SF_ASSERT_OK(second);
}

TEST_F(Group, APersistCadenceIsRefusedBeforeAnyDaemonIsAsked) {
  CheckpointerOptions of_rank = options();
  of_rank.rank = 0;
  of_rank.world_size = kRanks;
  of_rank.persist_every_steps = 10;
  const auto refused = Checkpointer::open(of_rank);
  EXPECT_EQ(refused.status().code(), Code::unsupported);
  EXPECT_THAT(refused.status().message(), HasSubstr("persist_every_steps"));
}

}  // namespace
}  // namespace stillframe::test
