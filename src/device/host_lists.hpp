// Lists for the kernels' host twins, as the host device makes them.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "device/copy_entries.hpp"
#include "device/device.hpp"

namespace stillframe::device {

class HostCopyList final : public CopyList {
 public:
  explicit HostCopyList(std::size_t most_copies) : most_copies_(most_copies) {}
  [[nodiscard]] std::size_t most_copies() const noexcept override { return most_copies_; }

  [[nodiscard]] Status write(std::span<const DeviceCopy> copies, const std::string& where) {
    auto entries = std::make_shared<std::vector<gather::Entry>>(most_copies_);
    SF_TRY(list_copies(copies, *entries, where));
    entries->resize(copies.size());
    entries_ = std::move(entries);
    return {};
  }
  [[nodiscard]] const std::shared_ptr<const std::vector<gather::Entry>>& entries() const noexcept { return entries_; }

 private:
  const std::size_t most_copies_;
  std::shared_ptr<const std::vector<gather::Entry>> entries_ = std::make_shared<std::vector<gather::Entry>>();
};

class HostFingerprints final : public Fingerprints {
 public:
  explicit HostFingerprints(std::size_t most_ranges) : most_ranges_(most_ranges) {}
  [[nodiscard]] std::size_t most_ranges() const noexcept override { return most_ranges_; }
  [[nodiscard]] std::uint64_t value(std::size_t index) const noexcept override { return (*entries_)[index].sum; }

  [[nodiscard]] Status write(std::span<const DeviceRange> ranges, const std::string& where) {
    auto entries = std::make_shared<std::vector<fingerprint::Entry>>(most_ranges_);
    SF_TRY(list_ranges(ranges, *entries, where));
    entries->resize(ranges.size());
    entries_ = std::move(entries);
    return {};
  }
  [[nodiscard]] const std::shared_ptr<std::vector<fingerprint::Entry>>& entries() const noexcept { return entries_; }

 private:
  const std::size_t most_ranges_;
  std::shared_ptr<std::vector<fingerprint::Entry>> entries_ = std::make_shared<std::vector<fingerprint::Entry>>();
};

// The fingerprints as the host device's, or invalid_argument.
[[nodiscard]] inline Result<HostFingerprints*> as_host_fingerprints(Fingerprints& prints, const std::string& who) {
  auto* const host_prints = dynamic_cast<HostFingerprints*>(&prints);
  if (host_prints == nullptr) {
    return Status(Code::invalid_argument, who + " was given fingerprints that are not the host device's");
  }
  return host_prints;
}

// The list as the host device's, or invalid_argument.
[[nodiscard]] inline Result<HostCopyList*> as_host_list(CopyList& list, const std::string& who) {
  auto* const host_list = dynamic_cast<HostCopyList*>(&list);
  if (host_list == nullptr) {
    return Status(Code::invalid_argument, who + " was given a list of copies that is not the host device's");
  }
  return host_list;
}

}  // namespace stillframe::device
