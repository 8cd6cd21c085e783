#include "crash/explorer.hpp"

#include <algorithm>
#include <map>
#include <unordered_set>
#include <utility>

#include "crash/actor.hpp"
#include "crash/oracle.hpp"

namespace stillframe::test {
namespace {

constexpr std::uint64_t kKilled = 0;
constexpr std::uint64_t kFirstDrawn = 3;

// The disk that a crash leaves.
std::unique_ptr<FaultEnv> left_by(const FaultEnv& process, const StateId& id) {
  const Crash& crash = id.crashes.back();
  if (crash.survivor == kKilled) return process.copy();
  if (crash.survivor < kFirstDrawn) {
    return process.survivor(crash.survivor == 1 ? FaultEnv::kOnlySynced : FaultEnv::kEverything);
  }
  std::uint64_t seed = id.seed;
  for (const Crash& past : id.crashes) seed = mix_bits(seed * 1'000'003 + past.n * 101 + past.survivor);
  return process.survivor(std::max<std::uint64_t>(seed, FaultEnv::kEverything + 1));
}

// After every kill, where much is not certain yet, and after few power losses, where all is, power is cut again.
bool is_deep(const StateId& id) {
  constexpr std::uint64_t kOneOfTheDrawn = 8;
  return id.crashes.back().survivor == kKilled || id.crashes.back().survivor == kOneOfTheDrawn;
}

void apply(const Lie& lie, FaultEnv& process) {
  if (lie.op == EnvOp::count_) return;
  process.fail({.op = lie.op, .code = Code::ok, .for_ever = true, .path_contains = lie.path_contains});
}

// What the process that comes after a crash does first, until it dies in its n-th change; 0: it does not.
Status start_again(FaultEnv& process, Ledger& ledger, std::uint64_t n, const Lie& lie) {
  apply(lie, process);
  if (n != 0) process.die_at(n);
  Actor actor(process, ledger);
  const Status started = actor.start_up("main");
  return process.is_dead() ? Status() : started;
}

std::string check(FaultEnv& disk, const Ledger& ledger, const StateId& id, const Lie& lie) {
  apply(lie, disk);
  return find_wrong(disk, ledger, is_deep(id));
}

class Explorer {
 public:
  Explorer(const Scenario& scenario, std::uint64_t seed, const Depth& depth, const Lie& lie)
      : scenario_(scenario), depth_(depth), lie_(lie), prepared_(scenario.prepare(seed)) {
    id_.scenario = scenario.name();
    id_.seed = seed;
  }

  Exploration run() {
    Stage whole = prepared_.copy();
    apply(lie_, *whole.process);
    id_.crashes = {{0, kKilled}};
    if (const Status worked = scenario_.work(whole, 0); !worked.ok()) fail("without any crash: " + worked.message());
    const std::uint64_t last = whole.changes + 1;  // the crash after the last change
    for (std::uint64_t n = 1; n <= last && !had_enough(); ++n) crash_in(n);
    return std::move(found_);
  }

 private:
  void fail(std::string what) { found_.failures.push_back({id_, std::move(what)}); }
  [[nodiscard]] bool had_enough() const { return found_.failures.size() >= depth_.most_failures; }

  void crash_in(std::uint64_t n) {
    Stage stage = prepared_.copy();
    apply(lie_, *stage.process);
    id_.crashes = {{n, kKilled}};
    if (const Status worked = scenario_.work(stage, n); !worked.ok()) return fail(worked.message());
    look_at_survivors(*stage.process, stage.ledger, depth_.survivors);
  }

  void look_at_survivors(const FaultEnv& process, const Ledger& ledger, std::uint64_t survivors) {
    std::unordered_set<std::uint64_t> seen;
    for (std::uint64_t survivor = 0; survivor < survivors && !had_enough(); ++survivor) {
      id_.crashes.back().survivor = survivor;
      const auto disk = left_by(process, id_);
      if (survivor != kKilled && !seen.insert(disk->fingerprint()).second) continue;
      if (goes_on_after(survivor)) crash_in_the_next_start(*disk, ledger);
      ++found_.states;
      if (std::string wrong = check(*disk, ledger, id_, lie_); !wrong.empty()) fail(std::move(wrong));
    }
  }

  // The second crash comes after a kill and after two power losses; the third, in one change of each start, after one.
  // Which ones differs from seed to seed.
  [[nodiscard]] bool goes_on_after(std::uint64_t survivor) const {
    const std::size_t crashes = id_.crashes.size();
    if (crashes == 1) {
      if ((id_.crashes.back().n + id_.seed) % depth_.start_every != 0) return false;
      return survivor == kKilled || survivor == 1 || survivor == kFirstDrawn;
    }
    return crashes == 2 && survivor == (id_.crashes.front().n + id_.crashes.back().n) % depth_.later_survivors;
  }

  void crash_in_the_next_start(const FaultEnv& disk, const Ledger& ledger) {
    const auto whole = disk.copy();
    Ledger told = ledger;
    id_.crashes.push_back({0, kKilled});
    if (const Status started = start_again(*whole, told, 0, lie_); !started.ok()) fail(started.message());
    const std::uint64_t last = whole->changes() + 1;
    const bool only_one = id_.crashes.size() > 2;
    const std::uint64_t first = only_one ? 1 + id_.crashes.front().n % last : 1;
    for (std::uint64_t n = first; n <= last && !had_enough(); ++n) {
      id_.crashes.back() = {n, kKilled};
      crash_in_this_start(disk, ledger, n);
      if (only_one) break;
    }
    id_.crashes.pop_back();
  }

  void crash_in_this_start(const FaultEnv& disk, Ledger ledger, std::uint64_t n) {
    const auto process = disk.copy();
    if (const Status started = start_again(*process, ledger, n, lie_); !started.ok()) return fail(started.message());
    look_at_survivors(*process, ledger, depth_.later_survivors);
  }

  const Scenario& scenario_;
  const Depth& depth_;
  const Lie& lie_;
  const Stage prepared_;
  StateId id_;  // where it is now
  Exploration found_;
};

void tell_changes(FaultEnv& process, const Told& told) {
  auto changes = std::make_shared<std::map<std::uint64_t, std::uint64_t>>();
  process.trace_changes([told, changes](std::uint64_t process_number, EnvOp op, const std::string& path) {
    told("  process " + std::to_string(process_number) + ", change " + std::to_string(++(*changes)[process_number]) +
         ": " + std::string(env_op_name(op)) + " " + path);
  });
}

}  // namespace

Exploration explore(const Scenario& scenario, std::uint64_t seed, const Depth& depth, const Lie& lie) {
  return Explorer(scenario, seed, depth, lie).run();
}

std::string replay(const Scenario& scenario, const StateId& id, const Lie& lie, const Told& told) {
  Stage stage = scenario.prepare(id.seed);
  StateId now{id.scenario, id.seed, {}};
  std::unique_ptr<FaultEnv> process = stage.process->copy();
  stage.process = std::move(process);
  for (const Crash& crash : id.crashes) {
    now.crashes.push_back(crash);
    told(now.crashes.size() == 1 ? "the scenario, until change " + std::to_string(crash.n) + ":"
                                 : "the next start, until change " + std::to_string(crash.n) + ":");
    tell_changes(*stage.process, told);
    Status worked;
    if (now.crashes.size() == 1) {
      apply(lie, *stage.process);
      worked = scenario.work(stage, crash.n);
    } else {
      worked = start_again(*stage.process, stage.ledger, crash.n, lie);
    }
    if (!worked.ok()) return worked.message();
    stage.process = left_by(*stage.process, now);
  }
  told("the check:");
  tell_changes(*stage.process, told);
  return check(*stage.process, stage.ledger, id, lie);
}

}  // namespace stillframe::test
