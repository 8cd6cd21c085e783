// Which checkpoints of a run stay. The words are the same in TOML ([retention] of the daemon), on the command line
// (--keep-last …), in Python (stillframe.Retention) and here; docs/retention.md explains each, with its edge rules.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stillframe {

struct BestRule {
  std::string metric;  // 1 to 256 bytes, without ',' ':' and control characters
  bool highest = false;
  std::uint32_t count = 1;  // the best so many stay
  friend bool operator==(const BestRule&, const BestRule&) = default;
};

// A checkpoint stays when any rule keeps it. 0 switches a rule off, but keep_last and min_verified are at least 1:
// nothing here can mean "delete all".
struct Retention {
  std::uint32_t keep_last = 3;             // the newest n
  std::vector<BestRule> keep_best{};       // at most 16
  std::uint64_t keep_every_steps = 0;      // the first at or after each multiple
  std::uint64_t keep_every_seconds = 0;    // one, and the next at least so much later
  std::uint64_t keep_for_seconds = 0;      // everything younger
  std::vector<std::int64_t> keep_steps{};  // these steps; at most 1000
  // Limits: they override the rules above, oldest first, but never touch what is pinned, best, newest, or one of the
  // min_verified newest verified ones.
  std::uint64_t max_bytes = 0;                 // of the whole store, all runs
  std::uint64_t min_free_bytes = 64ULL << 20;  // left free on the file system
  std::uint32_t min_verified = 1;              // the newest n verified ones stay
  friend bool operator==(const Retention&, const Retention&) = default;
};

}  // namespace stillframe
