// A diff of two checkpoints as a table for people and as a JSON document.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "interop/checkpoint_diff.hpp"

namespace stillframe::apps {

struct DiffedCheckpoint {
  std::string store;
  std::string name;
  std::string run;
  std::int64_t step = 0;
};

[[nodiscard]] std::string diff_text(const DiffedCheckpoint& a, const DiffedCheckpoint& b,
                                    const interop::CheckpointDiff& diff);
// Members as `stillframe diff --help` lists them.
[[nodiscard]] nlohmann::ordered_json diff_json(const DiffedCheckpoint& a, const DiffedCheckpoint& b,
                                               const interop::CheckpointDiff& diff);

}  // namespace stillframe::apps
