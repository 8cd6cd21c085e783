// Several threads that copy host memory together: the one that asks, and helpers that sleep until there is something to
// do. A large copy is split among them, small ones go together, and nobody is woken for what one thread does as fast.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/thread.hpp"
#include "device/device.hpp"
#include "stillframe/status.hpp"

namespace stillframe::device {

inline constexpr std::size_t kMostCopyThreads = 16;
// What one thread takes at a time: a multiple of what waking another one costs, and still many of them in a snapshot.
inline constexpr std::size_t kCopyPartBytes = std::size_t{256} << 10;
// A copy of a few bytes takes as long as one of so many.
inline constexpr std::size_t kLeastCostOfACopyBytes = 256;

// A place in a row of copies: all before number `copy`, and `offset` bytes of that one, lie before it.
struct CopyPlace {
  std::size_t copy = 0;
  std::size_t offset = 0;
  friend bool operator==(const CopyPlace&, const CopyPlace&) = default;
};

// Where the part ends that begins at `from`, which is not the end of the row. A border inside of a copy is that of a
// page of the target, so that no two threads write to one page of it.
[[nodiscard]] CopyPlace end_of_part(std::span<const HostCopy> copies, CopyPlace from) noexcept;

// Thread-safe. Destroyed: the helpers are joined; nobody may be in copy() then.
class CopyCrew {
 public:
  // `threads` copy at the same time, of which the one that asks is one. invalid_argument for none or more than
  // kMostCopyThreads; no_space when the system refuses a thread.
  [[nodiscard]] static Result<std::shared_ptr<CopyCrew>> start(std::size_t threads);
  // Who asks copies alone.
  [[nodiscard]] static std::shared_ptr<CopyCrew> of_the_caller();
  ~CopyCrew();
  CopyCrew(const CopyCrew&) = delete;
  CopyCrew& operator=(const CopyCrew&) = delete;

  // `copies`: the first so many of them have arrived. The number only grows; the last is that of all. Called by one of
  // the threads at a time; must neither wait, throw nor ask the crew for anything.
  using Arrived = std::function<void(std::size_t copies)>;
  // Returns when all of them have been done, begun in their order. No target overlaps another range. While the helpers
  // work for another thread, the caller copies alone.
  void copy(std::span<const HostCopy> copies, const Arrived& arrived = nullptr);

  [[nodiscard]] std::size_t threads() const noexcept { return helpers_.size() + 1; }

 private:
  struct Job {
    std::span<const HostCopy> copies;
    const Arrived* arrived;
    CopyPlace next;                    // where the part begins that is taken next
    std::vector<CopyPlace> under_way;  // where the parts begin that somebody is at
    std::size_t told = 0;
    [[nodiscard]] bool has_parts() const noexcept { return next.copy < copies.size(); }
  };
  CopyCrew() = default;
  void help();
  void take_parts(std::unique_lock<std::mutex>& lock, Job& job);
  void part_done(Job& job, CopyPlace from);

  std::mutex mutex_;
  std::condition_variable has_parts_;
  std::condition_variable all_ended_;
  Job* job_ = nullptr;  // of the thread in copy()
  bool stopping_ = false;
  std::vector<base::Thread> helpers_;
};

}  // namespace stillframe::device
