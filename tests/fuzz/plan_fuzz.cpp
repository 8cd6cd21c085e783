// The retention plan: a policy and facts out of the input's numbers, and the promises that no policy may break.
#include <algorithm>
#include <cmath>
#include <limits>

#include "harness.hpp"
#include "retention/plan.hpp"

namespace stillframe::fuzz {
namespace {

using retention::Decision;
using retention::Fact;

constexpr std::size_t kMostFacts = 24;

retention::Policy policy_from(Input& input) {
  retention::Policy policy;
  policy.keep_last = static_cast<std::uint32_t>(input.byte() % 8U);  // 0 is refused, and then nothing may go
  policy.min_verified = 1 + input.byte() % 4U;
  policy.keep_every_steps = input.byte() % 16U;
  policy.keep_every_seconds = input.number(2);
  policy.keep_for_seconds = input.number(2);
  policy.max_bytes = input.byte() % 32U * 8U;
  policy.min_free_bytes = input.byte();
  for (std::uint8_t left = input.byte() % 4U; left > 0; --left) {
    const std::uint8_t rule = input.byte();
    policy.keep_best.push_back({(rule & 1U) != 0 ? "loss" : "accuracy", (rule & 2U) != 0, 1U + (rule >> 4U) % 3U});
  }
  for (std::uint8_t left = input.byte() % 4U; left > 0; --left) {
    policy.keep_steps.push_back(static_cast<std::int8_t>(input.byte()));
  }
  return policy;
}

double value_from(std::uint8_t byte) {
  if (byte == 0xFF) return std::numeric_limits<double>::quiet_NaN();
  if (byte == 0xFE) return std::numeric_limits<double>::infinity();
  if (byte == 0xFD) return -std::numeric_limits<double>::infinity();
  return byte % 8U / 4.0;
}

std::vector<Fact> facts_from(Input& input) {
  std::vector<Fact> facts;
  std::uint64_t sequence = 0;
  while (!input.empty() && facts.size() < kMostFacts) {
    Fact fact;
    const std::uint8_t flags = input.byte();
    sequence += 1 + flags / 128U;
    fact.sequence = sequence;
    fact.name = std::to_string(sequence);
    fact.verified = (flags & 1U) != 0;
    fact.bad = (flags & 2U) != 0;
    fact.pinned = (flags & 12U) == 12U;
    fact.step = static_cast<std::int8_t>(input.byte());
    fact.created_unix_seconds = static_cast<std::int16_t>(input.number(2));
    fact.stored_bytes = input.byte() % 64U;
    if ((flags & 16U) != 0) fact.metrics["loss"] = value_from(input.byte());
    if ((flags & 32U) != 0) fact.metrics["accuracy"] = value_from(input.byte());
    facts.push_back(std::move(fact));
  }
  if (facts.size() % 3 == 1) std::reverse(facts.begin(), facts.end());  // the order of the facts means nothing
  return facts;
}

const Decision& decision_of(const retention::Plan& plan, const Fact& fact) {
  const auto found = std::ranges::find(plan.decisions, fact.sequence, &Decision::sequence);
  require(found != plan.decisions.end(), "a checkpoint without a decision");
  return *found;
}

void check_shape(const retention::Plan& plan, const std::vector<Fact>& facts) {
  require(plan.decisions.size() == facts.size(), "not one decision per checkpoint");
  require(std::ranges::is_sorted(plan.decisions, std::ranges::greater{}, &Decision::sequence), "not newest first");
  for (const Decision& decision : plan.decisions) require(!decision.reasons.empty(), "a decision without a reason");
}

bool is_good(const Fact& fact) { return fact.verified && !fact.bad; }

void check_promises(const retention::Policy& policy, const retention::Plan& plan, const std::vector<Fact>& facts) {
  std::uint64_t newest = 0;
  for (const Fact& fact : facts) newest = std::max(newest, fact.bad ? 0 : fact.sequence);
  for (const Fact& fact : facts) {
    if (decision_of(plan, fact).keep) continue;
    require(!fact.pinned, "a pinned checkpoint goes");
    require(fact.sequence != newest, "the newest checkpoint goes");
    std::size_t newer = 0;
    for (const Fact& other : facts) newer += is_good(other) && other.sequence > fact.sequence ? 1U : 0U;
    require(newer >= 1, "a checkpoint goes while none newer is verified");
    require(!is_good(fact) || newer >= policy.min_verified, "one of the newest verified checkpoints goes");
  }
}

void check_best_stay(const retention::Policy& policy, const retention::Plan& plan, const std::vector<Fact>& facts) {
  for (const BestRule& rule : policy.keep_best) {
    double best = std::numeric_limits<double>::quiet_NaN();
    bool stays = true;
    for (const Fact& fact : facts) {
      const auto metric = fact.metrics.find(rule.metric);
      if (fact.bad || metric == fact.metrics.end() || !std::isfinite(metric->second)) continue;
      const bool better = rule.highest ? metric->second > best : metric->second < best;
      if (std::isnan(best) || better) stays = false;
      if (std::isnan(best) || better || metric->second == best) {
        best = metric->second;
        stays = stays || decision_of(plan, fact).keep;
      }
    }
    require(stays, "the best checkpoint goes");
  }
}

std::uint64_t removed_bytes(const retention::Plan& plan) {
  std::uint64_t bytes = 0;
  for (const Decision& decision : plan.decisions) bytes += decision.keep ? 0 : decision.stored_bytes;
  return bytes;
}

// Doing it again, on what is left, changes nothing.
void check_settled(const retention::Policy& policy, const retention::Plan& first, std::vector<Fact> facts,
                   std::int64_t now, std::optional<retention::Space> space) {
  const std::uint64_t freed = removed_bytes(first);
  std::erase_if(facts, [&](const Fact& fact) { return !decision_of(first, fact).keep; });
  if (space) {
    space->store_bytes -= std::min(space->store_bytes, freed);
    space->free_bytes += freed;
  }
  const auto second = retention::plan(policy, facts, now, space);
  require(removed_bytes(second) == 0 && std::ranges::all_of(second.decisions, &Decision::keep),
          "a second pass removes what the first one kept");
}

}  // namespace
}  // namespace stillframe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stillframe;
  fuzz::Input input(data, size);
  const retention::Policy policy = fuzz::policy_from(input);
  const auto now = static_cast<std::int64_t>(input.number(2));
  std::optional<retention::Space> space;
  if (input.byte() % 2 == 1) space = retention::Space{0, input.number(2), input.byte()};
  const auto facts = fuzz::facts_from(input);
  if (space) {
    for (const auto& fact : facts) space->store_bytes += fact.stored_bytes;
  }

  const auto plan = retention::plan(policy, facts, now, space);
  fuzz::check_shape(plan, facts);
  if (!retention::check(policy).ok()) {
    fuzz::require(std::ranges::all_of(plan.decisions, &retention::Decision::keep), "a refused policy removes");
    return 0;
  }
  fuzz::require(space || plan.missing_bytes == 0, "a limit was looked at without figures");
  fuzz::check_promises(policy, plan, facts);
  fuzz::check_best_stay(policy, plan, facts);
  fuzz::check_settled(policy, plan, facts, now, space);
  return 0;
}
