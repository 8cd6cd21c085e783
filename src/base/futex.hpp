// Waiting on a 32-bit counter in memory that several processes share.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/clock.hpp"

namespace stillframe::base {

static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

// Returns when `word` no longer holds `seen`, when woken, or when the deadline has passed; may return early.
// The caller re-reads its condition in a loop.
void futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t seen, const Deadline& deadline) noexcept;

// Adds one and wakes every waiter, in every process.
void futex_bump(std::atomic<std::uint32_t>& word) noexcept;

}  // namespace stillframe::base
