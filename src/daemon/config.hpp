// The daemon's configuration: read once, checked once, then constant. configs/stillframed.toml is the commented reference;
// a test keeps it equal to the defaults here. Flags override the file.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "codec/codec.hpp"
#include "retention/policy.hpp"
#include "stillframe/status.hpp"

namespace stillframe::daemon {

struct Config {
  // [daemon]
  std::string socket;                            // path; empty: refused at start
  std::uint64_t idle_exit_seconds = 0;           // leave after so long without a client or work; 0: never
  std::uint64_t shutdown_deadline_seconds = 600; // a graceful stop finishes what is captured within this
  std::uint32_t max_clients = 64;
  std::vector<uid_t> allowed_uids;               // users served besides the daemon's own and root; empty: nobody
  std::string private_store;                     // when set, only this store is served (real path)
  // [arena]
  std::uint64_t budget_bytes = 0;                // all clients together; 0: half of the memory available at start
  std::uint64_t hot_restore_seconds = 300;       // the newest image of a killed trainer stays for its successor; 0: not once durable
  // [persist]
  std::uint32_t encoder_threads = 0;             // 0: one per core, at most 8
  codec::Level level = codec::Level::standard;
  std::uint64_t persist_every_steps = 0;         // of a run whose client says nothing; both 0: every snapshot
  std::uint64_t persist_every_seconds = 0;
  std::uint64_t group_deadline_seconds = 120;    // ranks of a group seal the same step within this, else none is kept
  // [retention]
  retention::Policy retention;                   // of a run whose client states none
  // [scrub]
  std::uint64_t scrub_bytes_per_second = 64ULL << 20;  // re-read in the background; 0: no scrub
  std::uint64_t scrub_every_seconds = 7 * 86'400;      // a verified checkpoint is re-read when that is so long ago; 0: never again
  // [log]
  base::LogLevel log_level = base::LogLevel::info;
  std::string log_path;                          // empty: standard error
};

// invalid_argument: "<file>:<line>: <section.key>: expected <type or range>, found <what>". Unknown keys and sections are
// refused, with the nearest known key when there is one.
[[nodiscard]] Result<Config> parse_config(std::string_view toml, const std::string& file_name);

struct ConfigKey {
  std::string name;         // "arena.budget_bytes"
  std::string flag;         // "--arena-budget-bytes"
  std::string type;         // "integer", "string"
  std::string description;  // one line with the unit
};
// Every key, in the order of the reference; what --help prints.
[[nodiscard]] const std::vector<ConfigKey>& config_keys();
// Sets one key from a flag's text; errors as parse_config with the flag in place of the file.
[[nodiscard]] Status set_config_key(Config& config, const std::string& name, const std::string& value);

}  // namespace stillframe::daemon
