#include "base/thread.hpp"

#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <system_error>

namespace stillframe::base {
namespace {

// Signals belong to the main thread of the process we are a guest in; a thread of ours that took one could run the
// trainer's handler at a bad moment.
class BlockedSignals {
 public:
  BlockedSignals() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

std::size_t core_count() noexcept { return std::max<std::size_t>(1, std::thread::hardware_concurrency()); }

Result<Thread> Thread::start(std::string name, std::function<void()> body) {
  constexpr std::size_t kKernelNameLimit = 15;
  name.resize(std::min(name.size(), kKernelNameLimit));
  Thread thread;
  try {
    const BlockedSignals blocked;
    thread.thread_ = std::thread([name, body = std::move(body)] {
      pthread_setname_np(pthread_self(), name.c_str());
      body();
    });
  } catch (const std::system_error& error) {
    return Status(Code::no_space, "thread '" + name + "' was refused by the system: " + error.what() +
                                      "; raise the limit of processes (ulimit -u) or of the container (pids.max)");
  }
  return thread;
}

Thread& Thread::operator=(Thread&& other) noexcept {
  if (this != &other) {
    join();
    thread_ = std::move(other.thread_);
  }
  return *this;
}

void Thread::join() noexcept {
  if (thread_.joinable()) thread_.join();
}

Result<std::unique_ptr<WorkerPool>> WorkerPool::start(std::string name, std::size_t threads, std::size_t queue_limit) {
  std::unique_ptr<WorkerPool> pool(new WorkerPool(std::max<std::size_t>(1, queue_limit)));
  for (std::size_t i = 0; i < std::max<std::size_t>(1, threads); ++i) {
    SF_ASSIGN(Thread thread, Thread::start(name + std::to_string(i), [raw = pool.get()] { raw->run(); }));
    pool->threads_.push_back(std::move(thread));
  }
  return pool;
}

void WorkerPool::submit(std::function<void()> task) {
  std::unique_lock lock(mutex_);
  has_room_.wait(lock, [this] { return queue_.size() < queue_limit_; });
  queue_.push_back(std::move(task));
  has_task_.notify_one();
}

void WorkerPool::stop() noexcept {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  has_task_.notify_all();
  for (Thread& thread : threads_) thread.join();
}

void WorkerPool::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    has_task_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    std::function<void()> task = std::move(queue_.front());
    queue_.pop_front();
    has_room_.notify_one();
    lock.unlock();
    task();
    task = nullptr;  // what the task holds goes before the lock is taken again
    lock.lock();
  }
}

}  // namespace stillframe::base
