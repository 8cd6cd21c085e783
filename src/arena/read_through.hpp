// Bytes of an arena by way of its descriptor instead of its mapping: for a reader that comes once, the faults of a fresh mapping
// cost more than the copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "arena/arena.hpp"

namespace stillframe::arena {

// The first bytes of a slot's chunk, at most a chunk of them. From any thread.
[[nodiscard]] Status read_through(const Arena& arena, std::uint64_t slot, std::span<std::byte> to) noexcept;

}  // namespace stillframe::arena
