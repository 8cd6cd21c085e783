// An event of the host device, reached by the thread of a stream.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "base/clock.hpp"
#include "device/device.hpp"

namespace stillframe::device {

// True when `condition` came true in time. `lock` is held on entry and on return.
template <typename Condition>
bool wait_until(std::condition_variable& changed, std::unique_lock<std::mutex>& lock, const base::Deadline& deadline,
                Condition condition) {
  // A far deadline, added to the time of day by the condition variable, must not overflow.
  constexpr std::chrono::nanoseconds kLongestSingleWait = std::chrono::hours(1);
  while (!condition()) {
    const std::chrono::nanoseconds left = deadline.remaining();
    if (left.count() == 0) return false;
    changed.wait_for(lock, std::min(left, kLongestSingleWait));
  }
  return true;
}

class HostEvent final : public Event {
 public:
  [[nodiscard]] bool reached() const noexcept override { return reached_.load(std::memory_order_acquire); }

  [[nodiscard]] Status wait(const base::Deadline& deadline) const override {
    std::unique_lock lock(mutex_);
    if (wait_until(changed_, lock, deadline, [this] { return reached(); })) return {};
    return {Code::deadline, "the copies before this event on a host stream are not done in the time given; they go on"};
  }

  // Needs no deadline: an event is handed out only after the work before it was given, so the waits between streams
  // form no circle, and copies between ranges of memory end.
  void wait_in_stream() const {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return reached(); });
  }

  void reach() {
    {
      const std::lock_guard lock(mutex_);
      reached_.store(true, std::memory_order_release);
    }
    changed_.notify_all();
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::atomic<bool> reached_{false};
};

// The event as the host device's, or invalid_argument.
[[nodiscard]] inline Result<std::shared_ptr<HostEvent>> as_host_event(const std::shared_ptr<Event>& event,
                                                                      const std::string& who) {
  auto host_event = std::dynamic_pointer_cast<HostEvent>(event);
  if (host_event == nullptr) {
    return Status(Code::invalid_argument, who + " was told to wait for an event that is not the host device's");
  }
  return host_event;
}

}  // namespace stillframe::device
