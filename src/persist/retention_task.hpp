// Retention applied to a store: facts -> plan -> removals. One caller per run at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "retention/plan.hpp"
#include "store/store.hpp"

namespace stillframe::persist {

// What retention must know of the published checkpoints of one run. A checkpoint whose manifest cannot be read belongs
// to no run: it is in no list and is never removed. Only heads of manifests are read.
[[nodiscard]] Result<std::vector<retention::Fact>> facts(const store::Store& store, const std::string& run);

// The figures that the limits of `policy` need; store_bytes is 0 where no limit asks for it.
[[nodiscard]] Result<retention::Space> space_of(const store::Store& store, const retention::Policy& policy,
                                                std::uint64_t needed_bytes);

// What prune() would do now, and why: the dry run. `needed_bytes` of a checkpoint about to be written; 0: none.
[[nodiscard]] Result<retention::Plan> plan_for(const store::Store& store, const std::string& run,
                                               const retention::Policy& policy, std::int64_t now_unix_seconds,
                                               std::uint64_t needed_bytes = 0);

struct Removal {
  std::string name;
  std::uint64_t stored_bytes = 0;
  std::string reason;
  Status outcome;    // ok: it is gone. busy: a reader holds it, or it was pinned meanwhile; the next pass tries again
  Status leftovers;  // of one that is gone: which file could not be unlinked; it goes at the next start
};

// Free space that removals have made and the file system does not show yet: some count freed blocks only with their next
// transaction. While it is awaited, no further checkpoint is removed for it. Not thread-safe.
class AwaitedSpace {
 public:
  // The free bytes to plan with, where the file system shows so many.
  [[nodiscard]] std::uint64_t expected_bytes(std::uint64_t shown_bytes);
  // `bytes` more than that are to come, within a minute.
  void add(std::uint64_t expected_bytes, std::uint64_t bytes);

 private:
  std::uint64_t free_bytes_ = 0;
  std::optional<base::Deadline> until_;
};

// Removes, oldest first, what the plan removes; one failure does not stop the others. invalid_argument for a policy
// that check() refuses, and then nothing is removed.
[[nodiscard]] Result<std::vector<Removal>> prune(const store::Store& store, const std::string& run,
                                                 const retention::Policy& policy, std::int64_t now_unix_seconds,
                                                 AwaitedSpace* awaited = nullptr);

struct Pruned {
  retention::Plan plan;
  std::vector<Removal> removals;  // one for each decision of the plan that does not keep, oldest first
};
// prune(), with the plan that it carried out: what is said of a checkpoint is what was decided and done.
[[nodiscard]] Result<Pruned> prune_with_plan(const store::Store& store, const std::string& run,
                                             const retention::Policy& policy, std::int64_t now_unix_seconds,
                                             AwaitedSpace* awaited = nullptr);

// Before a checkpoint of at most `needed_bytes` is written: ok when it fits the policy's limits, if need be after
// removing what the policy allows to go. no_space, with every figure, when it does not; then nothing beyond the rules
// was removed, but for checkpoints whose removal a reader held up. `awaited` lives from call to call; `make_way` is called
// once where a reader is in the way, which may be our own scrub: then the same removal is tried again before a newer one.
[[nodiscard]] Status ensure_room(const store::Store& store, const std::string& run, const retention::Policy& policy,
                                 std::uint64_t needed_bytes, std::int64_t now_unix_seconds,
                                 AwaitedSpace* awaited = nullptr, std::function<void()> make_way = {});

}  // namespace stillframe::persist
