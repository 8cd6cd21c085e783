#include "daemon/hot_image.hpp"

#include "format/names.hpp"

namespace stillframe::daemon {
namespace {

bool is_published(const arena::RecordView& view) noexcept {
  return view.state == arena::RecordState::durable || view.state == arena::RecordState::verified;
}

bool is_whole(const arena::DaemonSide& side, const arena::RecordView& view) {
  for (std::uint64_t chunk = 0; chunk < view.image_chunks(); ++chunk) {
    if (!side.filled_slot(view, chunk)) return false;
  }
  return side.descriptor_slots(view).has_value();
}

std::optional<arena::RecordView> choose_hot(const arena::DaemonSide& side) {
  return daemon::choose_hot(side.records(), [&side](const arena::RecordView& view) { return is_whole(side, view); });
}

}  // namespace

std::optional<arena::RecordView> choose_hot(const std::vector<arena::RecordView>& oldest_first,
                                            const std::function<bool(const arena::RecordView&)>& is_whole) {
  for (auto view = oldest_first.rbegin(); view != oldest_first.rend(); ++view) {
    const bool captured = (view->flags & (arena::kSealed | arena::kWithdrawn | arena::kSuperseded)) == arena::kSealed;
    const bool counts = captured && (is_published(*view) || view->state == arena::RecordState::sealed ||
                                     view->state == arena::RecordState::failed);
    if (!counts) continue;
    if (is_whole(*view)) return *view;
    // The store has it, or will: what is older in memory is not the newest.
    if (view->state != arena::RecordState::failed) return std::nullopt;
  }
  return std::nullopt;
}

Leavings leavings_of(const arena::Arena& arena) {
  const auto chosen = choose_hot(arena::DaemonSide(arena));
  if (!chosen) return Leavings::nothing;
  return is_published(*chosen) ? Leavings::copy_of_stored : Leavings::only_copy;
}

Result<std::optional<HotOffer>> offer_hot_image(const arena::Arena& arena, const persist::Persister& persister,
                                                const base::Deadline& deadline) {
  const auto chosen = choose_hot(arena::DaemonSide(arena));
  if (!chosen) return std::optional<HotOffer>();
  SF_TRY(persister.hash_all(*chosen, deadline));
  HotOffer offer;
  offer.view = *chosen;
  if (is_published(*chosen)) {
    offer.name = format::to_string({chosen->sequence, chosen->step, base::utc_compact(chosen->taken_unix_ns)});
  }
  SF_ASSIGN(offer.memory, arena.reopen_read_only());
  return std::optional<HotOffer>(std::move(offer));
}

}  // namespace stillframe::daemon
