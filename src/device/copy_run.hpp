// A run of copies of one stream that may be made at the same time, though they were given one after the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "device/device.hpp"

namespace stillframe::device {

class CopyRun {
 public:
  // To the end of the run, all of them, whose order among themselves is open. False, and none was added, when one of
  // them writes to what the run reads or writes, or reads what it writes: what is not seen apart at a glance counts as
  // that.
  [[nodiscard]] bool add(std::span<const HostCopy> copies);
  [[nodiscard]] std::span<const HostCopy> copies() const noexcept { return copies_; }
  void clear() noexcept;

 private:
  // From the first to behind the last of several ranges.
  struct Hull {
    std::uintptr_t begin = UINTPTR_MAX;
    std::uintptr_t end = 0;
    void take_in(const void* from, std::size_t bytes) noexcept;
    [[nodiscard]] bool meets(const Hull& other) const noexcept { return begin < other.end && other.begin < end; }
  };
  [[nodiscard]] static Hull read_by(const HostCopy& copy) noexcept;
  [[nodiscard]] bool may_read(std::span<const HostCopy> copies, const Hull& read) const;
  [[nodiscard]] bool may_write(const Hull& written) const;

  std::vector<HostCopy> copies_;
  Hull read_;
  std::vector<Hull> written_;  // of each add()
};

}  // namespace stillframe::device
