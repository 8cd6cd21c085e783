#include "persist/group_seals.hpp"

#include <algorithm>

namespace stillframe::persist {
namespace {

// What is durable says by its sequence of which checkpoint it is: the step alone may have come again since.
bool go_together(const arena::RecordView& a, const arena::RecordView& b) noexcept {
  const bool both_on_their_way = a.state == arena::RecordState::sealed && b.state == arena::RecordState::sealed;
  return a.step == b.step && (both_on_their_way || a.sequence == b.sequence);
}

}  // namespace

bool is_sealed_whole(const arena::RecordView& view) noexcept {
  const bool sealed = view.state == arena::RecordState::sealed || view.state == arena::RecordState::durable ||
                      view.state == arena::RecordState::verified;
  return sealed && (view.flags & arena::kWithdrawn) == 0;
}

std::vector<std::vector<SealedByAll>> sealed_by_all(const std::vector<std::vector<arena::RecordView>>& records) {
  std::vector<std::vector<SealedByAll>> found;
  if (records.empty()) return found;
  std::vector<std::vector<arena::RecordView>> waiting;
  for (const auto& of_rank : records) {
    auto& own = waiting.emplace_back();
    std::copy_if(of_rank.begin(), of_rank.end(), std::back_inserter(own), is_sealed_whole);
  }
  const std::vector<arena::RecordView> of_first = waiting.front();
  for (const arena::RecordView& first : of_first) {
    std::vector<std::vector<arena::RecordView>::iterator> together;
    for (auto& own : waiting) {
      const auto match =
          std::find_if(own.begin(), own.end(), [&](const arena::RecordView& view) { return go_together(view, first); });
      if (match == own.end()) break;
      together.push_back(match);
    }
    if (together.size() != waiting.size()) continue;
    std::vector<SealedByAll> unsaid;
    for (std::uint32_t rank = 0; rank < waiting.size(); ++rank) {
      if ((together[rank]->flags & arena::kCaptured) == 0) unsaid.push_back({rank, *together[rank]});
      waiting[rank].erase(together[rank]);
    }
    if (!unsaid.empty()) found.push_back(std::move(unsaid));
  }
  return found;
}

bool is_checked_by_all(std::span<const std::uint32_t> flags) noexcept {
  const auto is_checked = [](std::uint32_t one) { return (one & arena::kChecked) != 0; };
  const auto has_nothing_unchecked = [](std::uint32_t one) {
    return (one & (arena::kFromGpu | arena::kChecked)) != arena::kFromGpu;
  };
  return std::ranges::any_of(flags, is_checked) && std::ranges::all_of(flags, has_nothing_unchecked);
}

}  // namespace stillframe::persist
