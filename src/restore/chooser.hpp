// Choosing a checkpoint to restore: the one that the address means, else the next in its order, with a report of what
// was passed over and why.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "format/names.hpp"
#include "restore/selection.hpp"
#include "store/reader.hpp"

namespace stillframe::restore {

struct Skipped {
  std::string name;
  std::int64_t step = 0;
  std::string reason;
};

// Walks the checkpoints of one run: by descending sequence (@latest, @<step>), from the best to the worst (@best), or
// from before the loss ceased to be finite to the oldest (@before-nan). Those marked bad are skipped with the mark's
// text as the reason.
class Chooser {
 public:
  // not_found when the store or run has no candidate at all, saying what there is instead; corrupt, listing what was
  // skipped, when none opens. A checkpoint that retention removes at this moment is waited for, up to a second, and
  // what came after it is taken.
  [[nodiscard]] static Result<Chooser> open(env::Env& env, const format::Address& address);

  [[nodiscard]] const store::CheckpointReader& current() const noexcept { return *current_; }
  // Why this one: "loss 0.25, the lowest of 12 checkpoints with that metric".
  [[nodiscard]] const std::string& why() const noexcept { return why_; }
  // Gives up the current one for `reason`; not_found when none is left.
  [[nodiscard]] Status next(std::string reason);
  [[nodiscard]] const std::vector<Skipped>& skipped() const noexcept { return skipped_; }

 private:
  Chooser(store::Store store, format::Address address) : store_(std::move(store)), address_(std::move(address)) {}
  [[nodiscard]] Status list();
  [[nodiscard]] Status list_by_sequence();
  [[nodiscard]] Status list_by_heads();
  [[nodiscard]] Status advance();
  [[nodiscard]] Result<std::unique_ptr<store::CheckpointReader>> try_open(const Candidate& candidate);
  [[nodiscard]] Status nothing_left(bool at_first) const;

  store::Store store_;
  format::Address address_;
  std::vector<Candidate> candidates_;
  std::string none_;  // said when there is no candidate
  std::size_t position_ = 0;
  std::unique_ptr<store::CheckpointReader> current_;
  std::string why_;
  std::vector<Skipped> skipped_;
  bool vanished_ = false;  // a listed checkpoint was gone, or being removed, when it was to be opened
};

}  // namespace stillframe::restore
