#include "daemon/generation.hpp"

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

// Comes back to its own place: with its arena, or on a new line after the old one broke.
bool is_own(const Seated& one, const protocol::Hello& hello) {
  return one.pid == hello.pid && one.rank == hello.rank && (hello.adopt || one.away);
}

}  // namespace

Placement place_of(const std::vector<Seated>& sessions, const protocol::Hello& hello) {
  Placement placement;
  if (hello.world_size == 0 || hello.world_size > kMostRanks || hello.rank >= hello.world_size) {
    placement.refused = {Code::invalid_argument, "rank " + std::to_string(hello.rank) + " of " +
                                                     std::to_string(hello.world_size) + ": a rank is below the size of "
                                                     "its group, which is 1 to " + std::to_string(kMostRanks)};
    return placement;
  }
  if (hello.world_size > 1 && !hello.generation.empty()) {
    placement.generation = hello.generation;
  } else if (hello.world_size > 1 && !sessions.empty() && sessions.back().open && same_group(sessions.back(), hello)) {
    placement.generation = sessions.back().generation;
  }
  for (const Seated& one : sessions) {
    const bool together = !one.generation.empty() && one.generation == placement.generation;
    const bool fellow = together && one.rank != hello.rank;
    if (!one.living || fellow || is_own(one, hello)) continue;
    placement.refused = in_the_way(one, hello);
    return placement;
  }
  return placement;
}

}  // namespace stillframe::daemon
