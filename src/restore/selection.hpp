// Which checkpoints an address means, in the order in which they are tried, and why. Pure: looks at heads, opens
// nothing.
#pragma once

#include <string>
#include <vector>

#include "format/names.hpp"
#include "store/catalog.hpp"

namespace stillframe::restore {

struct Candidate {
  store::CheckpointRef ref;
  std::string why;  // "loss 0.25, the lowest of 12 checkpoints with that metric"
};

struct Selection {
  std::vector<Candidate> candidates;  // those marked bad are among them, and are passed over with their reason
  std::string none;                   // what there is instead, when there is no candidate
};

// The checkpoints of the run with a finite value of the metric, best first; of equal ones the newest first.
[[nodiscard]] Selection select_best(const format::Address& address, const std::vector<store::CatalogEntry>& catalog);

// The current line is what the run's newest checkpoint came from: going through the run by ascending sequence, each
// checkpoint takes away the earlier ones whose step is not below its own. In it, newest first, those with a finite loss
// before the last streak of non-finite ones (the metric, or an alarm that says so); all of the line when no loss was
// non-finite.
[[nodiscard]] Selection select_before_nan(const format::Address& address,
                                          const std::vector<store::CatalogEntry>& catalog);

}  // namespace stillframe::restore
