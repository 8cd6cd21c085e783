// A trainer that sees another directory at the path of the store than the daemon does, as in a container without the mount.
#include "arena/arena.hpp"
#include "e2e/rig.hpp"
#include "protocol/messages.hpp"

namespace stillframe::test {
namespace {

class OtherStore : public DaemonTest {
 protected:
  void SetUp() override {
    start_daemon();
    State state;
    auto checkpointer = open(state, "other");
    SF_ASSERT_OK(checkpointer);
    const auto ticket = checkpointer->snapshot(1, /*wait=*/true);
    SF_ASSERT_OK(ticket);
    SF_ASSERT_OK(checkpointer->fence());
    SF_ASSERT_OK(ticket->wait_durable(kPatienceMs));
    newest_ = ticket->info().name;
    SF_ASSERT_OK(checkpointer->close(kPatienceMs));
    files_before_ = files();
  }
  [[nodiscard]] std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : env::posix_env().list(store_path()).value()) names.push_back(entry.name);
    std::sort(names.begin(), names.end());
    return names;
  }
  // The answer to a hello of run "main" that sees a directory of its own.
  [[nodiscard]] protocol::Message answer_to(const std::string& newest_checkpoint, bool adopt) const {
    protocol::Hello hello;
    hello.store = env::posix_env().real_path(store_path()).value();
    hello.run = "main";
    hello.group = "default";
    hello.pid = ::getpid();
    hello.store_file_id = 4711;
    hello.newest_checkpoint = newest_checkpoint;
    hello.adopt = adopt;
    const auto soon = base::Deadline::after_ms(kPatienceMs);
    const auto line = transport::connect(socket(), soon).value();
    const auto pidfd = transport::open_pidfd(::getpid()).value();
    const arena::Arena arena = arena::Arena::create(8).value();
    std::vector<int> descriptors{pidfd.get()};
    if (adopt) descriptors.push_back(arena.memfd());
    EXPECT_TRUE(line.send(protocol::encode(hello), descriptors, soon).ok());
    return protocol::decode(line.receive(soon).value()->text).value();
  }

  std::string newest_;
  std::vector<std::string> files_before_;
};

TEST_F(OtherStore, IsRefusedBeforeAnythingIsDoneAlsoToATrainerThatComesBack) {
  for (const bool adopt : {false, true}) {
    for (const char* newest : {"", "000009-step000009-20260101T000000Z"}) {
      const protocol::Message answer = answer_to(newest, adopt);
      const auto* failure = std::get_if<protocol::Failure>(&answer);
      ASSERT_NE(failure, nullptr) << newest << adopt;
      EXPECT_THAT(failure->message, testing::HasSubstr("one path for both"));
      EXPECT_THAT(failure->message, testing::HasSubstr(newest_));
    }
  }
  EXPECT_EQ(files(), files_before_) << "no lock, and nothing recovered";
}

TEST_F(OtherStore, IsTheSameWhereTheNewestCheckpointIsThereByAnotherMount) {
  const protocol::Message answer = answer_to(newest_, /*adopt=*/false);
  EXPECT_TRUE(std::holds_alternative<protocol::Welcome>(answer));
}

}  // namespace
}  // namespace stillframe::test
