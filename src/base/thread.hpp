// THE thread door: the only place that starts threads. Every thread has a name and is joined by its owner.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "stillframe/status.hpp"

namespace stillframe::base {

// Cores that threads of this process may run on; at least 1.
[[nodiscard]] std::size_t core_count() noexcept;

// Joins in its destructor: the owner must have told the body to end before. `name` is cut to the kernel's 15 characters.
// The thread takes no signals. The body must not throw.
class Thread {
 public:
  Thread() noexcept = default;
  // Code::no_space when the system refuses a thread.
  [[nodiscard]] static Result<Thread> start(std::string name, std::function<void()> body);
  Thread(Thread&&) noexcept = default;
  Thread& operator=(Thread&& other) noexcept;
  ~Thread() { join(); }

  [[nodiscard]] bool joinable() const noexcept { return thread_.joinable(); }
  void join() noexcept;

 private:
  std::thread thread_;
};

// A fixed number of threads over one bounded queue. submit() blocks while the queue is full (the bound is the
// back-pressure); tasks must not throw. stop() runs what is queued, then joins; the destructor calls it.
class WorkerPool {
 public:
  [[nodiscard]] static Result<std::unique_ptr<WorkerPool>> start(std::string name, std::size_t threads,
                                                                 std::size_t queue_limit);
  ~WorkerPool() { stop(); }
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void submit(std::function<void()> task);
  void stop() noexcept;
  [[nodiscard]] std::size_t threads() const noexcept { return threads_.size(); }

 private:
  explicit WorkerPool(std::size_t queue_limit) : queue_limit_(queue_limit) {}
  void run();

  std::mutex mutex_;
  std::condition_variable has_task_;
  std::condition_variable has_room_;
  std::deque<std::function<void()>> queue_;
  const std::size_t queue_limit_;
  bool stopping_ = false;
  std::vector<Thread> threads_;
};

}  // namespace stillframe::base
