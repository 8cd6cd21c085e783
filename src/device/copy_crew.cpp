#include "device/copy_crew.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

namespace stillframe::device {
namespace {

constexpr std::uintptr_t kPageBytes = 4096;

// Offset of the last border of a page that is not behind `offset`; 0 when there is none.
std::size_t border_before(const HostCopy& copy, std::size_t offset) noexcept {
  const std::size_t beyond = (reinterpret_cast<std::uintptr_t>(copy.to.data()) + offset) % kPageBytes;
  return offset - std::min(beyond, offset);
}

void copy_bytes(const HostCopy& copy, std::size_t from, std::size_t to) noexcept {
  if (to > from) std::memcpy(copy.to.data() + from, static_cast<const std::byte*>(copy.from) + from, to - from);
}

void copy_part(std::span<const HostCopy> copies, CopyPlace from, CopyPlace to) noexcept {
  for (; from.copy < to.copy; from = {from.copy + 1, 0}) {
    copy_bytes(copies[from.copy], from.offset, copies[from.copy].to.size());
  }
  if (to.copy < copies.size()) copy_bytes(copies[to.copy], from.offset, to.offset);
}

void copy_alone(std::span<const HostCopy> copies, const CopyCrew::Arrived& arrived) {
  for (std::size_t i = 0; i < copies.size(); ++i) {
    copy_bytes(copies[i], 0, copies[i].to.size());
    if (arrived) arrived(i + 1);
  }
}

}  // namespace

CopyPlace end_of_part(std::span<const HostCopy> copies, CopyPlace from) noexcept {
  std::size_t room = kCopyPartBytes;
  for (CopyPlace end = from;; end = {end.copy + 1, 0}) {
    if (end.copy == copies.size() || room == 0) return end;
    const std::size_t left = copies[end.copy].to.size() - end.offset;
    if (left > room) {
      const std::size_t border = border_before(copies[end.copy], end.offset + room);
      return border > end.offset ? CopyPlace{end.copy, border} : end;
    }
    room -= std::min(room, std::max(left, kLeastCostOfACopyBytes));
  }
}

Result<std::shared_ptr<CopyCrew>> CopyCrew::start(std::size_t threads) {
  if (threads == 0 || threads > kMostCopyThreads) {
    return Status(Code::invalid_argument,
                  "copy_threads is 1 to " + std::to_string(kMostCopyThreads) + ", not " + std::to_string(threads));
  }
  std::shared_ptr<CopyCrew> crew = of_the_caller();
  for (std::size_t number = 2; number <= threads; ++number) {
    const std::string name = "sf-copy-" + std::to_string(number);
    auto helper = base::Thread::start(name, [raw = crew.get()] { raw->help(); });
    if (!helper.ok()) {
      return std::move(helper).status().with_context("starting copy thread " + std::to_string(number) + " of " +
                                                     std::to_string(threads) + " (copy_threads)");
    }
    crew->helpers_.push_back(std::move(helper).value());
  }
  return crew;
}

std::shared_ptr<CopyCrew> CopyCrew::of_the_caller() { return std::shared_ptr<CopyCrew>(new CopyCrew()); }

CopyCrew::~CopyCrew() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  has_parts_.notify_all();
  for (base::Thread& helper : helpers_) helper.join();
}

void CopyCrew::copy(std::span<const HostCopy> copies, const Arrived& arrived) {
  if (copies.empty()) return;
  const bool is_one_part = helpers_.empty() || end_of_part(copies, {}).copy == copies.size();
  if (is_one_part) return copy_alone(copies, arrived);
  std::unique_lock lock(mutex_);
  if (job_ != nullptr) {
    lock.unlock();
    return copy_alone(copies, arrived);
  }
  Job job{copies, &arrived, {}, {}};
  job.under_way.reserve(threads());
  job_ = &job;
  take_parts(lock, job);
  // Without a deadline: a helper is inside of memory that belongs to the caller, and copies between ranges of memory
  // end.
  all_ended_.wait(lock, [&job] { return job.under_way.empty(); });
  job_ = nullptr;
}

void CopyCrew::help() {
  std::unique_lock lock(mutex_);
  for (;;) {
    has_parts_.wait(lock, [this] { return stopping_ || (job_ != nullptr && job_->has_parts()); });
    if (stopping_) return;
    take_parts(lock, *job_);
  }
}

void CopyCrew::take_parts(std::unique_lock<std::mutex>& lock, Job& job) {
  while (job.has_parts()) {
    const CopyPlace from = job.next;
    const CopyPlace to = end_of_part(job.copies, from);
    job.next = to;
    job.under_way.push_back(from);
    const bool is_more = job.has_parts();
    lock.unlock();
    // Each one wakes the next, so that no more are woken than find something to do.
    if (is_more) has_parts_.notify_one();
    copy_part(job.copies, from, to);
    lock.lock();
    part_done(job, from);
  }
}

void CopyCrew::part_done(Job& job, CopyPlace from) {
  std::erase(job.under_way, from);
  std::size_t arrived = job.next.copy;
  for (const CopyPlace& part : job.under_way) arrived = std::min(arrived, part.copy);
  if (*job.arrived && arrived > job.told) (*job.arrived)(arrived);
  job.told = std::max(job.told, arrived);
  if (job.under_way.empty() && !job.has_parts()) all_ended_.notify_one();
}

}  // namespace stillframe::device
