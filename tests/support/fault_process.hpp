// What a FaultEnv, its open files and its locks share: one process on a FaultDisk.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "support/fault_disk.hpp"
#include "support/fault_env.hpp"

namespace stillframe::test {

// Guarded by the disk's mutex, but for the observers.
struct FaultProcess {
  std::shared_ptr<FaultDisk> disk;
  std::uint64_t id = 0;
  std::function<void(EnvOp, const std::string&)> observer;       // of changing calls
  std::function<void(EnvOp, const std::string&)> call_observer;  // of every call
  std::shared_ptr<const FaultEnv::Trace> trace;  // may be null
  bool dead = false;
  std::uint64_t changes = 0;
  std::uint64_t dies_at_change = 0;  // 0: at none
  std::array<std::uint64_t, static_cast<std::size_t>(EnvOp::count_)> calls{};
  std::vector<EnvFailure> failures;  // nth_call counts down; 0: has failed for ever since

  void die();
};

// One call of a process: tells the observer, then holds the disk, counts, and fails where the test planned it.
class FaultCall {
 public:
  FaultCall(FaultProcess& process, EnvOp op, const std::string& path);

  [[nodiscard]] const Status& status() const noexcept { return status_; }
  // The disk lies: the call is to say ok and do nothing.
  [[nodiscard]] bool is_a_lie() const noexcept { return lie_; }
  // The answer is lost, not the call.
  [[nodiscard]] bool was_done_all_the_same() const noexcept { return done_; }
  // Whether a write that fails has begun before.
  [[nodiscard]] bool was_cut_off() const noexcept { return cut_off_; }

 private:
  [[nodiscard]] Status planned_failure(EnvOp op, const std::string& path);

  FaultProcess& process_;
  std::unique_lock<std::mutex> lock_;
  Status status_;
  bool cut_off_ = false;
  bool lie_ = false;
  bool done_ = false;
};

[[nodiscard]] std::unique_ptr<env::File> make_fault_file(std::shared_ptr<FaultProcess> process, NodeId node,
                                                         std::string path, bool writable);

}  // namespace stillframe::test
