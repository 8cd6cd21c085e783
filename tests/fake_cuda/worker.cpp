#include "fake_cuda/worker.hpp"

#include <pthread.h>

#include <csignal>

namespace stillframe::fake_cuda {
namespace {

// For pauses in the middle of an operation, which end early only for a reset. Kept for the life of the process.
struct Pauses {
  std::mutex mutex;
  std::condition_variable cut_short;
};
Pauses& pauses() {
  static Pauses& kept = *new Pauses;
  return kept;
}

// The first of the points that is not reached; null when all are.
const Point* not_reached(const Operation& operation) {
  for (const Point& point : operation.after) {
    if (!point.reached()) return &point;
  }
  return nullptr;
}

// Waits until the first operation may run. False: the worker ends. The lock is held but for the waits.
bool wait_for_turn(const Config& config, const std::shared_ptr<Stream>& stream, std::unique_lock<std::mutex>& lock) {
  for (;;) {
    if (stream->abandoned) return false;
    if (stream->queue.empty()) {
      if (stream->closing) return false;
      stream->wake.wait(lock);
      continue;
    }
    Operation& first = stream->queue.front();
    if (std::exchange(first.hangs, false)) stream->hangs = true;
    if (stream->hangs) {
      stream->wake.wait(lock);
      continue;
    }
    const bool wanted = stream->wanted >= first.number;
    if (!wanted && std::chrono::steady_clock::now() < first.due) {
      if (first.due == Time::max()) {
        stream->wake.wait(lock);
      } else {
        stream->wake.wait_until(lock, first.due);
      }
      continue;
    }
    const Point* const missing = not_reached(first);
    if (missing == nullptr) return true;
    missing->stream->to_wake.push_back(stream);
    if (wanted || config.schedule == Schedule::eager) want(*missing);
    stream->wake.wait(lock);
  }
}

void run_first(State& state, World& world, Stream& stream, std::unique_lock<std::mutex>& lock) {
  Operation operation = std::move(stream.queue.front());
  stream.queue.pop_front();
  if (stream.context->fault == cuda::kSuccess) {
    if (operation.fault != cuda::kSuccess) {
      stream.context->fault = operation.fault;
    } else if (operation.run) {
      lock.unlock();
      operation.run(stream);
      operation.run = nullptr;  // lets go what it holds, without the lock
      lock.lock();
    }
  }
  stream.done = operation.number;
  world.done[stream.entity] = operation.number;
  ++world.operations_done;
  for (const auto& waiting : stream.to_wake) {
    if (const auto other = waiting.lock()) other->wake.notify_all();
  }
  stream.to_wake.clear();
  if (state.host_waiters > 0) state.progress.notify_all();
}

void work(State& state, World& world, const std::shared_ptr<Stream>& stream) {
  std::unique_lock lock(state.mutex);
  while (wait_for_turn(world.config, stream, lock)) run_first(state, world, *stream, lock);
  stream->ended = true;
}

void join_ended(World& world) {
  std::erase_if(world.workers, [](auto& worker) {
    if (!worker.first->ended) return false;
    worker.second.join();
    return true;
  });
}

}  // namespace

void start_worker(World& world, const std::shared_ptr<Stream>& stream) {
  join_ended(world);
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  world.workers.emplace_back(stream, std::thread([&world, stream] { work(state(), world, stream); }));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

bool pause_until(const Stream& stream, Time when) {
  if (std::chrono::steady_clock::now() >= when) return !stream.abandoned;  // even a wait for the past is not free
  Pauses& all = pauses();
  std::unique_lock lock(all.mutex);
  return !all.cut_short.wait_until(lock, when, [&] { return stream.abandoned.load(); });
}

void stop_workers(std::vector<std::pair<std::shared_ptr<Stream>, std::thread>> workers) {
  {
    const std::scoped_lock locks(state().mutex, pauses().mutex);
    for (auto& [stream, thread] : workers) {
      stream->abandoned = true;
      stream->wake.notify_all();
    }
    pauses().cut_short.notify_all();
  }
  for (auto& [stream, thread] : workers) thread.join();
}

}  // namespace stillframe::fake_cuda
