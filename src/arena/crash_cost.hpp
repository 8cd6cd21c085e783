// What a crash at this moment would cost: the work since the snapshot that would be left. And how often to take one.
// Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "arena/daemon_side.hpp"

namespace stillframe::arena {

// Seconds of training that would have to be done again. Without any snapshot: since training began.
struct CrashCost {
  double trainer_crash_seconds = 0;  // of the trainer alone: the newest captured snapshot is left
  double power_loss_seconds = 0;     // or of trainer and daemon: the newest durable one is left
};
// "trainer crash: 41 s; power loss: 4 min 10 s".
[[nodiscard]] std::string describe(const CrashCost& cost);

// All times on the monotonic clock. What comes out of shared memory may be anything: a time that is not known (0), or
// that lies in the future, counts as no snapshot at all.
struct CrashFacts {
  std::int64_t begun_ns = 0;          // the trainer came
  std::int64_t durable_taken_ns = 0;  // the newest durable snapshot was taken
  std::uint32_t world_size = 1;       // of a group: captured once every rank has sealed
};
// `records`: of the trainer's arena, in any order.
[[nodiscard]] CrashCost crash_cost(const CrashFacts& facts, std::span<const RecordView> records,
                                   std::int64_t now_ns) noexcept;

// The time between snapshots at which the loop loses least, when each costs it `block_seconds` and it is ended by a
// failure every `mean_time_between_failures_seconds`. J. T. Daly, A higher order estimate of the optimum checkpoint
// interval for restart dumps, Future Generation Computer Systems 22 (2006); its first term is J. W. Young's (1974).
// Both > 0.
[[nodiscard]] double optimum_interval_seconds(double block_seconds, double mean_time_between_failures_seconds) noexcept;

struct Cadence {
  double snapshot_every_seconds = 0;
  double mean_block_seconds = 0;
  double mean_time_between_failures_seconds = 0;
};
// nullopt unless both are known (> 0).
[[nodiscard]] std::optional<Cadence> suggested_cadence(double mean_block_seconds,
                                                       double mean_time_between_failures_seconds) noexcept;
// "a snapshot every 12 s: each costs the loop 20 ms, and a failure is expected every 1 h 0 min".
[[nodiscard]] std::string describe(const Cadence& cadence);

}  // namespace stillframe::arena
