#include "apps/progress.hpp"

#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "apps/table.hpp"
#include "base/bytes.hpp"
#include "base/clock.hpp"

namespace stillframe::apps {
namespace {

constexpr std::int64_t kFirstDrawNs = 1'000'000'000;
constexpr std::int64_t kRedrawNs = 100'000'000;
constexpr std::uint64_t kBarCells = 30;

}  // namespace

Progress::Progress(std::string label)
    : label_(printable(label)),
      on_terminal_(::isatty(STDERR_FILENO) == 1),
      next_draw_ns_(base::system_clock().monotonic_ns() + kFirstDrawNs) {}

Progress::~Progress() {
  if (drawn_) std::cerr << "\r\x1b[K" << std::flush;
}

void Progress::update(std::uint64_t done_bytes, std::uint64_t total_bytes) {
  if (!on_terminal_ || total_bytes == 0) return;
  const std::int64_t now_ns = base::system_clock().monotonic_ns();
  if (now_ns < next_draw_ns_) return;
  next_draw_ns_ = now_ns + kRedrawNs;
  drawn_ = true;
  const double share = std::min(1.0, static_cast<double>(done_bytes) / static_cast<double>(total_bytes));
  const auto cells = static_cast<std::size_t>(share * static_cast<double>(kBarCells));
  std::cerr << '\r' << label_ << " [" << std::string(cells, '#') << std::string(kBarCells - cells, ' ') << "] "
            << static_cast<int>(share * 100) << "% of " << base::human_bytes(total_bytes) << "\x1b[K" << std::flush;
}

}  // namespace stillframe::apps
