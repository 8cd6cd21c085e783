#include "base/futex.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>

namespace stillframe::base {

void futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t seen, const Deadline& deadline) noexcept {
  const std::int64_t remaining = deadline.remaining_ns();
  if (remaining == 0) return;
  timespec timeout{};
  timeout.tv_sec = static_cast<std::time_t>(remaining / 1'000'000'000);
  timeout.tv_nsec = static_cast<long>(remaining % 1'000'000'000);
  // FUTEX_WAIT without FUTEX_PRIVATE_FLAG: the word lies in memory of several processes.
  ::syscall(SYS_futex, &word, FUTEX_WAIT, seen, &timeout, nullptr, 0);
}

void futex_bump(std::atomic<std::uint32_t>& word) noexcept {
  word.fetch_add(1, std::memory_order_seq_cst);
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace stillframe::base
