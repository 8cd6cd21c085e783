// Checking a whole checkpoint: every finding is reported, not only the first. Changes nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "stillframe/status.hpp"
#include "store/store.hpp"

namespace stillframe::store {

enum class VerifyDepth : std::uint8_t {
  quick,  // manifest, chunk tables, safetensors headers, presence, size and owner of every file
  full,   // and every chunk, past the page cache
};

struct Finding {
  std::string file;     // relative to the store: "<name>/rank-00000.data"
  std::string tensors;  // names of the entries in the chunk, shortened; empty for a whole file
  std::int64_t chunk = -1;
  std::string what;
  Code code = Code::corrupt;  // corrupt: the bytes are wrong for good; else they could not be had (I/O, owner, a link)
};

struct VerifyReport {
  std::string name;
  bool ok = false;           // no finding
  bool damaged = false;      // a finding says corrupt: only then may the checkpoint be marked bad
  bool confirmed = false;    // the manifest's word: the fence was passed and nothing had moved
  std::uint64_t chunks = 0;  // read and checked; so are raw_bytes
  std::uint64_t raw_bytes = 0;
  std::uint64_t stored_bytes = 0;  // of every file that the manifest names, and of the manifest
  std::vector<Finding> findings;   // at most 1000; then the count goes on in `findings_total`
  std::uint64_t findings_total = 0;
};

// Holds the shared lock of the checkpoint meanwhile. `progress` (may be empty) is called with raw bytes done and total,
// and ends the work early by returning false (then Code::deadline). A checkpoint that is damaged, or cannot be read in
// part, is a report; not_found and unsupported (a version of the future) are errors.
[[nodiscard]] Result<VerifyReport> verify(const Store& store, const std::string& name, VerifyDepth depth,
                                          const std::function<bool(std::uint64_t, std::uint64_t)>& progress);

// "<name>/rank-00000.data, chunk 3 (layer.weight): what; and 4 more": the first finding, for a mark or a log line.
// About 4 KiB at most: a mark is read up to 64 KiB.
[[nodiscard]] std::string first_finding(const VerifyReport& report);

}  // namespace stillframe::store
