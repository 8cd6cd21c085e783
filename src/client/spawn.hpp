// A daemon without being asked for: where it listens, and how it is started.
#pragma once

#include <string>

#include "base/clock.hpp"
#include "stillframe/status.hpp"
#include "transport/transport.hpp"

namespace stillframe::client {

struct SpawnOptions {
  std::string socket;       // where it is to listen
  std::string store;        // the only store it will serve; real path
  std::string daemon_path;  // empty: beside this library, in ../bin of it, then on PATH
  std::string config;       // TOML file; empty: defaults
};

// Connects to the daemon of that socket, starting one under a lock when none is there. The daemon is no child of this
// process any more, inherits no descriptor, and leaves when idle. unavailable with its error when it does not come up.
[[nodiscard]] Result<transport::Connection> connect_or_spawn(const SpawnOptions& options, const base::Deadline& deadline);

}  // namespace stillframe::client
