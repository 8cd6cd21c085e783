#include "daemon/generation.hpp"

#include <algorithm>
#include <utility>

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

// By its id it knows which it belongs to; without one, the newest that still forms.
std::string generation_of(const std::vector<Seated>& sessions, const protocol::Hello& hello) {
  if (hello.world_size == 1) return {};
  if (!hello.generation.empty() || sessions.empty()) return hello.generation;
  const Seated& newest = sessions.back();
  const bool forms = newest.open && !newest.rebuilt && same_group(newest, hello);
  const bool left = std::ranges::any_of(
      sessions, [&](const Seated& one) { return one.generation == newest.generation && begins_anew(one, hello); });
  return forms && !left ? newest.generation : std::string();
}

Placement refused(Code code, std::string text) { return {Status(code, std::move(text)), ""}; }

}  // namespace

// One that only lost its line says its generation again; without memory it had captured nothing.
bool begins_anew(const Seated& one, const protocol::Hello& hello) {
  const bool same_place =
      hello.world_size > 1 && one.pid == hello.pid && one.rank == hello.rank && same_group(one, hello);
  return same_place && one.away && one.has_arena && !hello.adopt && hello.generation.empty();
}

Placement place_of(const std::vector<Seated>& sessions, const protocol::Hello& hello) {
  if (hello.world_size == 0 || hello.world_size > kMostRanks || hello.rank >= hello.world_size) {
    return refused(Code::invalid_argument,
                   "rank " + std::to_string(hello.rank) + " of " + std::to_string(hello.world_size) +
                       ": a rank is below the size of its group, which is 1 to " + std::to_string(kMostRanks));
  }
  Placement placement{{}, generation_of(sessions, hello)};
  for (const Seated& one : sessions) {
    const bool together = !one.generation.empty() && one.generation == placement.generation;
    if (together && !same_group(one, hello)) {
      return refused(Code::invalid_argument, "the generation that rank " + std::to_string(hello.rank) +
                                                 " names is of group '" + one.group + "' with " +
                                                 std::to_string(one.world_size) + " ranks");
    }
    const bool fellow = together && one.rank != hello.rank;
    if (!one.living || fellow || is_own(one, hello)) continue;
    return {in_the_way(one, hello), ""};
  }
  return placement;
}

}  // namespace stillframe::daemon
