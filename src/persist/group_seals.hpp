// When a step counts as captured for a group, and when as checked against the device. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arena/daemon_side.hpp"

namespace stillframe::persist {

// Its rank has filled it whole and has not withdrawn it.
[[nodiscard]] bool is_sealed_whole(const arena::RecordView& view) noexcept;

struct SealedByAll {
  std::uint32_t rank = 0;
  arena::RecordView view;
};
// `records`: of each rank, oldest first, every rank of the group. By step that all ranks have sealed: those that do not
// bear kCaptured yet, also when a daemon before this one has said so of their fellows. Where a step is there twice, the
// oldest of each rank go together.
[[nodiscard]] std::vector<std::vector<SealedByAll>> sealed_by_all(
    const std::vector<std::vector<arena::RecordView>>& records);

// `flags`: of the sealed records of one step, one for each rank. Every rank that has bytes on GPUs compared them, and some rank has.
[[nodiscard]] bool is_checked_by_all(std::span<const std::uint32_t> flags) noexcept;

}  // namespace stillframe::persist
