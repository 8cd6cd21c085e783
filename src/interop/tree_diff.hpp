// Which values of the state outside the tensors differ: step counters, learning rates, strings, and which tensor stands
// where. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stillframe::interop {

struct ValueChange {
  std::string path;                   // "optimizer.param_groups[0].lr"; empty: the state as a whole
  std::optional<std::string> before;  // the node's JSON text (docs/format.md, "State tree"); nullopt: added
  std::optional<std::string> after;   // nullopt: removed
};

struct TreeDiff {
  std::vector<ValueChange> changes;  // in the order of the second tree, what was removed from a container behind it; at
                                     // most kMaxValueChanges, then the count goes on in `total`
  std::uint64_t total = 0;
};
inline constexpr std::size_t kMaxValueChanges = 1000;

// Two state trees as manifests hold them (checked, canonical). Dicts are compared key by key, whatever the order of the
// keys; lists by position.
[[nodiscard]] TreeDiff diff_trees(std::string_view before, std::string_view after);

}  // namespace stillframe::interop
