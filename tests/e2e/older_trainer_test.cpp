// A trainer of an older release under a newer daemon: what it may restore from is all that becomes of its snapshots.
#include <nlohmann/json.hpp>

#include "e2e/rig.hpp"
#include "protocol/messages.hpp"
#include "transport/transport.hpp"
#include "unit/persist/persist_rig.hpp"

namespace stillframe::test {
namespace {

class OlderTrainer : public DaemonTest {
 protected:
  // As a program of the release before wrote it, or of one to come that reads no more.
  [[nodiscard]] std::string hello(std::uint32_t protocol, const std::string& run) const {
    protocol::Hello hello;
    hello.protocol = protocol;
    hello.client_version = "0";
    hello.store = store_path();
    hello.run = run;
    hello.group = "default";
    hello.pid = ::getpid();
    hello.budget_bytes = 16ULL << 20;
    if (const auto seen = env::posix_env().info(store_path()); seen.ok()) hello.store_file_id = seen->file_id;
    auto json = nlohmann::json::parse(protocol::encode(hello));
    if (protocol == protocol::kOldestTrainersVersion) {
      for (const char* later : {"reads_format", "store_file_id", "newest_checkpoint"}) json.erase(later);
    }
    return json.dump();
  }
  [[nodiscard]] static std::pair<protocol::Message, std::vector<base::UniqueFd>> ask(
      const transport::Connection& line, const std::string& text, const std::vector<int>& descriptors = {}) {
    const auto deadline = base::Deadline::after_ms(kPatienceMs);
    EXPECT_TRUE(line.send(text, descriptors, deadline).ok());
    auto answer = line.receive(deadline);
    EXPECT_TRUE(answer.ok() && answer->has_value()) << message_of(answer);
    auto message = protocol::decode((*answer)->text);
    EXPECT_TRUE(message.ok()) << (*answer)->text;
    return {std::move(message).value(), std::move((*answer)->descriptors)};
  }
};

TEST_F(OlderTrainer, RestoresWhatItsNewerDaemonHasWritten) {
  start_daemon({"persist.level=default"});
  for (const std::uint32_t version : {protocol::kOldestTrainersVersion, protocol::kProtocolVersion}) {
    const std::string run = "protocol-" + std::to_string(version);
    const auto line = transport::connect(socket(), base::Deadline::after_ms(kPatienceMs));
    SF_ASSERT_OK(line);
    const auto pidfd = transport::open_pidfd(::getpid());
    SF_ASSERT_OK(pidfd);
    ASSERT_TRUE(line->send(hello(version, run), std::vector<int>{pidfd->get()}, base::Deadline::after_ms(kPatienceMs)).ok());
    const auto welcome = line->receive(base::Deadline::after_ms(kPatienceMs));
    SF_ASSERT_OK(welcome);
    ASSERT_TRUE(welcome->has_value());
    EXPECT_THAT((*welcome)->text, testing::HasSubstr("\"protocol\":" + std::to_string(version) + ","))
        << "in its own version, or it would refuse it";

    const protocol::ArenaRequest request{8ULL << 20, 1ULL << 20, kPatienceMs};
    auto [ready, descriptors] = ask(*line, protocol::encode(request));
    ASSERT_TRUE(std::holds_alternative<protocol::ArenaReady>(ready)) << protocol::encode(ready);
    ASSERT_EQ(descriptors.size(), 1U);
    auto arena = arena::Arena::attach(std::move(descriptors[0]));
    SF_ASSERT_OK(arena);
    ArenaTrainer trainer(*arena);
    const Shot shot = trainer.capture(5, layout_of_chunks(3));
    ASSERT_TRUE(trainer.reaches(shot, RecordState::durable));

    const auto store = store::Store::open(env::posix_env(), store_path()).value();
    const auto reader = store::CheckpointReader::open(store, store.list().value().front().name);
    SF_ASSERT_OK(reader);
    EXPECT_EQ((*reader)->manifest().run, run);
    EXPECT_EQ((*reader)->manifest().version, 1U);
    bool is_encoded = false;
    for (const auto& chunk : (*reader)->table(0).chunks) is_encoded = is_encoded || chunk.codec == 1;
    EXPECT_TRUE(is_encoded) << "as version 1 knows it";
  }
}

}  // namespace
}  // namespace stillframe::test
