// A bounded rate of reading: whoever reads pays for the bytes and is held up until they are due.
#pragma once

#include <cstdint>

#include "store/scrub.hpp"

namespace stillframe::store {

// One thread. Time that was not used is not saved up: after a pause there is no burst.
class Pacer {
 public:
  explicit Pacer(const Pace& pace);

  // `bytes` have been read since the last call (or the beginning). Returns when they are due at the pace's rate; false,
  // at once or out of the wait, when keep_going says so.
  [[nodiscard]] bool pay(std::uint64_t bytes);

 private:
  [[nodiscard]] bool keep_going() const { return !pace_.keep_going || pace_.keep_going(); }

  const Pace& pace_;
  std::int64_t read_from_ns_;  // when the reading that is paid for next began
};

}  // namespace stillframe::store
