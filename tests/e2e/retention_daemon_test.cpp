// Whose policy stands: the trainer's before the daemon's; and one that no daemon takes.
#include "e2e/rig.hpp"
#include "protocol/messages.hpp"

namespace stillframe::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class RetentionOfDaemon : public DaemonTest {
 protected:
  void save(std::int64_t count, const std::optional<Retention>& retention) {
    State state;
    CheckpointerOptions wanted = options();
    wanted.retention = retention;
    auto checkpointer = Checkpointer::open(wanted);
    SF_ASSERT_OK(checkpointer);
    SF_ASSERT_OK(checkpointer->add("values", DType::f32, {kFloats}, state.values.data()));
    for (std::int64_t step = 1; step <= count; ++step) {
      const auto ticket = checkpointer->snapshot(step);
      SF_ASSERT_OK(ticket);
      SF_ASSERT_OK(checkpointer->fence());
      SF_ASSERT_OK(ticket->wait_verified(kPatienceMs));
    }
    SF_ASSERT_OK(checkpointer->close(kPatienceMs));
  }
};

TEST_F(RetentionOfDaemon, ATrainerThatStatesNoneHasTheConfiguredOne) {
  start_daemon({"retention.keep_last=1", "retention.keep_steps=2"});
  save(4, std::nullopt);
  EXPECT_THAT(steps(), ElementsAre(4, 2));
}

TEST_F(RetentionOfDaemon, ATrainersOwnStandsBeforeTheConfiguredOneWhole) {
  start_daemon({"retention.keep_last=1", "retention.keep_steps=1"});
  save(5, Retention{.keep_last = 2, .keep_every_steps = 3});
  EXPECT_THAT(steps(), ElementsAre(5, 4, 3, 1)) << "1 is the first of all, 3 the first at a multiple of 3";
}

TEST_F(RetentionOfDaemon, APolicyThatCannotBeTakenIsRefusedAndNothingIsMade) {
  start_daemon();
  const auto connection = transport::connect(socket(), base::Deadline::after_ms(5000));
  SF_ASSERT_OK(connection);
  protocol::Hello hello;
  hello.store = store_path();
  hello.run = "main";
  hello.pid = ::getpid();
  hello.retention_json = R"({"keep_last": 0})";
  const auto pidfd = transport::open_pidfd(::getpid());
  SF_ASSERT_OK(pidfd);
  const std::vector<int> descriptors{pidfd->get()};
  SF_ASSERT_OK(connection->send(protocol::encode(hello), descriptors, base::Deadline::after_ms(5000)));
  const auto answer = connection->receive(base::Deadline::after_ms(5000));
  SF_ASSERT_OK(answer);
  ASSERT_TRUE(answer->has_value());
  const auto message = protocol::decode((*answer)->text);
  SF_ASSERT_OK(message);
  const auto* failure = std::get_if<protocol::Failure>(&*message);
  ASSERT_NE(failure, nullptr) << (*answer)->text;
  EXPECT_EQ(failure->code, Code::invalid_argument);
  EXPECT_THAT(failure->message, HasSubstr("keep_last: expected an integer from 1 to 1000000, found 0"));
  EXPECT_FALSE(env::posix_env().exists(store_path()).value());
  EXPECT_TRUE(daemon_answers());
}

}  // namespace
}  // namespace stillframe::test
