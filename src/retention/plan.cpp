#include "retention/plan.hpp"

#include <algorithm>
#include <limits>

#include "base/bytes.hpp"
#include "retention/rules.hpp"

namespace stillframe::retention {
namespace {

constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();

std::uint64_t capped_sum(std::uint64_t a, std::uint64_t b) { return base::checked_add(a, b).value_or(kMost); }
std::uint64_t excess(std::uint64_t of, std::uint64_t over) { return of > over ? of - over : 0; }

// What must go so that every limit holds, and the limits that do not, with their figures.
struct Shortage {
  std::uint64_t bytes = 0;
  std::string reason;
};

Shortage shortage_of(const Policy& policy, const Space& space) {
  Shortage found;
  const auto add = [&](std::uint64_t bytes, const std::string& reason) {
    if (bytes == 0) return;
    found.bytes = std::max(found.bytes, bytes);
    found.reason += (found.reason.empty() ? "" : "; ") + reason;
  };
  const std::string needed =
      space.needed_bytes == 0 ? "" : " and the next checkpoint needs " + base::human_bytes(space.needed_bytes);
  if (policy.max_bytes != 0) {
    add(excess(capped_sum(space.store_bytes, space.needed_bytes), policy.max_bytes),
        "max_bytes = " + base::human_bytes(policy.max_bytes) + ": the store takes " +
            base::human_bytes(space.store_bytes) + needed);
  }
  add(excess(capped_sum(space.needed_bytes, policy.min_free_bytes), space.free_bytes),
      "min_free_bytes = " + base::human_bytes(policy.min_free_bytes) + ": the file system has " +
          base::human_bytes(space.free_bytes) + " free" + needed);
  return found;
}

std::vector<std::string> joined(std::vector<std::string> first, const std::vector<std::string>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

class Planner {
 public:
  Planner(const Policy& policy, std::vector<Fact> newest_first, std::int64_t now_unix_seconds)
      : facts_(std::move(newest_first)), judged_(judge(policy, facts_, now_unix_seconds)) {
    for (std::size_t i = 0; i < facts_.size(); ++i) {
      const Fact& fact = facts_[i];
      const Judgement& mine = judged_[i];
      plan_.decisions.push_back({fact.sequence, fact.name, fact.step, fact.stored_bytes, mine.kept(),
                                 mine.kept() ? joined(mine.protections, mine.keeps) : mine.misses});
    }
  }

  void reach(const Shortage& shortage) {
    std::uint64_t freed = 0;
    std::uint64_t spare = 0;  // what limits may take beyond the rules
    for (std::size_t i = 0; i < facts_.size(); ++i) {
      if (!plan_.decisions[i].keep) freed = capped_sum(freed, facts_[i].stored_bytes);
      if (may_thin(i)) spare = capped_sum(spare, facts_[i].stored_bytes);
    }
    plan_.missing_bytes = excess(excess(shortage.bytes, freed), spare);
    if (plan_.missing_bytes != 0) return;
    for (std::size_t i = facts_.size(); i-- > 0 && freed < shortage.bytes;) {
      if (!may_thin(i)) continue;
      thin(i, shortage.reason);
      freed = capped_sum(freed, facts_[i].stored_bytes);
    }
  }

  Plan take() { return std::move(plan_); }

 private:
  [[nodiscard]] bool may_thin(std::size_t i) const {
    return plan_.decisions[i].keep && judged_[i].protections.empty() && facts_[i].stored_bytes != 0;
  }

  void thin(std::size_t i, const std::string& reason) {
    std::string otherwise;
    for (const std::string& keep : judged_[i].keeps) otherwise += (otherwise.empty() ? "" : ", ") + keep;
    plan_.decisions[i].keep = false;
    plan_.decisions[i].reasons = joined({reason}, judged_[i].misses);
    plan_.decisions[i].reasons.push_back("else it would stay: " + otherwise);
  }

  const std::vector<Fact> facts_;
  const std::vector<Judgement> judged_;
  Plan plan_;
};

Plan keep_all(const std::vector<Fact>& newest_first, const std::string& reason) {
  Plan plan;
  for (const Fact& fact : newest_first) {
    plan.decisions.push_back({fact.sequence, fact.name, fact.step, fact.stored_bytes, true, {reason}});
  }
  return plan;
}

}  // namespace

Plan plan(const Policy& policy, std::vector<Fact> facts, std::int64_t now_unix_seconds,
          const std::optional<Space>& space) {
  std::ranges::sort(facts, [](const Fact& a, const Fact& b) {
    return a.sequence != b.sequence ? a.sequence > b.sequence : a.name > b.name;
  });
  const Shortage shortage = space ? shortage_of(policy, *space) : Shortage{};
  if (const Status usable = check(policy); !usable.ok()) {
    Plan nothing = keep_all(facts, "the policy is refused: " + usable.message());
    nothing.missing_bytes = shortage.bytes;
    return nothing;
  }
  Planner planner(policy, std::move(facts), now_unix_seconds);
  planner.reach(shortage);
  return planner.take();
}

}  // namespace stillframe::retention
