// How each run of a chunk is to be stored, decided from a sample of it. Private to this folder. Pure.
#pragma once

#include <cstddef>
#include <span>

#include "codec/codec.hpp"
#include "codec/context.hpp"

namespace stillframe::codec {

// Looks at up to 4096 elements in 16 places. `elements` holds at least one element of `width` bytes, and at most a
// chunk; overwrites the context's buffers.
[[nodiscard]] RunDecision plan_run(std::span<const std::byte> elements, std::size_t width, Level level,
                                   Context& context);

}  // namespace stillframe::codec
