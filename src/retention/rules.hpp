// What each rule of a policy says of each checkpoint, without any limit of bytes. Private to this folder. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "retention/plan.hpp"

namespace stillframe::retention {

struct Judgement {
  std::vector<std::string> protections;  // reasons to keep it that no limit overrides
  std::vector<std::string> keeps;        // reasons to keep it while the limits allow
  std::vector<std::string> misses;       // why it goes, when there is no reason to keep it

  [[nodiscard]] bool kept() const noexcept { return !protections.empty() || !keeps.empty(); }
};

// One per fact, in the order of the facts, which are the newest first. The policy has passed check().
// Removing any of those not kept changes no other judgement: the rules look only at what they keep themselves.
[[nodiscard]] std::vector<Judgement> judge(const Policy& policy, const std::vector<Fact>& newest_first,
                                           std::int64_t now_unix_seconds);

}  // namespace stillframe::retention
