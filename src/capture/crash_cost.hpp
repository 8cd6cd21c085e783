// What a crash at this moment would cost: the work since the snapshot that would be left. And how often to take one.
#pragma once

#include <cstdint>
#include <mutex>
#include <set>
#include <string>

#include "base/clock.hpp"

namespace stillframe::capture {

// Seconds of training that would have to be done again. Without any snapshot: since the ledger was made.
struct CrashCost {
  double trainer_crash_seconds = 0;  // of the trainer alone: the newest captured snapshot is left
  double power_loss_seconds = 0;     // or of trainer and daemon: the newest durable one is left
};
// "trainer crash: 41 s; power loss: 4 min 10 s".
[[nodiscard]] std::string describe(const CrashCost& cost);

// Which snapshots would be left, by the time of their calls. Thread-safe.
class CrashLedger {
 public:
  explicit CrashLedger(const base::Clock& clock = base::system_clock());

  // A snapshot was begun.
  void taken();
  void captured(std::int64_t called_ns);
  void durable(std::int64_t called_ns);
  // Failed, torn, superseded or let go: it would not be left after all.
  void ended(std::int64_t called_ns);
  // Without a daemon nobody but the trainer itself holds what was captured.
  void set_daemon_there(bool is_there);
  // Host time that a snapshot cost the loop, in its call or at its fence.
  void add_block_seconds(double seconds);
  // The same of all so far, by somebody who measured more of it; what was added before no longer counts.
  void set_block_seconds(double seconds);

  [[nodiscard]] CrashCost cost() const;
  // For each snapshot that was taken; 0 while there is none.
  [[nodiscard]] double mean_block_seconds() const;

 private:
  const base::Clock* clock_;
  mutable std::mutex mutex_;
  const std::int64_t made_ns_;
  std::set<std::int64_t> captured_;  // and not yet durable
  std::set<std::int64_t> durable_;   // the newest few: what is withdrawn later gives way to the one before
  bool daemon_there_ = true;
  double block_seconds_ = 0;
  std::uint64_t count_ = 0;
};

// The time between snapshots at which the loop loses least, when each costs it `block_seconds` and it is ended by a failure
// every `mean_time_between_failures_seconds`. J. T. Daly, A higher order estimate of the optimum checkpoint interval for
// restart dumps, Future Generation Computer Systems 22 (2006); its first term is J. W. Young's (1974). Both > 0.
[[nodiscard]] double optimum_interval_seconds(double block_seconds, double mean_time_between_failures_seconds) noexcept;

}  // namespace stillframe::capture
