#include "retention/policy.hpp"

#include <algorithm>
#include <optional>

namespace stillframe::retention {
namespace {

// Facts by descending sequence, judged from the newest on.
class Planner {
 public:
  explicit Planner(const Policy& policy) : policy_(policy) {}

  Decision decide(Fact fact) {
    Decision decision{fact.sequence, std::move(fact.name), true, {}};
    const bool newest_verified = fact.verified && !fact.bad && !verified_above_;
    if (fact.pinned) decision.reasons.push_back("pinned");
    if (newest_verified) decision.reasons.push_back("the newest verified checkpoint");
    if (!fact.bad && places_taken_ < policy_.keep_last) {
      ++places_taken_;
      decision.reasons.push_back("number " + std::to_string(places_taken_) +
                                 " of keep_last = " + std::to_string(policy_.keep_last));
    }
    if (!verified_above_ && decision.reasons.empty()) {
      decision.reasons.push_back("no newer checkpoint is verified yet");
    }
    if (decision.reasons.empty()) {
      decision.keep = false;
      decision.reasons.push_back(
          (fact.bad ? "marked bad; " : "beyond keep_last = " + std::to_string(policy_.keep_last) + "; ") +
          ("'" + *verified_above_ + "' is newer and verified"));
    }
    if (newest_verified) verified_above_ = decision.name;
    return decision;
  }

 private:
  const Policy& policy_;
  std::uint32_t places_taken_ = 0;
  std::optional<std::string> verified_above_;  // the newest verified one, once passed
};

}  // namespace

Status check(const Policy& policy) {
  if (policy.keep_last >= 1) return Status();
  return Status(
      Code::invalid_argument,
      "keep_last is 0; expected at least 1. It is the number of newest checkpoints that stay, and 0 never means "
      "\"delete all\": nothing was removed");
}

std::vector<Decision> plan(const Policy& policy, std::vector<Fact> facts) {
  std::sort(facts.begin(), facts.end(), [](const Fact& a, const Fact& b) { return a.sequence > b.sequence; });
  std::vector<Decision> decisions;
  decisions.reserve(facts.size());
  const Status usable = check(policy);
  Planner planner(policy);
  for (Fact& fact : facts) {
    if (usable.ok()) {
      decisions.push_back(planner.decide(std::move(fact)));
    } else {
      decisions.push_back({fact.sequence, std::move(fact.name), true, {"the policy is refused: " + usable.message()}});
    }
  }
  return decisions;
}

}  // namespace stillframe::retention
