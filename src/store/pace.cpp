#include "store/pace.hpp"

#include <atomic>

#include "base/clock.hpp"
#include "base/futex.hpp"

namespace stillframe::store {
namespace {

// keep_going is asked so often while a wait lasts.
constexpr std::uint64_t kLongestNapMs = 50;
constexpr std::int64_t kNsPerMs = 1'000'000;

std::int64_t cost_ns(std::uint64_t bytes, std::uint64_t bytes_per_second) {
  return static_cast<std::int64_t>(static_cast<double>(bytes) / static_cast<double>(bytes_per_second) * 1e9);
}

// The word is local and nobody bumps it: the wait ends with its time.
void nap(std::uint64_t ms) {
  const std::atomic<std::uint32_t> never_bumped{0};
  base::futex_wait(never_bumped, 0, base::Deadline::after_ms(ms));
}

}  // namespace

Pacer::Pacer(const Pace& pace) : pace_(pace), read_from_ns_(base::system_clock().monotonic_ns()) {}

bool Pacer::pay(std::uint64_t bytes) {
  if (pace_.bytes_per_second != 0) {
    const std::int64_t due_ns = read_from_ns_ + cost_ns(bytes, pace_.bytes_per_second);
    for (;;) {
      const std::int64_t left_ns = due_ns - base::system_clock().monotonic_ns();
      if (left_ns <= 0) break;
      if (!keep_going()) return false;
      const auto left_ms = static_cast<std::uint64_t>((left_ns + kNsPerMs - 1) / kNsPerMs);
      nap(left_ms < kLongestNapMs ? left_ms : kLongestNapMs);
    }
  }
  read_from_ns_ = base::system_clock().monotonic_ns();
  return keep_going();
}

}  // namespace stillframe::store
