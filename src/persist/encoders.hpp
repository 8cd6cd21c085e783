// What all runs of a daemon encode with: threads, and for each of them at most one context of the codec.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/thread.hpp"
#include "codec/context.hpp"
#include "stillframe/status.hpp"

namespace stillframe::persist {

// Thread-safe. Outlives those who submit.
class Encoders {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Encoders>> start(std::string name, std::size_t threads,
                                                               std::size_t queue_limit);
  // See base::WorkerPool. What is queued runs before the destructor returns.
  void submit(std::function<void()> task) { pool_->submit(std::move(task)); }
  [[nodiscard]] std::size_t threads() const noexcept { return pool_->threads(); }

  // ---- contexts, about 3 MiB each

  // While one of these lives, contexts that are given back are kept for the next chunk; without any none is held.
  class Use {
   public:
    explicit Use(Encoders& encoders);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    Encoders& encoders_;
  };
  // For one of the threads, which has one at a time: so there are never more than threads. As Context::create().
  [[nodiscard]] Result<codec::Context> take_context();
  void give_back(codec::Context context);
  [[nodiscard]] std::size_t idle_contexts() const;

  // Said once in the log: level default is obeyed without Huffman codes, since libzstd has none for us.
  void note_missing_literals();
  // In words, for the status; empty when all is well.
  [[nodiscard]] std::string notice() const;

 private:
  explicit Encoders(std::unique_ptr<base::WorkerPool> pool) : pool_(std::move(pool)) {}

  mutable std::mutex mutex_;
  std::size_t uses_ = 0;
  std::vector<codec::Context> idle_;
  std::atomic<bool> lacks_literals_{false};
  std::unique_ptr<base::WorkerPool> pool_;  // last: its threads end before the rest goes
};

}  // namespace stillframe::persist
