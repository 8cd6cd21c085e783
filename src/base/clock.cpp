#include "base/clock.hpp"

#include <ctime>

#include <algorithm>
#include <array>
#include <limits>
#include <thread>

namespace stillframe::base {
namespace {

constexpr std::int64_t kNsPerMs = 1'000'000;
constexpr std::int64_t kNsPerSecond = 1'000'000'000;

class SystemClock final : public Clock {
 public:
  [[nodiscard]] std::int64_t monotonic_ns() const noexcept override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
  [[nodiscard]] std::int64_t unix_ns() const noexcept override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
};

std::string format_utc(std::int64_t unix_ns, const char* pattern) {
  const std::time_t seconds = static_cast<std::time_t>(unix_ns / kNsPerSecond - (unix_ns % kNsPerSecond < 0 ? 1 : 0));
  std::tm fields{};
  gmtime_r(&seconds, &fields);
  std::array<char, 64> text{};
  const std::size_t length = std::strftime(text.data(), text.size(), pattern, &fields);
  return {text.data(), length};
}

}  // namespace

const Clock& system_clock() noexcept {
  static const SystemClock clock;
  return clock;
}

Deadline Deadline::after_ms(std::uint64_t ms) noexcept {
  constexpr std::uint64_t kLongestMs = 365ULL * 24 * 3600 * 1000;
  return Deadline(system_clock().monotonic_ns() + static_cast<std::int64_t>(std::min(ms, kLongestMs)) * kNsPerMs);
}

Deadline Deadline::at_least_ms(std::uint64_t ms) const noexcept {
  return Deadline(std::max(at_ns_, after_ms(ms).at_ns_));
}

Deadline Deadline::at_most_ms(std::uint64_t ms) const noexcept {
  return Deadline(std::min(at_ns_, after_ms(ms).at_ns_));
}

std::int64_t Deadline::remaining_ns() const noexcept {
  return std::max<std::int64_t>(0, at_ns_ - system_clock().monotonic_ns());
}

int Deadline::remaining_ms() const noexcept {
  const std::int64_t ms = (remaining_ns() + kNsPerMs - 1) / kNsPerMs;
  return static_cast<int>(std::min<std::int64_t>(ms, 1 << 30));
}

void GrowingPause::pause(const Deadline& deadline) noexcept {
  constexpr std::chrono::nanoseconds kLongest = std::chrono::milliseconds(1);
  std::this_thread::sleep_for(std::min(next_, deadline.remaining()));
  next_ = std::min(next_ * 2, kLongest);
}

std::string utc_compact(std::int64_t unix_ns) { return format_utc(unix_ns, "%Y%m%dT%H%M%SZ"); }
std::string utc_iso(std::int64_t unix_ns) { return format_utc(unix_ns, "%Y-%m-%dT%H:%M:%SZ"); }

}  // namespace stillframe::base
