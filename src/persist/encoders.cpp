#include "persist/encoders.hpp"

#include <utility>

#include "base/log.hpp"

namespace stillframe::persist {

Result<std::unique_ptr<Encoders>> Encoders::start(std::string name, std::size_t threads, std::size_t queue_limit) {
  SF_ASSIGN(auto pool, base::WorkerPool::start(std::move(name), threads, queue_limit));
  return std::unique_ptr<Encoders>(new Encoders(std::move(pool)));
}

Encoders::Use::Use(Encoders& encoders) : encoders_(encoders) {
  const std::lock_guard lock(encoders_.mutex_);
  ++encoders_.uses_;
}

Encoders::Use::~Use() {
  std::vector<codec::Context> unused;  // let go of without the lock
  const std::lock_guard lock(encoders_.mutex_);
  if (--encoders_.uses_ == 0) unused.swap(encoders_.idle_);
}

Result<codec::Context> Encoders::take_context() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      codec::Context context = std::move(idle_.back());
      idle_.pop_back();
      return context;
    }
  }
  return codec::Context::create();
}

void Encoders::give_back(codec::Context context) {
  const std::lock_guard lock(mutex_);
  if (uses_ > 0 && idle_.size() < threads()) idle_.push_back(std::move(context));
}

std::size_t Encoders::idle_contexts() const {
  const std::lock_guard lock(mutex_);
  return idle_.size();
}

void Encoders::note_missing_literals() {
  if (lacks_literals_.exchange(true)) return;
  base::log(base::LogLevel::warn, "encode.without_literals", {{"what", notice()}});
}

std::string Encoders::notice() const {
  if (!lacks_literals_) return {};
  return "libzstd " + codec::zstd_version() +
         " in this process has no encoder for level default (1.5.1 is the first that has): what Huffman codes would make "
         "smaller is stored as it is; nothing is lost";
}

}  // namespace stillframe::persist
