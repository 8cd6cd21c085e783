// Looks on while a rank seals, confirms or gives up, also while its persister waits for the disk. One thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "arena/daemon_side.hpp"
#include "base/thread.hpp"

namespace stillframe::persist {

class GroupWatch {
 public:
  // `on_change` is called on the watch's thread when the state or a flag of a record has changed, and once at the
  // start.
  [[nodiscard]] static Result<std::unique_ptr<GroupWatch>> start(arena::DaemonSide side,
                                                                 std::function<void()> on_change);
  ~GroupWatch();
  GroupWatch(const GroupWatch&) = delete;
  GroupWatch& operator=(const GroupWatch&) = delete;

 private:
  GroupWatch(arena::DaemonSide side, std::function<void()> on_change) : side_(side), on_change_(std::move(on_change)) {}
  void run();
  [[nodiscard]] bool changed();

  const arena::DaemonSide side_;
  const std::function<void()> on_change_;
  std::atomic<bool> stopping_{false};
  std::vector<arena::RecordView> seen_;  // the thread's own
  base::Thread thread_;
};

}  // namespace stillframe::persist
