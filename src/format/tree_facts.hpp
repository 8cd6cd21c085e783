// What a state tree says of training itself: which entries are trained, and how often the optimizers have stepped. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/image.hpp"
#include "stillframe/status.hpp"

namespace stillframe::format {

// Of one tree; further ones are passed over.
inline constexpr std::size_t kMaxStepCounters = 100'000;

// The value under "step" of one parameter's state in an optimizer: a dict with "state" and "param_groups".
struct StepCounter {
  std::string path;            // "optimizer.state[0].step", shortened
  std::size_t optimizer = 0;   // equal for counters of one optimizer
  std::optional<double> value; // when the tree itself holds it; else it is one element of the image:
  std::uint64_t image_offset = 0;
  DType dtype = DType::f32;    // F32, F64, I32, U32, I64 or U64: counters of other kinds are passed over
};

struct TreeFacts {
  std::vector<bool> trainable;  // per entry of the layout: a tensor on it has "parameter": true and "requires_grad": true
  std::vector<StepCounter> step_counters;  // in the order of the tree
};

// Checks the tree as check_tree() does, and gathers its facts with the same parse.
[[nodiscard]] Result<TreeFacts> read_tree_facts(std::string_view tree_json, const ImageLayout& layout);

}  // namespace stillframe::format
