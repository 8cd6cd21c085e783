#include "client/persist_cadence.hpp"

namespace stillframe::client {
namespace {

constexpr std::uint64_t kNsPerSecond = 1'000'000'000;

// Which multiple of `every` a step is at or after: rounded down, also below zero.
std::int64_t multiple_of(std::int64_t step, std::uint64_t every) noexcept {
  if (every > static_cast<std::uint64_t>(INT64_MAX)) return step < 0 ? -1 : 0;
  const auto divisor = static_cast<std::int64_t>(every);
  return step / divisor - (step % divisor < 0 ? 1 : 0);
}

}  // namespace

bool is_rare(const PersistCadence& cadence) noexcept {
  return cadence.every_steps > 1 || (cadence.every_steps == 0 && cadence.every_seconds != 0);
}

bool is_due(const PersistCadence& cadence, const std::optional<LastPersisted>& last, std::int64_t step,
            std::int64_t now_monotonic_ns) noexcept {
  if (!is_rare(cadence) || !last || step < last->step) return true;
  const bool by_steps = cadence.every_steps != 0 && multiple_of(step, cadence.every_steps) >
                                                        multiple_of(last->step, cadence.every_steps);
  const bool later = now_monotonic_ns > last->at_monotonic_ns;
  const std::uint64_t waited_ns =
      later ? static_cast<std::uint64_t>(now_monotonic_ns) - static_cast<std::uint64_t>(last->at_monotonic_ns) : 0;
  const bool by_seconds = cadence.every_seconds != 0 && waited_ns / kNsPerSecond >= cadence.every_seconds;
  return by_steps || by_seconds;
}

}  // namespace stillframe::client
