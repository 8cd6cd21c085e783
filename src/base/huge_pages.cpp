#include "base/huge_pages.hpp"

#include <sys/mman.h>

#include <cstdint>

namespace stillframe::base {
namespace {

constexpr std::uintptr_t kHugePageBytes = 2U << 20U;
constexpr std::size_t kPageBytes = 4096;

}  // namespace

void want_huge_pages(std::span<std::byte> range) noexcept {
  const auto begin = reinterpret_cast<std::uintptr_t>(range.data());
  const std::uintptr_t first = (begin + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
  const std::uintptr_t end = (begin + range.size()) / kHugePageBytes * kHugePageBytes;
  if (end <= first) return;
  std::byte* const from = range.data() + (first - begin);
  // Memory that is in use has its pages; advice would only have the system move them about later.
  unsigned char resident = 0;
  if (::mincore(from, kPageBytes, &resident) != 0 || (resident & 1U) != 0) return;
  static_cast<void>(::madvise(from, end - first, MADV_HUGEPAGE));
}

}  // namespace stillframe::base
