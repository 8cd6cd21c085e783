// THE clock door: the only place that reads time.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace stillframe::base {

class Clock {
 public:
  virtual ~Clock() = default;
  // Never goes back; for deadlines and durations.
  [[nodiscard]] virtual std::int64_t monotonic_ns() const noexcept = 0;
  // UTC; a label, never used for order.
  [[nodiscard]] virtual std::int64_t unix_ns() const noexcept = 0;
};

// Thread-safe, lives for the process.
[[nodiscard]] const Clock& system_clock() noexcept;

// A clock that moves when told. Not thread-safe while being set.
class ManualClock final : public Clock {
 public:
  [[nodiscard]] std::int64_t monotonic_ns() const noexcept override { return monotonic_ns_; }
  [[nodiscard]] std::int64_t unix_ns() const noexcept override { return unix_ns_; }
  void advance_ns(std::int64_t ns) noexcept { monotonic_ns_ += ns; unix_ns_ += ns; }
  void set_unix_ns(std::int64_t ns) noexcept { unix_ns_ = ns; }

 private:
  std::int64_t monotonic_ns_ = 0;
  std::int64_t unix_ns_ = 0;
};

// A point on the system's monotonic clock by which a named wait ends.
class Deadline {
 public:
  [[nodiscard]] static Deadline after_ms(std::uint64_t ms) noexcept;
  // `ms` from now, or this deadline if that comes later.
  [[nodiscard]] Deadline at_least_ms(std::uint64_t ms) const noexcept;
  // `ms` from now, or this deadline if that comes first.
  [[nodiscard]] Deadline at_most_ms(std::uint64_t ms) const noexcept;
  [[nodiscard]] bool expired() const noexcept { return remaining_ns() == 0; }
  [[nodiscard]] std::int64_t remaining_ns() const noexcept;
  [[nodiscard]] std::chrono::nanoseconds remaining() const noexcept { return std::chrono::nanoseconds(remaining_ns()); }
  // Rounded up; for poll(). At most 2^30.
  [[nodiscard]] int remaining_ms() const noexcept;

 private:
  explicit Deadline(std::int64_t at_ns) noexcept : at_ns_(at_ns) {}
  std::int64_t at_ns_;
};

// The pause between two looks at something that cannot wake us: 20 us at first, then twice the one before, at most 1 ms, and
// never past the deadline.
class GrowingPause {
 public:
  void pause(const Deadline& deadline) noexcept;

 private:
  std::chrono::nanoseconds next_ = std::chrono::microseconds(20);
};

// "20261122T123005Z" and "2026-11-22T12:30:05Z" of a unix time in ns.
[[nodiscard]] std::string utc_compact(std::int64_t unix_ns);
[[nodiscard]] std::string utc_iso(std::int64_t unix_ns);

}  // namespace stillframe::base
