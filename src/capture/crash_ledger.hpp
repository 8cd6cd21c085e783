// What the trainer itself knows of what a crash would cost (arena/crash_cost.hpp): from the calls of its snapshots.
#pragma once

#include <cstdint>
#include <mutex>
#include <set>

#include "arena/crash_cost.hpp"
#include "base/clock.hpp"

namespace stillframe::capture {

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

  [[nodiscard]] arena::CrashCost cost() const;
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

}  // namespace stillframe::capture
