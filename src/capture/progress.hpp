// What has become of one snapshot: written by copier and client, read by tickets. Thread-safe; states only move forward.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "capture/crash_ledger.hpp"
#include "stillframe/checkpointer.hpp"

namespace stillframe::capture {

class Progress {
 public:
  // `ledger`, when given, learns what would be left after a crash.
  Progress(std::int64_t step, std::uint64_t raw_bytes, std::shared_ptr<CrashLedger> ledger = nullptr);

  // Captured is then all that it is to become, unless it is sent to the store after all.
  void set_memory_only(bool memory_only);
  void set_captured();
  // Sealed by this rank of a group: copied, and captured only once all ranks have sealed it.
  void set_sealed();
  // Its bytes were compared with those on the GPUs.
  void set_checked();
  // They were, and those entries differ; end() follows. `what` is for the alarm.
  void set_torn(std::vector<std::string> names, const std::string& what);
  // True when this made it durable. One that is already durable or verified takes the figures and alarms all the same:
  // the arena may have told the state before the daemon's words came.
  bool set_durable(std::uint64_t sequence, std::string name, std::uint64_t stored_bytes, std::vector<Alarm> alarms = {});
  // True when this made it verified.
  bool set_verified();
  // For memory only, and no longer there: it stays captured, and would not be left after a crash.
  void set_let_go();
  // failed, abandoned or skipped, with the reason. A durable snapshot that is withdrawn becomes abandoned as well.
  void end(SnapshotState state, Code code, std::string error);
  void add_call_seconds(double seconds);
  void add_fence_seconds(double seconds);

  [[nodiscard]] TicketInfo info() const;
  [[nodiscard]] SnapshotState state() const;
  [[nodiscard]] bool ended() const;    // failed, abandoned, skipped
  [[nodiscard]] bool copying() const;
  // ok once the state is at least `wanted`; the error when it ended; unsupported when it is not for the store and durable is
  // waited for; deadline with the wait's name.
  [[nodiscard]] Status wait(SnapshotState wanted, const base::Deadline& deadline) const;
  // Until it no longer copies, whatever became of it. False when the deadline passed.
  [[nodiscard]] bool wait_copied(const base::Deadline& deadline) const;

 private:
  [[nodiscard]] double since_call() const;
  [[nodiscard]] bool still_copying() const noexcept;  // with mutex_ held

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  const std::int64_t called_ns_;
  const std::shared_ptr<CrashLedger> ledger_;
  bool sealed_ = false;
  TicketInfo info_;
};

}  // namespace stillframe::capture
