#include "capture/crash_cost.hpp"

#include <algorithm>
#include <cmath>

namespace stillframe::capture {
namespace {

// As many as an arena has records, and some that are being verified.
constexpr std::size_t kMostRemembered = 64;

std::string human_seconds(double seconds) {
  constexpr std::int64_t kMinute = 60, kHour = 60 * kMinute;
  const auto whole = static_cast<std::int64_t>(std::max(0.0, seconds));
  if (whole >= kHour) return std::to_string(whole / kHour) + " h " + std::to_string(whole % kHour / kMinute) + " min";
  if (whole >= kMinute) return std::to_string(whole / kMinute) + " min " + std::to_string(whole % kMinute) + " s";
  return std::to_string(whole) + " s";
}

void remember(std::set<std::int64_t>& calls, std::int64_t called_ns) {
  calls.insert(called_ns);
  if (calls.size() > kMostRemembered) calls.erase(calls.begin());
}

}  // namespace

std::string describe(const CrashCost& cost) {
  return "trainer crash: " + human_seconds(cost.trainer_crash_seconds) +
         "; power loss: " + human_seconds(cost.power_loss_seconds);
}

CrashLedger::CrashLedger(const base::Clock& clock) : clock_(&clock), made_ns_(clock.monotonic_ns()) {}

void CrashLedger::taken() {
  const std::lock_guard lock(mutex_);
  ++count_;
}

void CrashLedger::captured(std::int64_t called_ns) {
  const std::lock_guard lock(mutex_);
  remember(captured_, called_ns);
}

void CrashLedger::durable(std::int64_t called_ns) {
  const std::lock_guard lock(mutex_);
  captured_.erase(called_ns);
  remember(durable_, called_ns);
}

void CrashLedger::ended(std::int64_t called_ns) {
  const std::lock_guard lock(mutex_);
  captured_.erase(called_ns);
  durable_.erase(called_ns);
}

void CrashLedger::set_daemon_there(bool is_there) {
  const std::lock_guard lock(mutex_);
  daemon_there_ = is_there;
}

void CrashLedger::add_block_seconds(double seconds) {
  const std::lock_guard lock(mutex_);
  block_seconds_ += seconds;
}

void CrashLedger::set_block_seconds(double seconds) {
  const std::lock_guard lock(mutex_);
  block_seconds_ = seconds;
}

CrashCost CrashLedger::cost() const {
  const std::lock_guard lock(mutex_);
  const std::int64_t now_ns = clock_->monotonic_ns();
  const std::int64_t durable_ns = durable_.empty() ? made_ns_ : *durable_.rbegin();
  const std::int64_t captured_ns = captured_.empty() || !daemon_there_ ? durable_ns : std::max(durable_ns, *captured_.rbegin());
  const auto seconds_since = [now_ns](std::int64_t then_ns) { return static_cast<double>(now_ns - then_ns) * 1e-9; };
  return {seconds_since(captured_ns), seconds_since(durable_ns)};
}

double CrashLedger::mean_block_seconds() const {
  const std::lock_guard lock(mutex_);
  return count_ == 0 ? 0 : block_seconds_ / static_cast<double>(count_);
}

double optimum_interval_seconds(double block_seconds, double mean_time_between_failures_seconds) noexcept {
  if (block_seconds >= 2 * mean_time_between_failures_seconds) return mean_time_between_failures_seconds;
  const double ratio = block_seconds / (2 * mean_time_between_failures_seconds);
  const double young = std::sqrt(2 * block_seconds * mean_time_between_failures_seconds);
  return young * (1 + std::sqrt(ratio) / 3 + ratio / 9) - block_seconds;
}

}  // namespace stillframe::capture
