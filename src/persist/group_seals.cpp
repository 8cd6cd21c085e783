#include "persist/group_seals.hpp"

#include <algorithm>

namespace stillframe::persist {
namespace {

// What was torn is not captured, and what failed will not be published.
bool waits_for_others(const arena::RecordView& view) noexcept {
  return view.state == arena::RecordState::sealed && (view.flags & (arena::kCaptured | arena::kWithdrawn)) == 0;
}

}  // namespace

std::vector<SealedByAll> sealed_by_all(const std::vector<std::vector<arena::RecordView>>& records) {
  std::vector<SealedByAll> found;
  if (records.empty()) return found;
  std::vector<std::vector<arena::RecordView>> waiting;
  for (const auto& of_rank : records) {
    auto& own = waiting.emplace_back();
    std::copy_if(of_rank.begin(), of_rank.end(), std::back_inserter(own), waits_for_others);
  }
  for (const arena::RecordView& first : waiting.front()) {
    std::vector<SealedByAll> together;
    for (std::uint32_t rank = 0; rank < waiting.size(); ++rank) {
      auto& own = waiting[rank];
      const auto match = std::find_if(own.begin(), own.end(), [&](const arena::RecordView& view) {
        const bool taken = std::any_of(found.begin(), found.end(), [&](const SealedByAll& one) {
          return one.rank == rank && one.view.snapshot_id == view.snapshot_id;
        });
        return view.step == first.step && !taken;
      });
      if (match == own.end()) break;
      together.push_back({rank, *match});
    }
    if (together.size() == waiting.size()) found.insert(found.end(), together.begin(), together.end());
  }
  return found;
}

}  // namespace stillframe::persist
