// Waiting for what another thread or process brings about, with a deadline instead of a guess.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/clock.hpp"
#include "base/futex.hpp"

namespace stillframe::test {

inline constexpr std::uint64_t kPatienceMs = 30'000;

// True as soon as `condition` holds; false when it never did before the deadline.
template <typename Condition>
[[nodiscard]] bool wait_until(const Condition& condition, std::uint64_t patience_ms = kPatienceMs) {
  constexpr std::uint64_t kLookAgainMs = 2;
  const base::Deadline deadline = base::Deadline::after_ms(patience_ms);
  const std::atomic<std::uint32_t> never{0};
  while (!condition()) {
    if (deadline.expired()) return false;
    base::futex_wait(never, 0, deadline.at_most_ms(kLookAgainMs));
  }
  return true;
}

}  // namespace stillframe::test
