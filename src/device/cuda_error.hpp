// What a result of the driver means to the caller, in words.
#pragma once

#include <string>
#include <string_view>

#include "device/cuda_api.hpp"
#include "stillframe/status.hpp"

namespace stillframe::device::cuda {

struct Calls;

// "<what> <where>", as in "recording an event on" and "stream 'sf-copy' of cuda:0". Of the duration of one call.
struct Doing {
  std::string_view what;
  std::string_view where;
};

// Whether the context is lost with it: every later call fails in the same way.
[[nodiscard]] bool is_sticky(CUresult result) noexcept;

// ok for kSuccess; else what was being done, the driver's name, number and text for it, and what to do.
[[nodiscard]] Status status_of(const Calls& calls, CUresult result, const Doing& doing);

}  // namespace stillframe::device::cuda
