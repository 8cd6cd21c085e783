#include "device/copy_entries.hpp"

#include <algorithm>
#include <cstdint>
#include <string>

namespace stillframe::device {
namespace {

bool has_null(const DeviceCopy& copy) noexcept {
  return copy.bytes != 0 && (copy.to == nullptr || copy.from == nullptr);
}

}  // namespace

Status check_list_size(std::size_t most_copies) {
  if (most_copies > 0 && most_copies <= kMostListedCopies) return {};
  return {Code::invalid_argument, "a list of " + std::to_string(most_copies) + " ranges was asked for; it holds 1 to " +
                                      std::to_string(kMostListedCopies)};
}

Status list_copies(std::span<const DeviceCopy> copies, std::span<gather::Entry> entries, std::string_view where) {
  if (copies.size() > entries.size()) {
    return {Code::invalid_argument, std::string(where) + " was given " + std::to_string(copies.size()) +
                                        " copies for a list that holds " + std::to_string(entries.size())};
  }
  if (std::any_of(copies.begin(), copies.end(), has_null)) {
    return {Code::invalid_argument, std::string(where) + " was given a copy with a null address; nothing was listed"};
  }
  std::uint64_t grains = 0;
  for (std::size_t i = 0; i < copies.size(); ++i) {
    entries[i] = {reinterpret_cast<std::uintptr_t>(copies[i].to), reinterpret_cast<std::uintptr_t>(copies[i].from),
                  copies[i].bytes, grains};
    grains += gather::grains_of(entries[i]);
  }
  return {};
}

Status list_ranges(std::span<const DeviceRange> ranges, std::span<fingerprint::Entry> entries, std::string_view where) {
  if (ranges.size() > entries.size()) {
    return {Code::invalid_argument, std::string(where) + " was given " + std::to_string(ranges.size()) +
                                        " ranges for " + std::to_string(entries.size()) + " fingerprints"};
  }
  if (std::any_of(ranges.begin(), ranges.end(),
                  [](const DeviceRange& range) { return range.bytes != 0 && range.from == nullptr; })) {
    return {Code::invalid_argument, std::string(where) + " was given a range with a null address; nothing was listed"};
  }
  std::uint64_t grains = 0;
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    entries[i] = {reinterpret_cast<std::uintptr_t>(ranges[i].from), ranges[i].bytes, grains, 0};
    grains += fingerprint::grains_of(ranges[i].bytes);
  }
  return {};
}

std::uint64_t fingerprint_of(std::span<const std::byte> bytes) noexcept {
  return fingerprint::of_host_memory(bytes.data(), bytes.size());
}

Status check_part(std::size_t first, std::size_t count, std::size_t listed, std::string_view where) {
  if (first <= listed && count <= listed - first) return {};
  return {Code::invalid_argument, std::string(where) + " was told to perform copies " + std::to_string(first) + " to " +
                                      std::to_string(first + count) + " of a list that holds " +
                                      std::to_string(listed)};
}

}  // namespace stillframe::device
