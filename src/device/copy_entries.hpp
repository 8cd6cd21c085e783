// What every device does to make a list for a kernel: its entries, as the kernel and its host twin read them.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "cuda/fingerprint_body.hpp"
#include "cuda/gather_body.hpp"
#include "device/device.hpp"
#include "stillframe/status.hpp"

namespace stillframe::device {

[[nodiscard]] Status check_list_size(std::size_t most_copies);

// Into the first of `entries`. invalid_argument, with nothing written: more copies than entries, or a null address.
// `where` names the stream in messages.
[[nodiscard]] Status list_copies(std::span<const DeviceCopy> copies, std::span<gather::Entry> entries,
                                 std::string_view where);

// The same for ranges of which the fingerprints are to be taken.
[[nodiscard]] Status list_ranges(std::span<const DeviceRange> ranges, std::span<fingerprint::Entry> entries,
                                 std::string_view where);

[[nodiscard]] Status check_part(std::size_t first, std::size_t count, std::size_t listed, std::string_view where);

}  // namespace stillframe::device
