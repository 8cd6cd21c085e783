// Which generation of a run's group a trainer joins. Pure. A generation is the set of processes, one for each rank, that
// train together; a restart begins another, once every process of the one before has ended.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "persist/group_commit.hpp"
#include "protocol/messages.hpp"

namespace stillframe::daemon {

using GroupId = persist::GroupCommit::Id;

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
  bool has_arena = false;
  bool open = false;       // its generation may still be joined: nobody of it has ended
  GroupId generation{};    // of a trainer alone: zeros
};

struct Placement {
  Status refused;                         // busy: who is in the way, or invalid_argument
  std::optional<GroupId> generation;      // to join; none: a new one, or a trainer alone
  std::optional<std::size_t> replaces;    // this session of the same process, in the same place
};

// `sessions`: of the run, oldest first. `brought`: the generation that stands in the arena of a trainer that adopts.
[[nodiscard]] Placement place_of(const std::vector<Seated>& sessions, const protocol::Hello& hello, const GroupId& brought);

}  // namespace stillframe::daemon
