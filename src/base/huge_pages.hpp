// Memory that is about to be written whole for the first time: fewer and larger pages cost less than its bytes do.
#pragma once

#include <cstddef>
#include <span>

namespace stillframe::base {

// Asks the system for huge pages for the whole ones in `range`, when nothing was written there yet. A hint: without it, or
// where the system has none (transparent huge pages 'never'), all is the same and slower. Touches no byte.
void want_huge_pages(std::span<std::byte> range) noexcept;

}  // namespace stillframe::base
