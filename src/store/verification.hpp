// The work behind verify and scrub: one opened checkpoint, checked file by file and chunk by chunk.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "store/checkpoint_files.hpp"
#include "store/verify.hpp"

namespace stillframe::store {

// Each may be empty, and ends the work early by returning false (then Code::deadline).
struct VerifyHooks {
  std::function<bool(std::uint64_t done, std::uint64_t total)> progress;  // raw bytes
  std::function<bool(std::uint64_t bytes)> was_read;                      // from the store, since the last call
};

[[nodiscard]] Result<VerifyReport> verify_opened(const Store& store, const OpenedManifest& opened, VerifyDepth depth,
                                                 const VerifyHooks& hooks);

// A checkpoint whose manifest did not open: a report with that finding, or the error where it proves nothing
// (not_found, a version of the future).
[[nodiscard]] Result<VerifyReport> verify_unopened(const std::string& name, const Status& why);

}  // namespace stillframe::store
