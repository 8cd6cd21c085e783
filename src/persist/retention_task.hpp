// Retention applied to a store: facts -> plan -> removals. One caller per run at a time.
#pragma once

#include <string>
#include <vector>

#include "retention/policy.hpp"
#include "store/store.hpp"

namespace stillframe::persist {

// What retention must know of the published checkpoints of one run. A checkpoint whose manifest cannot be read belongs
// to no run: it is in no list and is never removed.
[[nodiscard]] Result<std::vector<retention::Fact>> facts(const store::Store& store, const std::string& run);

struct Removal {
  std::string name;
  std::string reason;
  Status outcome;  // busy: a reader holds it, and the next pass tries again
};

// Removes, oldest first, what the plan removes; one failure does not stop the others. invalid_argument for a policy
// that check() refuses, and then nothing is removed.
[[nodiscard]] Result<std::vector<Removal>> prune(const store::Store& store, const std::string& run,
                                                 const retention::Policy& policy);

}  // namespace stillframe::persist
