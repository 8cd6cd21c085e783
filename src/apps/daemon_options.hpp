// The command line of stillframed: flags over file over defaults.
#pragma once

#include <optional>

#include "daemon/config.hpp"
#include "stillframe/status.hpp"

namespace stillframe::apps {

struct DaemonOptions {
  daemon::Config config;
  bool detach = false;
};

// nullopt: --help or --version was printed. invalid_argument for an unknown flag, an ill value (flag, or file and line,
// key, what was expected) or a missing socket; not_found or io_error for the file.
[[nodiscard]] Result<std::optional<DaemonOptions>> parse_daemon_options(int argc, char** argv);

}  // namespace stillframe::apps
