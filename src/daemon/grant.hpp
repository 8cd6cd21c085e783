// How much memory a trainer's arena gets. Pure.
#pragma once

#include <cstdint>

#include "arena/arena.hpp"
#include "stillframe/status.hpp"

namespace stillframe::daemon {

struct ArenaWish {
  std::uint64_t image_bytes = 0;
  std::uint64_t descriptor_bytes = 0;
  std::uint64_t slots = 0;            // the arena's, fixed when it was made; 0: not made yet
  std::uint64_t committed_slots = 0;  // never given back while the trainer lives
  bool rare_persist = false;          // some snapshots are kept in memory only: needs room for two images
};
struct ArenaGrant {
  std::uint64_t slots = 0;
  std::uint64_t committed_slots = 0;
  arena::Mode mode = arena::Mode::none;
};

// `budget_bytes`: the trainer's hard limit. `free_bytes`: what the daemon's own budget leaves beyond what this arena has.
// Grants room for two images where that fits, for one where not, else a ring; no_space with the figures when not even that.
// With rare_persist: invalid_argument with the figures where two do not fit.
[[nodiscard]] Result<ArenaGrant> decide_grant(const ArenaWish& wish, std::uint64_t budget_bytes, std::uint64_t free_bytes);

}  // namespace stillframe::daemon
