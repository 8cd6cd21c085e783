#include "capture/bundles.hpp"

namespace stillframe::capture {

std::vector<Bundle> bundles_of(std::span<const Piece> pieces, std::span<const std::int32_t> device,
                               std::map<std::int32_t, std::size_t>& listed) {
  std::vector<Bundle> bundles;
  for (std::size_t first = 0; first < pieces.size();) {
    const std::int32_t on = device[pieces[first].source];
    std::size_t past = first;
    while (past < pieces.size() && device[pieces[past].source] == on && pieces[past].bytes <= kLargestBundledBytes)
      ++past;
    const std::size_t count = past - first;
    if (on != kHost && count >= kFewestBundled) {
      const Piece& last = pieces[past - 1];
      const std::uint32_t from = pieces[first].chunk_offset;
      bundles.push_back({on, from, last.chunk_offset + last.bytes - from, first, count, listed[on]});
      listed[on] += count;
    }
    first = count == 0 ? first + 1 : past;
  }
  return bundles;
}

}  // namespace stillframe::capture
