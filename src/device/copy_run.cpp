#include "device/copy_run.hpp"

#include <algorithm>

namespace stillframe::device {

void CopyRun::Hull::take_in(const void* from, std::size_t bytes) noexcept {
  const auto first = reinterpret_cast<std::uintptr_t>(from);
  begin = std::min(begin, first);
  end = std::max(end, first + bytes);
}

CopyRun::Hull CopyRun::read_by(const HostCopy& copy) noexcept {
  Hull hull;
  hull.take_in(copy.from, copy.to.size());
  return hull;
}

bool CopyRun::add(std::span<const HostCopy> copies) {
  Hull read;
  Hull written;
  for (const HostCopy& copy : copies) {
    read.take_in(copy.from, copy.to.size());
    written.take_in(copy.to.data(), copy.to.size());
  }
  if (!may_read(copies, read) || !may_write(written)) return false;
  copies_.insert(copies_.end(), copies.begin(), copies.end());
  read_.begin = std::min(read_.begin, read.begin);
  read_.end = std::max(read_.end, read.end);
  written_.push_back(written);
  return true;
}

// The tensors of a state lie on both sides of an arena, so that a hull around them says little: they are looked at one
// by one.
bool CopyRun::may_read(std::span<const HostCopy> copies, const Hull& read) const {
  return std::ranges::none_of(written_, [&](const Hull& one) {
    return one.meets(read) &&
           std::ranges::any_of(copies, [&](const HostCopy& copy) { return one.meets(read_by(copy)); });
  });
}

bool CopyRun::may_write(const Hull& written) const {
  if (std::ranges::any_of(written_, [&](const Hull& one) { return one.meets(written); })) return false;
  return !written.meets(read_) ||
         std::ranges::none_of(copies_, [&](const HostCopy& copy) { return written.meets(read_by(copy)); });
}

void CopyRun::clear() noexcept {
  copies_.clear();
  read_ = {};
  written_.clear();
}

}  // namespace stillframe::device
