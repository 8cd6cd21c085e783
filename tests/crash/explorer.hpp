// Goes through the states of one scenario, and makes any one of them again.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "crash/scenario.hpp"
#include "crash/state_id.hpp"

namespace stillframe::test {

struct Failure {
  StateId id;
  std::string what;
};

struct Exploration {
  std::uint64_t states = 0;  // that were checked; equal survivors of one crash are one state
  std::vector<Failure> failures;
};

// A disk that lies: its calls of one kind, on paths that hold a text, say ok and do nothing.
struct Lie {
  EnvOp op = EnvOp::count_;  // count_: none
  std::string path_contains;
};

struct Depth {
  std::uint64_t survivors = 12;       // of each crash of the scenario
  std::uint64_t start_every = 4;      // so many crashes apart, the starts after one are crashed as well
  std::uint64_t later_survivors = 4;  // of each crash in a start
  std::size_t most_failures = 3;      // then this scenario is left
};

// Crashes in every change of the scenario, after some of these in every change of the next process's start, and after
// some of those once more. The same states for the same seed and depth.
[[nodiscard]] Exploration explore(const Scenario& scenario, std::uint64_t seed, const Depth& depth, const Lie& lie);

// One state; `told` hears of every change of the disk on the way. Empty when nothing is wrong.
using Told = std::function<void(const std::string&)>;
[[nodiscard]] std::string replay(const Scenario& scenario, const StateId& id, const Lie& lie, const Told& told);

}  // namespace stillframe::test
