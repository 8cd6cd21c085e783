// Which generation of a run's group a trainer joins. Pure. A generation is the set of processes, one for each rank, that
// train together; a restart begins another, once every process of the one before has ended.
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
};

struct Placement {
  Status refused;                         // busy: who is in the way, or invalid_argument
  std::string generation;                 // to join; empty: a new one, or a trainer alone
};

// `sessions`: of the run, oldest first.
[[nodiscard]] Placement place_of(const std::vector<Seated>& sessions, const protocol::Hello& hello);

}  // namespace stillframe::daemon
