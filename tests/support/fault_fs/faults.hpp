// What goes wrong in fault_fs, and when; told line by line.
//
//   hold <op>…              their requests are answered only after `release`
//   freeze <n>              n more changing requests are served; then nothing is, as when the power is about to fail
//   fail <op> <errno> <n>   the next n requests of that kind fail; n = -1: all
//   short <bytes>           a write takes at most so many; 0: all again
//   space <bytes>           the size of the file system; -1: unlimited
//   release                 ends hold, freeze and fail, and answers who waits
//   forget [seed]           the power fails: who waits gets EIO, and only what was synced is there (with a seed: and some more)
//   held                    answered once a request is being held
//   quit
//
// Ops: lookup read bulkread (of 64 KiB or more) write fsync fsyncdir create mkdir rename unlink rmdir link open setattr statfs.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

namespace stillframe::test {

class Faults {
 public:
  // Whether a request of kind `op` waits. Counts it for `freeze`.
  [[nodiscard]] bool holds(const std::string& op, bool changes);
  // The errno it fails with; 0: it does not.
  [[nodiscard]] int failure(const std::string& op);
  [[nodiscard]] std::size_t write_limit(std::size_t bytes) const noexcept;
  [[nodiscard]] std::optional<std::uint64_t> space() const noexcept { return space_; }
  void release();

  // One of the lines above but release, forget, held and quit; false when it is not understood.
  [[nodiscard]] bool take(const std::string& line);

 private:
  struct Failing {
    int error = 0;
    std::int64_t times = 0;
  };
  std::set<std::string> held_;
  std::optional<std::uint64_t> until_frozen_;
  std::map<std::string, Failing> failing_;
  std::size_t short_bytes_ = 0;
  std::optional<std::uint64_t> space_;
};

}  // namespace stillframe::test
