// Which generation of a run's group a trainer joins. Pure. A generation is the set of processes, one for each rank,
// that train together; a restart begins another, once every process of the one before has ended.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "protocol/messages.hpp"

namespace stillframe::daemon {

// More than any node has devices; a bound for what one message makes the daemon allocate.
inline constexpr std::uint32_t kMostRanks = 1024;

// A session of the run.
struct Seated {
  std::string group;
  std::uint32_t rank = 0;
  std::uint32_t world_size = 1;
  std::int64_t pid = 0;
  bool living = true;
  bool away = false;       // its line broke
  bool open = false;       // its generation may still be joined: nobody of it has ended
  std::string generation;  // of a trainer alone: empty
  bool rebuilt = false;    // its generation: from what its ranks said after a daemon's death; joined by its id only
  bool has_arena = false;
};

struct Placement {
  Status refused;          // busy: who is in the way, or invalid_argument
  std::string generation;  // to join; empty: a new one, or a trainer alone
};

// The process of the session opens the same place anew, without the memory it had: what it captured before is not the
// new one's, so the old place ends, and its generation with it.
[[nodiscard]] bool begins_anew(const Seated& one, const protocol::Hello& hello);

// `sessions`: of the run, oldest first. invalid_argument also for a generation of another group or size.
[[nodiscard]] Placement place_of(const std::vector<Seated>& sessions, const protocol::Hello& hello);

}  // namespace stillframe::daemon
