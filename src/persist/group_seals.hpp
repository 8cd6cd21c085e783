// When a step counts as captured for a group. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "arena/daemon_side.hpp"

namespace stillframe::persist {

struct SealedByAll {
  std::uint32_t rank = 0;
  arena::RecordView view;
};
// `records`: of each rank, oldest first, every rank of the group. Those whose step all ranks have sealed and that do not
// bear kCaptured yet. Where a step is there twice, the oldest of each rank go together.
[[nodiscard]] std::vector<SealedByAll> sealed_by_all(const std::vector<std::vector<arena::RecordView>>& records);

}  // namespace stillframe::persist
