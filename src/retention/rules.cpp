#include "retention/rules.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

namespace stillframe::retention {
namespace {

std::string quoted_name(const Fact& fact) { return "'" + fact.name + "'"; }

std::string value_text(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

// later - earlier; 0 when it is not later.
std::uint64_t seconds_between(std::int64_t earlier, std::int64_t later) {
  if (later <= earlier) return 0;
  return static_cast<std::uint64_t>(later) - static_cast<std::uint64_t>(earlier);
}

// floor(step / every), also below zero.
std::int64_t band_of(std::int64_t step, std::uint64_t every) {
  const auto divisor = static_cast<std::int64_t>(every);
  return step / divisor - (step % divisor < 0 ? 1 : 0);
}

class Judge {
 public:
  Judge(const Policy& policy, const std::vector<Fact>& newest_first, std::int64_t now_unix_seconds)
      : policy_(policy), facts_(newest_first), now_(now_unix_seconds), judged_(newest_first.size()) {}

  std::vector<Judgement> run() {
    guard();
    keep_last();
    for (const BestRule& rule : policy_.keep_best) keep_best(rule);
    if (policy_.keep_every_steps != 0) keep_every_steps();
    if (policy_.keep_every_seconds != 0) keep_every_seconds();
    if (policy_.keep_for_seconds != 0) keep_for_seconds();
    if (!policy_.keep_steps.empty()) keep_steps();
    return std::move(judged_);
  }

 private:
  // What holds whatever the rules say. A bad checkpoint is named as such here, and then no rule looks at it.
  void guard() {
    std::uint32_t verified = 0;
    const Fact* newest_verified = nullptr;
    for (std::size_t i = 0; i < facts_.size(); ++i) {
      const Fact& fact = facts_[i];
      Judgement& mine = judged_[i];
      if (fact.pinned) mine.protections.push_back("pinned");
      if (i == 0) mine.protections.push_back("the newest checkpoint");
      if (fact.bad) mine.misses.push_back("marked bad");
      if (fact.verified && !fact.bad && verified < policy_.min_verified) {
        ++verified;
        mine.protections.push_back(
            "number " + std::to_string(verified) +
            " of the newest verified ones (min_verified = " + std::to_string(policy_.min_verified) + ")");
      }
      if (newest_verified == nullptr) {
        mine.protections.push_back("no newer checkpoint is verified");
      } else {
        mine.misses.push_back(quoted_name(*newest_verified) + " is newer and verified");
      }
      if (newest_verified == nullptr && fact.verified && !fact.bad) newest_verified = &fact;
    }
  }

  void keep_last() {
    const std::string word = "keep_last = " + std::to_string(policy_.keep_last);
    std::uint32_t taken = 0;
    for (std::size_t i = 0; i < facts_.size(); ++i) {
      if (facts_[i].bad) continue;
      if (taken < policy_.keep_last) {
        ++taken;
        judged_[i].keeps.push_back("number " + std::to_string(taken) + " of " + word);
      } else {
        judged_[i].misses.push_back("beyond " + word);
      }
    }
  }

  void keep_best(const BestRule& rule) {
    const std::string word =
        "keep_best = " + rule.metric + (rule.highest ? ":max:" : ":min:") + std::to_string(rule.count);
    std::vector<std::pair<double, std::size_t>> ranked;  // value, position; of equals the newer comes first
    for (std::size_t i = 0; i < facts_.size(); ++i) {
      if (facts_[i].bad) continue;
      const auto found = facts_[i].metrics.find(rule.metric);
      if (found == facts_[i].metrics.end()) {
        judged_[i].keeps.push_back("has no number '" + rule.metric + "', so that " + word + " cannot judge it");
      } else if (!std::isfinite(found->second)) {
        judged_[i].misses.push_back(rule.metric + " is " + value_text(found->second) + ", which is never the best (" +
                                    word + ")");
      } else {
        ranked.emplace_back(found->second, i);
      }
    }
    std::ranges::stable_sort(
        ranked, [&](const auto& a, const auto& b) { return rule.highest ? a.first > b.first : a.first < b.first; });
    for (std::size_t place = 0; place < ranked.size(); ++place) {
      const auto& [value, i] = ranked[place];
      const std::string what = rule.metric + " " + value_text(value);
      if (place < rule.count) {
        judged_[i].protections.push_back("best number " + std::to_string(place + 1) + " of " + word + ": " + what);
      } else {
        judged_[i].misses.push_back("beyond " + word + ": " + what);
      }
    }
  }

  // Along the sequence, each checkpoint is held against the one kept before it (the anchor), so that what was not kept
  // can go without changing anything. A band is the steps from one multiple to before the next; another band than the
  // anchor's, also an earlier one, or a step at or before the anchor's begins anew: a run may have been started again.
  void keep_every_steps() {
    const std::uint64_t every = policy_.keep_every_steps;
    const std::string word = "keep_every_steps = " + std::to_string(every);
    const Fact* anchor = nullptr;
    for (std::size_t i = facts_.size(); i-- > 0;) {
      const Fact& fact = facts_[i];
      if (fact.bad) continue;
      const bool same_band = anchor != nullptr && band_of(fact.step, every) == band_of(anchor->step, every);
      if (same_band && fact.step > anchor->step) {
        judged_[i].misses.push_back(quoted_name(*anchor) + " stands for its steps (" + word + ")");
        continue;
      }
      anchor = &fact;
      judged_[i].keeps.push_back("the first at or after a multiple of " + word);
    }
  }

  // As above, by time; a clock that went back begins anew.
  void keep_every_seconds() {
    const std::string word = "keep_every_seconds = " + std::to_string(policy_.keep_every_seconds);
    const Fact* anchor = nullptr;
    for (std::size_t i = facts_.size(); i-- > 0;) {
      const Fact& fact = facts_[i];
      if (fact.bad) continue;
      const bool too_soon =
          anchor != nullptr && fact.created_unix_seconds >= anchor->created_unix_seconds &&
          seconds_between(anchor->created_unix_seconds, fact.created_unix_seconds) < policy_.keep_every_seconds;
      if (too_soon) {
        judged_[i].misses.push_back(quoted_name(*anchor) + " stands for its time (" + word + ")");
        continue;
      }
      anchor = &fact;
      judged_[i].keeps.push_back("the first of its time (" + word + ")");
    }
  }

  // Age counts up to the newest checkpoint: where nothing new is written, and where the clock jumped ahead since,
  // nothing grows old.
  void keep_for_seconds() {
    if (facts_.empty()) return;
    const std::string word = "keep_for_seconds = " + std::to_string(policy_.keep_for_seconds);
    const std::int64_t reference = std::min(now_, facts_.front().created_unix_seconds);
    for (std::size_t i = 0; i < facts_.size(); ++i) {
      if (facts_[i].bad) continue;
      const std::uint64_t age = seconds_between(facts_[i].created_unix_seconds, reference);
      const std::string text = std::to_string(age) + " s old";
      if (age <= policy_.keep_for_seconds) {
        judged_[i].keeps.push_back(text + ", within " + word);
      } else {
        judged_[i].misses.push_back(text + ", beyond " + word);
      }
    }
  }

  void keep_steps() {
    for (std::size_t i = 0; i < facts_.size(); ++i) {
      if (facts_[i].bad) continue;
      const std::string step = "step " + std::to_string(facts_[i].step);
      if (std::ranges::find(policy_.keep_steps, facts_[i].step) != policy_.keep_steps.end()) {
        judged_[i].keeps.push_back(step + " is one of keep_steps");
      } else {
        judged_[i].misses.push_back(step + " is none of keep_steps");
      }
    }
  }

  const Policy& policy_;
  const std::vector<Fact>& facts_;
  const std::int64_t now_;
  std::vector<Judgement> judged_;
};

}  // namespace

std::vector<Judgement> judge(const Policy& policy, const std::vector<Fact>& newest_first,
                             std::int64_t now_unix_seconds) {
  return Judge(policy, newest_first, now_unix_seconds).run();
}

}  // namespace stillframe::retention
