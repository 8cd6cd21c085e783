// The name of one state of the crash suite, from which it can be made again.
//
//   commit:n=17:survivor=3:seed=1          the process dies in its 17th change; of what was not synced, survivor 3
//   commit:n=17.4.2:survivor=0.3.1:seed=1  killed in its 17th change (survivor 0: the disk lives on), then the next one
//                                          in the 4th of its start, with a power loss, then the third in the 2nd of its
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "stillframe/status.hpp"

namespace stillframe::test {

struct Crash {
  std::uint64_t n = 0;         // the change in which it comes
  std::uint64_t survivor = 0;  // 0: a kill, nothing is lost; 1: only what was synced is left; 2: everything; then drawn
};

struct StateId {
  std::string scenario;
  std::uint64_t seed = 0;
  std::vector<Crash> crashes;  // one after the other
};

[[nodiscard]] std::string to_string(const StateId& id);
// invalid_argument with what was expected.
[[nodiscard]] Result<StateId> parse_state_id(std::string_view text);

}  // namespace stillframe::test
