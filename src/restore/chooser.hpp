// Choosing a checkpoint to restore: newest to oldest, with a report of what was passed over and why.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "format/names.hpp"
#include "store/reader.hpp"

namespace stillframe::restore {

struct Skipped {
  std::string name;
  std::int64_t step = 0;
  std::string reason;
};

// Walks the checkpoints of one run (and step, when the address names one), by descending sequence. Those marked bad are
// skipped with the mark's text as the reason.
class Chooser {
 public:
  // not_found when the store or run has no candidate at all; corrupt, listing what was skipped, when none opens. A
  // checkpoint that retention removes at this moment is waited for, up to a second, and what came after it is taken.
  [[nodiscard]] static Result<Chooser> open(env::Env& env, const format::Address& address);

  [[nodiscard]] const store::CheckpointReader& current() const noexcept { return *current_; }
  // Gives up the current one for `reason`; not_found when none is left.
  [[nodiscard]] Status next(std::string reason);
  [[nodiscard]] const std::vector<Skipped>& skipped() const noexcept { return skipped_; }

 private:
  Chooser(store::Store store, format::Address address) : store_(std::move(store)), address_(std::move(address)) {}
  [[nodiscard]] Status list();
  [[nodiscard]] Status advance();

  store::Store store_;
  format::Address address_;
  std::vector<store::CheckpointRef> candidates_;
  std::size_t position_ = 0;
  std::unique_ptr<store::CheckpointReader> current_;
  std::vector<Skipped> skipped_;
  bool vanished_ = false;  // a listed checkpoint was gone, or being removed, when it was to be opened
};

}  // namespace stillframe::restore
