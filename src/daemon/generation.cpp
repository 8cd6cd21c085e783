#include "daemon/generation.hpp"

#include <algorithm>

namespace stillframe::daemon {
namespace {

bool same_group(const Seated& one, const protocol::Hello& hello) {
  return one.world_size == hello.world_size && one.group == hello.group;
}

Status in_the_way(const Seated& one, const protocol::Hello& hello) {
  const std::string place =
      one.world_size > 1 ? ", rank " + std::to_string(one.rank) + " of " + std::to_string(one.world_size) : "";
  return {Code::busy, "run '" + hello.run + "' of " + hello.store + " is being written by process " +
                          std::to_string(one.pid) + place + "; stop it, or give this one another name with run="};
}

// A living process that is neither this one come back nor of the generation that it belongs to.
const Seated* stranger(const std::vector<Seated>& sessions, const protocol::Hello& hello,
                       const std::optional<GroupId>& generation) {
  for (const Seated& one : sessions) {
    const bool own = one.pid == hello.pid && (hello.adopt || one.away);
    const bool fellow = generation && one.generation == *generation && one.rank != hello.rank;
    if (one.living && !own && !fellow) return &one;
  }
  return nullptr;
}

}  // namespace

Placement place_of(const std::vector<Seated>& sessions, const protocol::Hello& hello, const GroupId& brought) {
  Placement placement;
  if (hello.world_size == 0 || hello.world_size > kMostRanks || hello.rank >= hello.world_size) {
    placement.refused = {Code::invalid_argument, "rank " + std::to_string(hello.rank) + " of " +
                                                     std::to_string(hello.world_size) + ": a rank is below the size of "
                                                     "its group, which is 1 to " + std::to_string(kMostRanks)};
    return placement;
  }
  const auto own = std::find_if(sessions.begin(), sessions.end(), [&](const Seated& one) {
    const bool returns = hello.adopt || (one.away && !one.has_arena);
    return one.pid == hello.pid && one.rank == hello.rank && one.living && same_group(one, hello) && returns;
  });
  if (hello.world_size > 1) {
    if (hello.adopt) {
      placement.generation = brought;
    } else if (own != sessions.end()) {
      placement.generation = own->generation;
    } else if (!sessions.empty() && sessions.back().open && same_group(sessions.back(), hello)) {
      placement.generation = sessions.back().generation;
    }
  }
  if (const Seated* const other = stranger(sessions, hello, placement.generation)) {
    placement.refused = in_the_way(*other, hello);
  } else if (own != sessions.end()) {
    placement.replaces = static_cast<std::size_t>(own - sessions.begin());
  }
  return placement;
}

}  // namespace stillframe::daemon
