// What changed between two checkpoints, read chunk by chunk: memory for one chunk of each, whatever their size.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "interop/tensor_diff.hpp"
#include "interop/tree_diff.hpp"
#include "stillframe/status.hpp"
#include "store/reader.hpp"

namespace stillframe::interop {

enum class ChangeKind : std::uint8_t {
  values,   // same dtype and shape, some bits differ
  layout,   // another dtype or shape: the values are not compared
  added,    // only in the second checkpoint
  removed,  // only in the first
};

struct TensorChange {
  ChangeKind kind = ChangeKind::values;
  std::uint32_t rank = 0;
  Entry before;  // without meaning for added
  Entry after;   // without meaning for removed
  TensorDifference difference;
};

struct RankValues {
  std::uint32_t rank = 0;
  TreeDiff values;
};

struct CheckpointDiff {
  std::vector<TensorChange> tensors;  // by rank, in the order of the second image, the removed ones behind
  std::uint64_t equal_tensors = 0;
  std::vector<RankValues> values;  // of ranks that are in both; only those that differ
  std::vector<std::uint32_t> ranks_added;
  std::vector<std::uint32_t> ranks_removed;
  std::uint64_t compared_bytes = 0;  // read from both and compared
  std::uint64_t skipped_bytes = 0;   // known to be equal from the chunk tables' hashes, not read

  [[nodiscard]] bool equal() const noexcept {
    return tensors.empty() && values.empty() && ranks_added.empty() && ranks_removed.empty();
  }
};

// corrupt, naming file, tensors and chunk, when a byte that has to be read is damaged. Equal chunks are not read, so
// this verifies nothing. `progress` (may be empty) is called with the bytes of the second checkpoint done and total.
[[nodiscard]] Result<CheckpointDiff> diff_checkpoints(
    const store::CheckpointReader& before, const store::CheckpointReader& after,
    const std::function<void(std::uint64_t, std::uint64_t)>& progress);

}  // namespace stillframe::interop
