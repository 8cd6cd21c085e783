// A real daemon process, trainers, and raw clients. The daemon and the trainers are this program itself in another role
// (roles_test.cpp), so that a sanitizer sees them as well.
#pragma once

#include <gmock/gmock.h>

#include <memory>
#include <string>
#include <vector>

#include "client/core.hpp"
#include "client/query.hpp"
#include "daemon/server.hpp"
#include "stillframe/checkpointer.hpp"
#include "support/process.hpp"
#include "support/store_fixture.hpp"
#include "support/wait_until.hpp"

namespace stillframe::test {

inline constexpr std::size_t kFloats = 700'000;  // three chunks

// Memory whose every value follows from the step.
struct State {
  std::vector<float> values = std::vector<float>(kFloats);
  void set(std::int64_t step) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 1000) + static_cast<float>(step);
  }
  [[nodiscard]] bool is(std::int64_t step) const {
    State expected;
    expected.set(step);
    return values == expected.values;
  }
};

class DaemonTest : public testing::Test {
 protected:
  [[nodiscard]] std::string socket() const { return dir_.path() + "/d.sock"; }
  [[nodiscard]] std::string store_path() const { return dir_.path() + "/gpt"; }
  // `settings`: "daemon.max_clients=2".
  void start_daemon(const std::vector<std::string>& settings = {}) {
    std::vector<std::string> arguments{"/proc/self/exe", "--role-daemon", "daemon.socket=" + socket(),
                                       "daemon.shutdown_deadline_seconds=60", "arena.budget_bytes=67108864"};
    arguments.insert(arguments.end(), settings.begin(), settings.end());
    daemon_ = Process(arguments);
    ASSERT_EQ(daemon_.line(), "ready");
  }
  // A trainer in a process of its own that has captured `step`, and what it then says.
  [[nodiscard]] Process start_trainer(const std::string& how, std::int64_t step) {
    Process trainer({"/proc/self/exe", "--role-trainer", socket(), store_path(), how, std::to_string(step)});
    EXPECT_EQ(trainer.line(), "captured");
    return trainer;
  }
  [[nodiscard]] CheckpointerOptions options(const std::string& run = "main") const {
    CheckpointerOptions options;
    options.store = store_path();
    options.run = run;
    options.socket = socket();
    options.connect_deadline_ms = 10'000;
    return options;
  }
  [[nodiscard]] Result<Checkpointer> open(State& state, const std::string& run = "main") const {
    SF_ASSIGN(Checkpointer made, Checkpointer::open(options(run)));
    SF_TRY(made.add("values", DType::f32, {kFloats}, state.values.data()));
    return made;
  }
  [[nodiscard]] testing::AssertionResult daemon_answers() const {
    const auto status = client::query_status(socket(), base::Deadline::after_ms(5000));
    if (!status.ok()) return testing::AssertionFailure() << status.status().message();
    return testing::AssertionSuccess();
  }
  [[nodiscard]] std::vector<std::int64_t> steps() const {
    std::vector<std::int64_t> found;
    const auto store = store::Store::open(env::posix_env(), store_path());
    if (!store.ok()) return found;
    const auto listed = store->list().value();
    for (const auto& ref : listed) found.push_back(ref.parsed.step);
    return found;
  }

  TempDir dir_;
  Process daemon_;
};

}  // namespace stillframe::test
