#include "arena/crash_cost.hpp"

#include <algorithm>
#include <cmath>

namespace stillframe::arena {
namespace {

std::string human_seconds(double seconds) {
  constexpr std::int64_t kMinute = 60, kHour = 60 * kMinute;
  const auto whole = static_cast<std::int64_t>(std::max(0.0, seconds));
  if (whole >= kHour) return std::to_string(whole / kHour) + " h " + std::to_string(whole % kHour / kMinute) + " min";
  if (whole >= kMinute) return std::to_string(whole / kMinute) + " min " + std::to_string(whole % kMinute) + " s";
  return std::to_string(whole) + " s";
}

// Two digits that count: what a snapshot costs is far below a second.
std::string human_span(double seconds) {
  if (seconds >= 10) return human_seconds(seconds);
  const auto microseconds = static_cast<std::int64_t>(std::lround(seconds * 1e6));
  if (microseconds < 1'000) return std::to_string(microseconds) + " us";
  if (microseconds < 1'000'000) return std::to_string((microseconds + 500) / 1'000) + " ms";
  const std::int64_t tenths = (microseconds + 50'000) / 100'000;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " s";
}

// Of an image that its trainer can die from: sealed, or kept because it could not be written; not torn, not given up, not
// let go.
bool is_captured(const RecordView& view, std::uint32_t world_size) noexcept {
  constexpr std::uint32_t kGone = kWithdrawn | kSuperseded | kDone;
  const bool by_all = world_size == 1 || (view.flags & kCaptured) != 0;
  const bool is_kept = view.state == RecordState::failed && (view.flags & kUnwritten) != 0;
  return (view.state == RecordState::sealed || is_kept) && (view.flags & kGone) == 0 && by_all;
}

}  // namespace

std::string describe(const CrashCost& cost) {
  return "trainer crash: " + human_seconds(cost.trainer_crash_seconds) +
         "; power loss: " + human_seconds(cost.power_loss_seconds);
}

CrashCost crash_cost(const CrashFacts& facts, std::span<const RecordView> records, std::int64_t now_ns) noexcept {
  const auto later_of = [now_ns](std::int64_t known_ns, std::int64_t ns) {
    return ns > now_ns ? known_ns : std::max(known_ns, ns);
  };
  const std::int64_t durable_ns = later_of(std::clamp<std::int64_t>(facts.begun_ns, 0, now_ns), facts.durable_taken_ns);
  std::int64_t captured_ns = durable_ns;
  for (const RecordView& view : records) {
    if (is_captured(view, facts.world_size)) captured_ns = later_of(captured_ns, view.taken_monotonic_ns);
  }
  const auto seconds_since = [now_ns](std::int64_t then_ns) { return static_cast<double>(now_ns - then_ns) * 1e-9; };
  return {seconds_since(captured_ns), seconds_since(durable_ns)};
}

double optimum_interval_seconds(double block_seconds, double mean_time_between_failures_seconds) noexcept {
  if (block_seconds >= 2 * mean_time_between_failures_seconds) return mean_time_between_failures_seconds;
  const double ratio = block_seconds / (2 * mean_time_between_failures_seconds);
  const double young = std::sqrt(2 * block_seconds * mean_time_between_failures_seconds);
  return young * (1 + std::sqrt(ratio) / 3 + ratio / 9) - block_seconds;
}

std::optional<Cadence> suggested_cadence(double mean_block_seconds,
                                         double mean_time_between_failures_seconds) noexcept {
  if (!(mean_block_seconds > 0) || !(mean_time_between_failures_seconds > 0)) return std::nullopt;
  return Cadence{optimum_interval_seconds(mean_block_seconds, mean_time_between_failures_seconds), mean_block_seconds,
                 mean_time_between_failures_seconds};
}

std::string describe(const Cadence& cadence) {
  return "a snapshot every " + human_span(cadence.snapshot_every_seconds) + ": each costs the loop " +
         human_span(cadence.mean_block_seconds) + ", and a failure is expected every " +
         human_span(cadence.mean_time_between_failures_seconds);
}

}  // namespace stillframe::arena
