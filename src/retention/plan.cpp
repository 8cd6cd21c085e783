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
      : policy_(policy), now_(now_unix_seconds), left_(std::move(newest_first)) {
    for (const Fact& fact : left_) {
      decision_of_.push_back(plan_.decisions.size());
      plan_.decisions.push_back({fact.sequence, fact.name, fact.step, fact.stored_bytes, true, {}});
    }
    settle();
  }

  void reach(const Shortage& shortage) {
    std::uint64_t spare = 0;  // what limits may take beyond the rules
    for (std::size_t i = 0; i < left_.size(); ++i) {
      if (may_thin(i)) spare = capped_sum(spare, left_[i].stored_bytes);
    }
    plan_.missing_bytes = excess(excess(shortage.bytes, freed_), spare);
    if (plan_.missing_bytes != 0) return;
    for (std::size_t i = left_.size(); i-- > 0 && freed_ < shortage.bytes;) {
      if (!may_thin(i)) continue;
      std::string otherwise;
      for (const std::string& keep : judged_[i].keeps) otherwise += (otherwise.empty() ? "" : ", ") + keep;
      remove(i, joined({shortage.reason}, joined(judged_[i].misses, {"else it would stay: " + otherwise})));
    }
    settle();
  }

  Plan take() {
    for (std::size_t i = 0; i < left_.size(); ++i) {
      plan_.decisions[decision_of_[i]].reasons = joined(judged_[i].protections, judged_[i].keeps);
    }
    return std::move(plan_);
  }

 private:
  [[nodiscard]] bool may_thin(std::size_t i) const {
    return judged_[i].protections.empty() && left_[i].stored_bytes != 0;
  }

  void remove(std::size_t i, std::vector<std::string> reasons) {
    Decision& decision = plan_.decisions[decision_of_[i]];
    decision.keep = false;
    decision.reasons = std::move(reasons);
    freed_ = capped_sum(freed_, left_[i].stored_bytes);
    const auto at = static_cast<std::ptrdiff_t>(i);
    left_.erase(left_.begin() + at);
    judged_.erase(judged_.begin() + at);
    decision_of_.erase(decision_of_.begin() + at);
  }

  // Until the rules keep all that is left: what a limit has taken may have been what a rule kept another one for, and a
  // second pass over the store must find nothing more to do.
  void settle() {
    for (bool changed = true; changed;) {
      changed = false;
      judged_ = judge(policy_, left_, now_);
      for (std::size_t i = left_.size(); i-- > 0;) {
        if (judged_[i].kept()) continue;
        remove(i, judged_[i].misses);
        changed = true;
      }
    }
  }

  const Policy& policy_;
  const std::int64_t now_;
  std::vector<Fact> left_;  // newest first; what stays, as far as is decided
  std::vector<Judgement> judged_;
  std::vector<std::size_t> decision_of_;
  std::uint64_t freed_ = 0;
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

std::uint64_t shortage_bytes(const Policy& policy, const Space& space) { return shortage_of(policy, space).bytes; }

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
