// Which checkpoints stay: policy + facts -> plan with reasons. Pure; no clock, no file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "stillframe/status.hpp"

namespace stillframe::retention {

struct Policy {
  // The newest n durable checkpoints of the run stay. 0 is refused by check(): it never means "delete all".
  std::uint32_t keep_last = 3;
};

// invalid_argument with the field and what was expected.
[[nodiscard]] Status check(const Policy& policy);

struct Fact {
  std::uint64_t sequence = 0;
  std::string name;
  std::int64_t step = 0;
  bool verified = false;
  bool bad = false;  // marked bad: never fills a place
  bool pinned = false;
};

struct Decision {
  std::uint64_t sequence = 0;
  std::string name;
  bool keep = true;
  std::vector<std::string> reasons;  // at least one
};

// One decision per fact, by descending sequence. Invariants: the newest verified and every pinned one stay; nothing is
// removed while no checkpoint newer than it is verified; bad ones are removed only when a newer verified one stands.
[[nodiscard]] std::vector<Decision> plan(const Policy& policy, std::vector<Fact> facts);

}  // namespace stillframe::retention
