#include "apps/daemon_options.hpp"

#include <CLI/CLI.hpp>
#include <sstream>
#include <vector>

#include "apps/exit_code.hpp"
#include "env/env.hpp"

namespace stillframe::apps {
namespace {

constexpr std::uint64_t kMaxConfigBytes = 1 << 20;

constexpr std::string_view kExamples =
    "SIGTERM and SIGINT finish what is captured, then leave. With --detach the command returns when the socket "
    "accepts.\n\n"
    "Examples:\n"
    "  stillframed --config /etc/stillframe/stillframed.toml\n"
    "  stillframed --daemon-socket /run/user/1000/stillframe.sock --daemon-idle-exit-seconds 60 --detach\n\n";

// Text, not numbers: daemon::set_config_key() checks each value, and its message names the flag.
struct Flags {
  std::string config_file;
  bool detach = false;
  std::vector<std::optional<std::string>> values;  // as daemon::config_keys()
};

void declare(CLI::App& app, Flags& flags) {
  app.set_version_flag("--version", "stillframed " STILLFRAME_VERSION);
  app.add_option("--config", flags.config_file, "TOML file; configs/stillframed.toml is the commented reference")
      ->type_name("FILE");
  app.add_flag("--detach", flags.detach,
               "run in the background, in a session of its own, with no inherited descriptors");
  const auto& keys = daemon::config_keys();
  flags.values.resize(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    app.add_option(keys[i].flag, flags.values[i], keys[i].description)
        ->type_name(keys[i].type == "integer" ? "INTEGER" : "TEXT")
        ->group("Configuration (each flag overrides its key in the file)");
  }
  app.footer(std::string(kExamples) + std::string(kExitCodesHelp));
}

Result<daemon::Config> read_file(const std::string& path) {
  if (path.empty()) return daemon::Config{};
  SF_ASSIGN(const std::string real, env::posix_env().real_path(path));
  SF_ASSIGN(const std::string text, env::read_whole(env::posix_env(), real, kMaxConfigBytes));
  return daemon::parse_config(text, path);
}

}  // namespace

Result<std::optional<DaemonOptions>> parse_daemon_options(int argc, char** argv) {
  CLI::App app("Takes checkpoints of training runs: serves a Unix socket, keeps snapshots in memory, writes them out.",
               "stillframed");
  Flags flags;
  declare(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (app.exit(error, std::cout, std::cerr) == 0) return std::optional<DaemonOptions>();
    return Status(Code::invalid_argument, "the command line is not understood; stillframed --help lists every flag");
  }
  DaemonOptions options;
  options.detach = flags.detach;
  SF_ASSIGN(options.config, read_file(flags.config_file));
  const auto& keys = daemon::config_keys();
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (flags.values[i]) SF_TRY(daemon::set_config_key(options.config, keys[i].name, *flags.values[i]));
  }
  if (options.config.socket.empty()) {
    return Status(Code::invalid_argument,
                  "daemon.socket: expected an absolute path, found none: give --daemon-socket PATH, "
                  "or the key in the file that --config names");
  }
  return std::optional<DaemonOptions>(std::move(options));
}

}  // namespace stillframe::apps
