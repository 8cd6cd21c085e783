// This program's main: the tests, or one of the processes that they start.
#include <grp.h>
#include <sys/syscall.h>

#include <deque>
#include <iostream>
#include <span>

#include "e2e/rig.hpp"

namespace stillframe::test {
namespace {

int be_daemon(std::span<char*> settings) {
  daemon::Config config;
  config.log_level = base::LogLevel::off;
  for (const std::string setting : settings) {
    const std::size_t at = setting.find('=');
    const Status set = daemon::set_config_key(config, setting.substr(0, at), setting.substr(at + 1));
    if (!set.ok()) {
      std::cerr << set.message() << std::endl;
      return 2;
    }
  }
  const Status status = daemon::run(config, [] { std::cout << "ready" << std::endl; });
  if (!status.ok()) std::cerr << status.message() << std::endl;
  return status.ok() ? 0 : 1;
}

// "plain": captures and waits to be killed. "fork": leaves a child behind first, as a DataLoader does. "clone":
// likewise, and the child keeps every descriptor, since no fork handler runs in it. "memory": the step before is durable,
// and the step itself was captured for memory only. "twice": likewise, and so was one between them, which is confirmed.
int be_trainer(const std::string& socket, const std::string& store, const std::string& how, std::int64_t step) {
  CheckpointerOptions options;
  options.store = store;
  options.socket = socket;
  const bool for_memory = how == "memory" || how == "twice";
  if (for_memory) options.persist_every_steps = 1'000'000;
  State state;
  auto made = Checkpointer::open(options);
  Status status = made.ok() ? made->add("values", DType::f32, {kFloats}, state.values.data()) : made.status();
  const std::int64_t durable = step - (how == "twice" ? 2 : 1);
  for (std::int64_t before = durable; status.ok() && for_memory && before < step; ++before) {
    state.set(before);
    const auto ticket = made->snapshot(before, /*wait=*/true);
    status = ticket.status();
    if (status.ok()) status = before == durable ? ticket->wait_durable(kPatienceMs) : ticket->wait_captured(kPatienceMs);
    if (status.ok()) status = made->fence();
  }
  state.set(step);
  if (status.ok()) {
    const auto ticket = made->snapshot(step, /*wait=*/true);
    status = ticket.ok() ? ticket->wait_captured(kPatienceMs) : ticket.status();
  }
  if (!status.ok()) {
    std::cerr << status.message() << std::endl;
    return 1;
  }
  pid_t child = -1;
  if (how == "fork") child = ::fork();
  if (how == "clone") child = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (child == 0) {
    ::alarm(120);  // whatever becomes of the test
    for (;;) ::pause();
  }
  if (child > 0) std::cout << "captured\n" << child << std::endl;
  if (child < 0) std::cout << "captured" << std::endl;
  ::alarm(120);
  for (;;) ::pause();
}

// Goes on from what it restored, step by step, until it is killed: "from 4", "sealed 5", "captured 5"; "not as saved" when
// the restored values are not those of the step.
void train_as_rank(Checkpointer& made, State& state, std::int64_t offset) {
  constexpr std::int64_t kMostSteps = 60;
  const auto restored = made.restore();
  const bool found = restored.ok() && restored->has_value();
  const std::int64_t from = found ? (*restored)->step : -1;
  const bool whole = restored.ok() && (!found || state.is(from + offset));
  std::cout << (whole ? "from " + std::to_string(from) : restored.ok() ? "not as saved" : restored.status().message())
            << std::endl;
  std::deque<Ticket> uncaptured;
  for (std::int64_t step = from + 1; whole && step <= from + kMostSteps; ++step) {
    state.set(step + offset);
    auto ticket = made.snapshot(step, /*wait=*/true);
    if (!ticket.ok() || !made.fence().ok()) continue;
    std::cout << "sealed " << step << std::endl;
    uncaptured.push_back(std::move(*ticket));
    while (!uncaptured.empty() && uncaptured.front().info().state != SnapshotState::copying) {
      const TicketInfo info = uncaptured.front().info();
      if (info.error.empty()) std::cout << "captured " << info.step << std::endl;
      uncaptured.pop_front();
    }
  }
}

// A rank whose values are those of `step` and a thousand times itself. "join": only opens. "snapshot": takes one, and says
// "sealed", then "captured", or what became of it. "train": train_as_rank(). Then it waits to be killed.
int be_rank(std::span<char*> arguments) {
  CheckpointerOptions options;
  options.socket = arguments[0];
  options.store = arguments[1];
  const std::string how = arguments[2];
  options.rank = static_cast<std::uint32_t>(std::stoul(arguments[3]));
  options.world_size = static_cast<std::uint32_t>(std::stoul(arguments[4]));
  options.budget_bytes = 16ULL << 20;
  const std::int64_t step = std::stoll(arguments[5]);
  const std::int64_t offset = 1000 * static_cast<std::int64_t>(options.rank);
  State state;
  state.set(step + offset);
  ::alarm(120);
  auto made = Checkpointer::open(options);
  Status status = made.ok() ? made->add("values", DType::f32, {kFloats}, state.values.data()) : made.status();
  if (!status.ok()) {
    std::cout << status.message() << std::endl;
    return 1;
  }
  if (how == "join") {
    std::cout << "joined" << std::endl;
  } else if (how == "train") {
    train_as_rank(*made, state, offset);
  } else {
    const auto ticket = made->snapshot(step, /*wait=*/true);
    status = ticket.ok() ? made->fence() : ticket.status();
    if (status.ok()) std::cout << "sealed" << std::endl;
    if (status.ok()) status = ticket->wait_captured(kPatienceMs);
    std::cout << (status.ok() ? "captured" : status.message()) << std::endl;
  }
  for (;;) ::pause();
}

// The successor of a trainer that has died, in the middle of its restore from memory. "clone": as a trainer's.
int be_reader(const std::string& socket, const std::string& store, const std::string& how) {
  CheckpointerOptions options;
  options.store = store;
  options.socket = socket;
  const auto core = client::Core::open(options);
  const auto image = core.ok() ? (*core)->hot_image(base::Deadline::after_ms(kPatienceMs)) : core.status();
  if (!image.ok()) std::cerr << image.status().message() << std::endl;
  if (!image.ok() || *image == nullptr) return 1;
  pid_t child = -1;
  if (how == "clone") child = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (child > 0) std::cout << "reading\n" << child << std::endl;
  if (child < 0) std::cout << "reading" << std::endl;
  ::alarm(120);
  for (;;) ::pause();
}

// "--as-user <uid>" in front of a role: from here on this process is that user's, with no other group.
bool become(uid_t uid) { return ::setgroups(0, nullptr) == 0 && ::setgid(uid) == 0 && ::setuid(uid) == 0; }

}  // namespace
}  // namespace stillframe::test

int main(int argc, char** argv) {
  std::span<char*> arguments(argv, static_cast<std::size_t>(argc));
  if (argc > 3 && std::string(argv[1]) == "--as-user") {
    if (!stillframe::test::become(static_cast<uid_t>(std::stoul(argv[2])))) return 1;
    arguments = arguments.subspan(2);
  }
  const std::string role = arguments.size() > 1 ? arguments[1] : "";
  if (role == "--role-daemon") return stillframe::test::be_daemon(arguments.subspan(2));
  if (role == "--role-trainer") {
    return stillframe::test::be_trainer(arguments[2], arguments[3], arguments[4], std::stoll(arguments[5]));
  }
  if (role == "--role-rank") return stillframe::test::be_rank(arguments.subspan(2));
  if (role == "--role-reader") return stillframe::test::be_reader(arguments[2], arguments[3], arguments[4]);
  testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
