// Which checkpoints stay: policy + facts + now + space -> plan with reasons. Pure; no clock, no file.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "retention/policy.hpp"

namespace stillframe::retention {

// A published checkpoint of the run.
struct Fact {
  std::uint64_t sequence = 0;
  std::string name;
  std::int64_t step = 0;
  std::int64_t created_unix_seconds = 0;  // a label: the clock may have jumped
  bool verified = false;
  bool bad = false;  // counts, also when it is verified too
  bool pinned = false;
  std::uint64_t stored_bytes = 0;         // what its removal frees
  std::map<std::string, double> metrics;  // NaN and infinities included; absent: not there, or not a number
};

struct Space {
  std::uint64_t store_bytes = 0;   // of the whole store, all runs
  std::uint64_t free_bytes = 0;    // of the file system
  std::uint64_t needed_bytes = 0;  // of the checkpoint about to be written; 0 after a commit
};

// What must go so that every limit of the policy holds; 0 when they hold.
[[nodiscard]] std::uint64_t shortage_bytes(const Policy& policy, const Space& space);

struct Decision {
  std::uint64_t sequence = 0;
  std::string name;
  std::int64_t step = 0;
  std::uint64_t stored_bytes = 0;
  bool keep = true;
  std::vector<std::string> reasons;  // at least one: every reason to keep it, or those to remove it
};

struct Plan {
  std::vector<Decision> decisions;  // one per fact, by descending sequence
  std::uint64_t missing_bytes = 0;  // over the limits, and not to be had by any removal that is allowed
};

// Never removed, whatever the limits say: what is pinned; the newest; the newest min_verified verified ones; the best
// of keep_best; anything while no newer checkpoint is verified. Bad ones fill no place. A limit removes further, oldest
// first, only when that reaches it; else nothing beyond the rules goes, and missing_bytes says by how much it was
// missed. Without `space` no limit is looked at. A policy that check() refuses removes nothing.
[[nodiscard]] Plan plan(const Policy& policy, std::vector<Fact> facts, std::int64_t now_unix_seconds,
                        const std::optional<Space>& space);

}  // namespace stillframe::retention
