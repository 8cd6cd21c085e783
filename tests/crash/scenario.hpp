// What is under way when the crash comes: a disk with a history, and work that goes on until it is done or its process
// is dead.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "crash/ledger.hpp"
#include "support/fault_env.hpp"

namespace stillframe::test {

struct Stage {
  std::unique_ptr<FaultEnv> process;  // on the disk; the one that works, or the first of those that do
  Ledger ledger;
  std::uint64_t seed = 0;
  std::vector<ContentPtr> to_write;
  std::uint64_t changes = 0;  // of the disk, in work(), over all processes

  // The same again, on a disk of its own.
  [[nodiscard]] Stage copy() const { return {process->copy(), ledger, seed, to_write, 0}; }
};

class Scenario {
 public:
  virtual ~Scenario() = default;
  [[nodiscard]] virtual const std::string& name() const = 0;
  // The same for the same seed.
  [[nodiscard]] virtual Stage prepare(std::uint64_t seed) const = 0;
  // The n-th change of the disk is where it dies, or fails, as the scenario has it; 0: nowhere. An error that no crash
  // and no planned failure explains is a fault of the store.
  [[nodiscard]] virtual Status work(Stage& stage, std::uint64_t n) const = 0;
};

using Scenarios = std::vector<std::unique_ptr<Scenario>>;

[[nodiscard]] Scenarios all_scenarios();

// A store with `count` older checkpoints of the run `main`, all but the newest verified, and one more of another run.
[[nodiscard]] Stage stage_with_history(std::uint64_t seed, std::size_t count);
// The short ones in turn, long ones rarely.
[[nodiscard]] Shape shape_of(std::uint64_t seed, std::uint64_t which);
// Adds to `all` the scenarios with several writers at once.
void add_writers(Scenarios& all);

}  // namespace stillframe::test
