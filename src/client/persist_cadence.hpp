// Which of the captured snapshots go to the store. Pure.
#pragma once

#include <cstdint>
#include <optional>

namespace stillframe::client {

// 0: that word says nothing. When both do: every snapshot.
struct PersistCadence {
  std::uint64_t every_steps = 0;
  std::uint64_t every_seconds = 0;
};

// The snapshot that went to the store last, by its own step and time.
struct LastPersisted {
  std::int64_t step = 0;
  std::int64_t at_monotonic_ns = 0;
};

// True for some snapshots only.
[[nodiscard]] bool is_rare(const PersistCadence& cadence) noexcept;

// True for the first snapshot at or after each multiple of `every_steps`, and for the first after `every_seconds`, whichever
// comes first; for the first one of all; and for one whose step is below the last one's, since the run was set back.
[[nodiscard]] bool is_due(const PersistCadence& cadence, const std::optional<LastPersisted>& last, std::int64_t step,
                          std::int64_t now_monotonic_ns) noexcept;

}  // namespace stillframe::client
