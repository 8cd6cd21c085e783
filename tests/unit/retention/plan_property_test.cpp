// What holds for every policy and every history: thousands of random ones, each named by its seed.
#include <cmath>
#include <limits>
#include <map>
#include <random>

#include "unit/retention/facts.hpp"

namespace stillframe::retention {
namespace {

constexpr int kSeeds = 2000;

class Scenario {
 public:
  explicit Scenario(std::uint64_t seed) : random_(seed) {
    make_policy();
    make_facts();
    now = now_ + between(-1000, 1000);
    for (const Fact& fact : facts) held_ += fact.stored_bytes;
    space = {static_cast<std::uint64_t>(held_) + static_cast<std::uint64_t>(between(0, 500)),
             static_cast<std::uint64_t>(between(0, 2000)),
             chance(50) ? 0U : static_cast<std::uint64_t>(between(0, 500))};
  }

  Policy policy;
  std::vector<Fact> facts;  // in no order
  std::int64_t now = 0;
  Space space;

 private:
  std::int64_t between(std::int64_t least, std::int64_t most) {
    return std::uniform_int_distribution<std::int64_t>(least, most)(random_);
  }
  bool chance(int percent) { return between(1, 100) <= percent; }

  void make_policy() {
    policy.keep_last = static_cast<std::uint32_t>(between(1, 4));
    policy.min_verified = static_cast<std::uint32_t>(between(1, 3));
    policy.min_free_bytes = chance(50) ? 0U : static_cast<std::uint64_t>(between(0, 1500));
    if (chance(50)) policy.max_bytes = static_cast<std::uint64_t>(between(1, 3000));
    if (chance(40)) policy.keep_every_steps = static_cast<std::uint64_t>(between(1, 50));
    if (chance(40)) policy.keep_every_seconds = static_cast<std::uint64_t>(between(1, 200));
    if (chance(40)) policy.keep_for_seconds = static_cast<std::uint64_t>(between(1, 500));
    for (const char* metric : {"loss", "accuracy"}) {
      if (chance(30)) policy.keep_best.push_back({metric, chance(50), static_cast<std::uint32_t>(between(1, 3))});
    }
    while (chance(30)) policy.keep_steps.push_back(between(-20, 200));
  }

  void make_facts() {
    std::uint64_t sequence = 0;
    std::int64_t step = between(-30, 30);
    for (std::int64_t left = between(0, 25); left > 0; --left) {
      sequence += static_cast<std::uint64_t>(between(1, 3));
      step = chance(10) ? between(-30, 60) : step + between(0, 30);             // a run started again
      now_ = chance(10) ? now_ + between(-5000, 5000) : now_ + between(0, 60);  // a clock that jumps or stands still
      Fact fact;
      fact.sequence = sequence;
      fact.name = "c" + std::to_string(sequence);
      fact.step = step;
      fact.created_unix_seconds = now_;
      fact.verified = chance(70);
      fact.bad = chance(15);
      fact.pinned = chance(8);
      fact.stored_bytes = chance(10) ? 0U : static_cast<std::uint64_t>(between(1, 300));
      for (const char* metric : {"loss", "accuracy"}) {
        if (chance(75)) fact.metrics[metric] = value();
      }
      facts.push_back(std::move(fact));
    }
    std::ranges::shuffle(facts, random_);
  }

  double value() {
    if (chance(10)) return std::numeric_limits<double>::quiet_NaN();
    if (chance(10)) return chance(50) ? INFINITY : -INFINITY;
    return static_cast<double>(between(0, 9));  // equals are common
  }

  std::mt19937_64 random_;
  std::int64_t now_ = 100'000;
  std::uint64_t held_ = 0;
};

std::map<std::uint64_t, Decision> by_sequence(const Plan& plan) {
  std::map<std::uint64_t, Decision> found;
  for (const Decision& decision : plan.decisions) found[decision.sequence] = decision;
  return found;
}

std::vector<Fact> survivors(const Scenario& of, const Plan& plan) {
  const auto decided = by_sequence(plan);
  std::vector<Fact> left;
  for (const Fact& fact : of.facts) {
    if (decided.at(fact.sequence).keep) left.push_back(fact);
  }
  return left;
}

std::uint64_t bytes_of(const std::vector<Fact>& facts) {
  std::uint64_t sum = 0;
  for (const Fact& fact : facts) sum += fact.stored_bytes;
  return sum;
}

template <typename Check>
void for_every_seed(Check check) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Scenario scenario(seed);
    check(scenario, plan(scenario.policy, scenario.facts, scenario.now, scenario.space));
    if (testing::Test::HasFailure()) return;
  }
}

std::vector<Fact> newest_first(std::vector<Fact> facts) {
  std::ranges::sort(facts, std::greater(), &Fact::sequence);
  return facts;
}

TEST(EveryPlan, DecidesEachOnceNewestFirstWithAReason) {
  for_every_seed([](const Scenario& scenario, const Plan& plan) {
    const auto expected = newest_first(scenario.facts);
    ASSERT_EQ(plan.decisions.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(plan.decisions[i].sequence, expected[i].sequence);
      EXPECT_EQ(plan.decisions[i].name, expected[i].name);
      EXPECT_EQ(plan.decisions[i].step, expected[i].step);
      EXPECT_EQ(plan.decisions[i].stored_bytes, expected[i].stored_bytes);
      EXPECT_FALSE(plan.decisions[i].reasons.empty());
    }
  });
}

TEST(EveryPlan, KeepsTheNewestThePinnedAndTheNewestVerified) {
  for_every_seed([](const Scenario& scenario, const Plan& plan) {
    const auto decided = by_sequence(plan);
    std::uint32_t verified = 0;
    for (const Fact& fact : newest_first(scenario.facts)) {
      const bool due = fact.verified && !fact.bad && verified < scenario.policy.min_verified;
      if (fact.verified && !fact.bad) ++verified;
      const bool newest = plan.decisions.front().sequence == fact.sequence;
      EXPECT_TRUE(!(due || newest || fact.pinned) || decided.at(fact.sequence).keep) << fact.name;
    }
  });
}

TEST(EveryPlan, RemovesNothingThatNoNewerVerifiedOneThatStaysStandsFor) {
  for_every_seed([](const Scenario& scenario, const Plan& plan) {
    const auto decided = by_sequence(plan);
    bool stands = false;
    for (const Fact& fact : newest_first(scenario.facts)) {
      EXPECT_TRUE(stands || decided.at(fact.sequence).keep) << fact.name;
      stands = stands || (fact.verified && !fact.bad && decided.at(fact.sequence).keep);
    }
  });
}

TEST(EveryPlan, KeepsTheBestOfEachMetric) {
  for_every_seed([](const Scenario& scenario, const Plan& plan) {
    const auto decided = by_sequence(plan);
    for (const BestRule& rule : scenario.policy.keep_best) {
      const auto value = [&](const Fact& fact) {
        const auto found = fact.metrics.find(rule.metric);
        return found == fact.metrics.end() || fact.bad ? NAN : found->second;
      };
      for (const Fact& fact : scenario.facts) {
        if (!std::isfinite(value(fact))) continue;
        const auto better = std::ranges::count_if(scenario.facts, [&](const Fact& other) {
          if (!std::isfinite(value(other))) return false;
          if (value(other) == value(fact)) return other.sequence > fact.sequence;
          return rule.highest ? value(other) > value(fact) : value(other) < value(fact);
        });
        EXPECT_TRUE(better >= rule.count || decided.at(fact.sequence).keep) << fact.name;
      }
    }
  });
}

TEST(EveryPlan, BadOnesFillNoPlace) {
  for_every_seed([](const Scenario& scenario, const Plan&) {
    const auto rules_of = [&](std::vector<Fact> facts) {
      return by_sequence(plan(scenario.policy, std::move(facts), scenario.now, std::nullopt));
    };
    std::vector<Fact> good = newest_first(scenario.facts);
    if (good.empty() || good.front().bad) return;  // the newest is the clock of keep_for_seconds, bad or not
    std::erase_if(good, [](const Fact& fact) { return fact.bad; });
    const auto with = rules_of(scenario.facts);
    const auto without = rules_of(good);
    for (const Fact& fact : good) EXPECT_EQ(with.at(fact.sequence).keep, without.at(fact.sequence).keep) << fact.name;
  });
}

TEST(EveryPlan, AppliedTwiceRemovesNothingMore) {
  for_every_seed([](const Scenario& scenario, const Plan&) {
    const Plan first = plan(scenario.policy, scenario.facts, scenario.now, std::nullopt);
    const Plan second = plan(scenario.policy, survivors(scenario, first), scenario.now, std::nullopt);
    for (const Decision& decision : second.decisions) EXPECT_TRUE(decision.keep) << decision.name;
  });
}

TEST(EveryPlan, CutOffAnywhereEndsTheSameWhenItIsMadeAgain) {
  for_every_seed([](const Scenario& scenario, const Plan&) {
    const Plan whole = plan(scenario.policy, scenario.facts, scenario.now, std::nullopt);
    std::mt19937_64 random(scenario.facts.size() * 7919 + static_cast<std::uint64_t>(scenario.now));
    const auto decided = by_sequence(whole);
    std::vector<Fact> left;  // a crash, or a reader, left some of what was to go
    for (const Fact& fact : scenario.facts) {
      if (decided.at(fact.sequence).keep || random() % 2 == 0) left.push_back(fact);
    }
    EXPECT_EQ(kept(plan(scenario.policy, left, scenario.now, std::nullopt)), kept(whole));
  });
}

TEST(EveryLimit, IsReachedOrTakesNothingBeyondTheRules) {
  for_every_seed([](const Scenario& scenario, const Plan& plan) {
    const Plan rules = retention::plan(scenario.policy, scenario.facts, scenario.now, std::nullopt);
    const std::uint64_t shortage = shortage_bytes(scenario.policy, scenario.space);
    const std::uint64_t freed = bytes_of(scenario.facts) - bytes_of(survivors(scenario, plan));
    if (plan.missing_bytes == 0) {
      EXPECT_GE(freed, shortage);
    } else {
      EXPECT_EQ(kept(plan), kept(rules));
      EXPECT_LT(freed, shortage);
    }
    const auto by_rules = by_sequence(rules);
    for (const Decision& decision : plan.decisions) {
      EXPECT_TRUE(by_rules.at(decision.sequence).keep || !decision.keep) << "a limit keeps nothing: " << decision.name;
    }
  });
}

// What the very largest limit that can be reached leaves: what no limit may take, and what frees nothing.
std::map<std::uint64_t, Decision> with_all_thinned(const Scenario& scenario) {
  Policy policy = scenario.policy;
  policy.min_free_bytes = 0;
  policy.max_bytes = 1;
  const std::uint64_t most = bytes_of(scenario.facts);
  const std::uint64_t missing = plan(policy, scenario.facts, scenario.now, Space{most + 1, 0, 0}).missing_bytes;
  const Plan all = plan(policy, scenario.facts, scenario.now, Space{most - missing + 1, 0, 0});
  EXPECT_EQ(all.missing_bytes, 0U);
  return by_sequence(all);
}

TEST(EveryLimit, TakesTheOldestFirstAndNoneInVain) {
  for_every_seed([](const Scenario& scenario, const Plan& plan) {
    const auto untouchable = with_all_thinned(scenario);
    std::uint64_t freed = 0;  // by the rules at first, and by the limits but for the newest they took
    const Decision* newest_thinned = nullptr;
    const auto by_rules = by_sequence(retention::plan(scenario.policy, scenario.facts, scenario.now, std::nullopt));
    for (const Decision& decision : plan.decisions) {
      const bool thinned = decision.reasons.front().starts_with("max_bytes = ") ||
                           decision.reasons.front().starts_with("min_free_bytes = ");
      if (thinned && newest_thinned == nullptr) {
        newest_thinned = &decision;
      } else if (thinned || !by_rules.at(decision.sequence).keep) {
        freed += decision.stored_bytes;
      }
      EXPECT_TRUE(!thinned || decision.stored_bytes != 0) << decision.name;
      EXPECT_TRUE(newest_thinned == nullptr || !decision.keep || untouchable.at(decision.sequence).keep)
          << decision.name;
    }
    if (newest_thinned == nullptr) return;
    EXPECT_LT(freed, shortage_bytes(scenario.policy, scenario.space)) << newest_thinned->name << " was taken in vain";
  });
}

TEST(EveryLimit, AppliedTwiceRemovesNothingMore) {
  for_every_seed([](const Scenario& scenario, const Plan& plan) {
    const auto left = survivors(scenario, plan);
    const std::uint64_t freed = bytes_of(scenario.facts) - bytes_of(left);
    Space after = scenario.space;
    after.store_bytes -= freed;
    after.free_bytes += freed;
    const Plan second = retention::plan(scenario.policy, left, scenario.now, after);
    EXPECT_EQ(second.missing_bytes, plan.missing_bytes);
    for (const Decision& decision : second.decisions) EXPECT_TRUE(decision.keep) << decision.name;
  });
}

}  // namespace
}  // namespace stillframe::retention
