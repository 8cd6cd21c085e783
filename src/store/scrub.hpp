// Scrub: durable checkpoints are re-read in the background, at a bounded rate, and marked verified or bad.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "stillframe/status.hpp"
#include "store/store.hpp"

namespace stillframe::store {

struct Pace {
  std::uint64_t bytes_per_second = 0;  // read from the store; 0: as fast as it goes
  std::function<bool()> keep_going;    // asked several times a second, also while waiting; empty: to the end
  std::function<void(std::uint64_t done, std::uint64_t total)> progress = {};  // raw bytes of the checkpoint; or empty
};

enum class ScrubOutcome : std::uint8_t {
  verified,            // re-read, every checksum right, confirmed by the fence: marked verified
  bad,                 // damaged and now marked bad, or marked bad before (then it was not read)
  intact_unconfirmed,  // re-read, every checksum right, but no fence confirmed it: not marked
  already_verified,    // marked verified before; re-read only when asked for
  ended,               // keep_going said false: nothing was marked
  gone,                // removed meanwhile, which is no fault
};

struct ScrubReport {
  std::string name;
  ScrubOutcome outcome = ScrubOutcome::ended;
  bool marked = false;           // this call wrote a mark
  std::uint64_t bytes_read = 0;  // from the store
  std::string reason;            // of a bad one: the first finding, or the mark's text
  Status mark_error;             // of one found bad now: why its marks are not as they should be; ask again
};

// Takes the shared lock of the checkpoint until it is marked. Doing it twice changes nothing. With `recheck` one that
// is marked verified is read again; when it is damaged, it is marked bad first, and then the verified mark goes. One
// that is marked bad stays so. Where the bad mark cannot be written (a full disk), the verified mark goes all the same, and
// the report says both: what was found is not forgotten because it could not be noted. An error of the disk or the system proves no damage: it is returned, and nothing is
// marked.
[[nodiscard]] Result<ScrubReport> scrub_checkpoint(const Store& store, const std::string& name, const Pace& pace,
                                                   bool recheck = false);

}  // namespace stillframe::store
