#include "capture/crash_ledger.hpp"

#include <algorithm>

namespace stillframe::capture {
namespace {

// As many as an arena has records, and some that are being verified.
constexpr std::size_t kMostRemembered = 64;

void remember(std::set<std::int64_t>& calls, std::int64_t called_ns) {
  calls.insert(called_ns);
  if (calls.size() > kMostRemembered) calls.erase(calls.begin());
}

}  // namespace

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

arena::CrashCost CrashLedger::cost() const {
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

}  // namespace stillframe::capture
