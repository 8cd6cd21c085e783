// The crash suite: stops the store's work in every single call that changes the disk, lets the power go in every legal
// way, starts again (and crashes again), and looks whether everything that was promised is still true.
//
//   crash --count 100000 --seed 1     whole rounds of all scenarios with seeds 1, 2, … until so many states are done;
//                                     the same states for the same count and seed, whatever the threads
//   crash --quick                     one round of fewer survivors, until the first failure: for mutations, in seconds
//   crash --scenario commit           only that one (see --list)
//   crash --replay commit:n=17:survivor=3:seed=1   that one state, with every change of the disk on the way
//   crash --lie sync:.data            on a disk whose calls of that kind, on paths that hold that text, say ok and do
//                                     nothing: must be found, or the suite is blind
//   crash --lies                      every lie that the store must be hurt by, one after the other, quick; fails when
//                                     one goes unnoticed
//   crash --threads 2                 default: as many as there are cores
//
// Prints states, seconds, states per second and what was lost. Exit code 0: nothing is wrong; 1: something is, and each
// failure comes with the command that replays it; 2: the command line is wrong.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/thread.hpp"
#include "crash/explorer.hpp"

namespace stillframe::test {
namespace {

constexpr int kExitWrong = 1;
constexpr int kExitUsage = 2;
constexpr std::uint64_t kMostPrinted = 20;

struct Options {
  std::uint64_t count = 100'000;
  std::uint64_t seed = 1;
  std::uint64_t threads = base::core_count();
  bool quick = false;
  bool list = false;
  bool lies = false;
  std::string scenario;
  std::string replay;
  std::string lie;
};

constexpr Depth kWhole{};
constexpr Depth kQuick{.survivors = 6, .start_every = 11, .later_survivors = 3, .most_failures = 1};

// One scenario with one seed.
struct Job {
  const Scenario* scenario = nullptr;
  std::uint64_t seed = 0;
  Exploration found;
};

enum class Until : std::uint8_t { the_end, the_first_failure };

void run_jobs(std::vector<Job>& jobs, const Options& options, const Depth& depth, const Lie& lie,
              Until until = Until::the_end) {
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i = next++; i < jobs.size(); i = next++) {
      jobs[i].found = explore(*jobs[i].scenario, jobs[i].seed, depth, lie);
      if (until == Until::the_first_failure && !jobs[i].found.failures.empty()) next = jobs.size();
    }
  };
  std::vector<base::Thread> threads;
  for (std::uint64_t i = 1; i < options.threads; ++i) {
    if (auto thread = base::Thread::start("crash", work); thread.ok()) threads.push_back(std::move(thread).value());
  }
  work();
}

std::vector<Job> round_of(const Scenarios& scenarios, const Options& options, std::uint64_t seed) {
  std::vector<Job> jobs;
  for (const auto& scenario : scenarios) {
    const bool wanted = options.scenario.empty() || scenario->name() == options.scenario;
    if (wanted) jobs.push_back({scenario.get(), seed, {}});
  }
  return jobs;
}

std::string lie_flag(const Options& options) { return options.lie.empty() ? "" : " --lie " + options.lie; }

void print_failure(const Failure& failure, const Options& options) {
  std::cout << "LOST " << to_string(failure.id) << ": " << failure.what << "\n  replay: scripts/crash --replay "
            << to_string(failure.id) << lie_flag(options) << "\n";
}

Result<Lie> parse_lie(const std::string& text) {
  if (text.empty()) return Lie{};
  const std::size_t colon = text.find(':');
  for (std::size_t i = 0; i < static_cast<std::size_t>(EnvOp::count_); ++i) {
    const auto op = static_cast<EnvOp>(i);
    if (colon != std::string::npos && text.substr(0, colon) == env_op_name(op)) return Lie{op, text.substr(colon + 1)};
  }
  return Status(Code::invalid_argument, "'" + text + "' is no lie; expected something like sync:.data");
}

int explore_all(const Scenarios& scenarios, const Options& options, const Lie& lie) {
  const std::int64_t began_ns = base::system_clock().monotonic_ns();
  std::uint64_t states = 0;
  std::uint64_t lost = 0;
  std::uint64_t printed = 0;
  std::uint64_t seed = options.seed;
  do {
    std::vector<Job> jobs = round_of(scenarios, options, seed++);
    if (jobs.empty()) {
      std::cerr << "crash: there is no scenario '" << options.scenario << "'; see --list\n";
      return kExitUsage;
    }
    run_jobs(jobs, options, options.quick ? kQuick : kWhole, lie,
             options.quick ? Until::the_first_failure : Until::the_end);
    for (const Job& job : jobs) {
      states += job.found.states;
      lost += job.found.failures.size();
      for (const Failure& failure : job.found.failures) {
        if (printed++ < kMostPrinted) print_failure(failure, options);
      }
    }
  } while (lost == 0 && !options.quick && states < options.count);
  const double seconds = static_cast<double>(base::system_clock().monotonic_ns() - began_ns) / 1e9;
  std::printf("crash: %llu states in %.1f s, %.0f per second on %llu threads, seeds %llu to %llu, %llu lost\n",
              static_cast<unsigned long long>(states), seconds, static_cast<double>(states) / seconds,
              static_cast<unsigned long long>(options.threads), static_cast<unsigned long long>(options.seed),
              static_cast<unsigned long long>(seed - 1), static_cast<unsigned long long>(lost));
  return lost == 0 ? 0 : kExitWrong;
}

int replay_one(const Scenarios& scenarios, const Options& options, const Lie& lie) {
  const auto id = parse_state_id(options.replay);
  if (!id.ok()) {
    std::cerr << "crash: " << id.status().message() << "\n";
    return kExitUsage;
  }
  for (const auto& scenario : scenarios) {
    if (scenario->name() != id->scenario) continue;
    const std::string wrong = replay(*scenario, *id, lie, [](const std::string& line) { std::cout << line << "\n"; });
    std::cout << (wrong.empty() ? "nothing is wrong" : "LOST: " + wrong) << "\n";
    return wrong.empty() ? 0 : kExitWrong;
  }
  std::cerr << "crash: there is no scenario '" << id->scenario << "'; see --list\n";
  return kExitUsage;
}

// Every sync that a promise hangs on.
// "Z$" is a checkpoint's directory, "/$" the root.
constexpr std::array kLies{
    "sync:.data$",
    "sync:.safetensors$",
    "sync:.table$",
    "sync:manifest.json$",
    "sync:sequence.tmp$",
    "sync:verified.tmp$",
    "sync:FORMAT-v1.md.tmp$",
    "sync:read-v1.py.tmp$",
    "sync:FORMAT-v2.md.tmp$",
    "sync:read-v2.py.tmp$",
    "sync_dir:.main.partial$",
    "sync_dir:Z$",
    "sync_dir:/runs/gpt$",
    "sync_dir:/runs$",
    "sync_dir:/$"};

int tell_lies(const Scenarios& scenarios, Options options) {
  int exit_code = 0;
  for (const char* const text : kLies) {
    std::vector<Job> jobs = round_of(scenarios, options, options.seed);
    for (Job& job : round_of(scenarios, options, options.seed + 1)) jobs.push_back(std::move(job));
    run_jobs(jobs, options, kQuick, parse_lie(text).value(), Until::the_first_failure);
    const auto noticed = std::ranges::find_if(jobs, [](const Job& job) { return !job.found.failures.empty(); });
    if (noticed == jobs.end()) exit_code = kExitWrong;
    std::cout << "crash: the lie " << text
              << (noticed == jobs.end() ? " goes unnoticed"
                                        : " is noticed: " + to_string(noticed->found.failures.front().id) + ": " +
                                              noticed->found.failures.front().what)
              << "\n";
  }
  return exit_code;
}

int run(const Options& options) {
  const Scenarios scenarios = all_scenarios();
  if (options.list) {
    for (const auto& scenario : scenarios) std::cout << scenario->name() << "\n";
    return 0;
  }
  if (options.lies) return tell_lies(scenarios, options);
  const auto lie = parse_lie(options.lie);
  if (!lie.ok()) {
    std::cerr << "crash: " << lie.status().message() << "\n";
    return kExitUsage;
  }
  return options.replay.empty() ? explore_all(scenarios, options, *lie) : replay_one(scenarios, options, *lie);
}

}  // namespace
}  // namespace stillframe::test

int main(int argc, char** argv) {
  stillframe::test::Options options;
  CLI::App app("Crashes the store in every change of the disk and looks what is left.", "crash");
  app.add_option("--count", options.count, "states to go through, at least");
  app.add_option("--seed", options.seed, "of the first round");
  app.add_option("--threads", options.threads, "to work on")->check(CLI::Range(1, 1024));
  app.add_flag("--quick", options.quick, "one round of fewer states, until the first failure");
  app.add_flag("--list", options.list, "names the scenarios");
  app.add_flag("--lies", options.lies, "shows that every dropped sync is noticed");
  app.add_option("--scenario", options.scenario, "only that one");
  app.add_option("--replay", options.replay, "one state, as a failure names it");
  app.add_option("--lie", options.lie, "<call>:<part of a path>: such calls say ok and do nothing");
  CLI11_PARSE(app, argc, argv);
  return stillframe::test::run(options);
}
