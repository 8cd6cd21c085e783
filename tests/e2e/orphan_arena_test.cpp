// A daemon that dies with its answer on the way: the memory that it gave must not be filled beside the next daemon's back.
#include <sched.h>

#include <atomic>
#include <csignal>

#include "arena/arena.hpp"
#include "base/thread.hpp"
#include "e2e/rig.hpp"
#include "protocol/messages.hpp"
#include "transport/transport.hpp"

namespace stillframe::test {
namespace {

class OrphanArena : public DaemonTest {
 protected:
  static constexpr std::uint64_t kSlots = 16;

  void SetUp() override {
    SF_ASSERT_OK(store::Store::open_or_create(env::posix_env(), store_path()));
    file_id_ = env::posix_env().info(env::posix_env().real_path(store_path()).value()).value().file_id;
    auto listening = transport::Listener::listen(socket());
    SF_ASSERT_OK(listening);
    listener_.emplace(std::move(listening).value());
  }
  // The hello of the next line, answered; whether it hands memory over.
  [[nodiscard]] bool greet(std::optional<transport::Connection>& line) {
    const auto soon = base::Deadline::after_ms(kPatienceMs);
    const bool came = wait_until([&] {
      if (auto accepted = listener_->try_accept(); accepted.ok()) line.emplace(std::move(accepted).value());
      return line.has_value();
    });
    EXPECT_TRUE(came);
    if (!came) return false;
    const auto hello = line->receive(soon);
    if (!hello.ok() || !*hello) return false;
    const auto message = protocol::decode((*hello)->text);
    protocol::Welcome welcome;
    welcome.store_file_id = file_id_;
    line->send(protocol::encode(welcome), {}, soon).ignore("a client that begins anew may be gone by now");
    return std::get<protocol::Hello>(*message).adopt;
  }
  void grant_and_die() {
    const auto soon = base::Deadline::after_ms(kPatienceMs);
    std::optional<transport::Connection> line;
    ASSERT_FALSE(greet(line));
    EXPECT_TRUE(line->receive(soon).ok());
    ASSERT_EQ(::pthread_kill(asker_, SIGUSR1), 0);
    ASSERT_TRUE(wait_until([] { return held.load(); }));
    auto arena = arena::Arena::create(kSlots);
    SF_ASSERT_OK(arena);
    SF_ASSERT_OK(arena->commit_slots(kSlots));
    const std::vector<int> memory{arena->memfd()};
    SF_ASSERT_OK(line->send(protocol::encode(protocol::ArenaReady{kSlots, kSlots, kSlots << 20U}), memory, soon));
    line.reset();
    EXPECT_FALSE(greet(line)) << "whoever asked has not looked at the answer yet";
    may_go_on = true;
    std::optional<transport::Connection> next;  // the client itself ends the one before
    EXPECT_TRUE(greet(next));
    listener_.reset();  // or the client would wait for a further daemon's word at its end
  }

  // A thread that gets the signal stands still until it may go on.
  static inline std::atomic<bool> held{false};
  static inline std::atomic<bool> may_go_on{false};
  static void hold(int /*signal*/) {
    held = true;
    while (!may_go_on) ::sched_yield();
  }

  const pthread_t asker_ = ::pthread_self();
  std::uint64_t file_id_ = 0;
  std::optional<transport::Listener> listener_;
};

TEST_F(OrphanArena, IsHandedToTheDaemonThatCameBeforeItsAnswerWasLookedAt) {
  held = false;
  may_go_on = false;
  struct sigaction act {};
  act.sa_handler = hold;
  ASSERT_EQ(::sigaction(SIGUSR1, &act, nullptr), 0);
  std::shared_ptr<client::Core> core;  // longer than the daemon
  auto daemon = base::Thread::start("daemon", [this] {
    grant_and_die();
    may_go_on = true;
  });
  SF_ASSERT_OK(daemon);
  auto opened = client::Core::open(options());
  SF_ASSERT_OK(opened);
  core = std::move(opened).value();
  SF_ASSERT_OK(core->reserve({1 << 20, 1}, base::Deadline::after_ms(kPatienceMs)));
}

}  // namespace
}  // namespace stillframe::test
