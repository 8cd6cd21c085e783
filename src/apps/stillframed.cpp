// stillframed: the daemon's process. What it does stands in daemon/server.hpp.
#include <csignal>
#include <iostream>

#include "apps/daemon_options.hpp"
#include "apps/detach.hpp"
#include "apps/exit_code.hpp"
#include "apps/table.hpp"
#include "base/log.hpp"
#include "daemon/server.hpp"

namespace stillframe::apps {
namespace {

constexpr std::uint64_t kStartDeadlineMs = 60'000;

int serve(const daemon::Config& config, StartReport& start) {
  Status status = base::configure_log(config.log_level, config.log_path);
  if (status.ok()) status = daemon::run(config, [&start] { start.ready(); });
  if (!status.ok() && start.failed(status)) return exit_code(status);
  return report("stillframed", status);
}

int run(int argc, char** argv) {
  // A file that grows beyond a limit (ulimit -f), be it the log, is an error and not the end.
  std::signal(SIGXFSZ, SIG_IGN);
  const auto options = parse_daemon_options(argc, argv);
  if (!options.ok()) return report("stillframed", options.status());
  if (!options->has_value()) return kExitOk;
  daemon::Config config = (*options)->config;
  // A detached daemon has no standard error that anybody reads.
  if ((*options)->detach && config.log_path.empty() && !config.socket.empty()) config.log_path = config.socket + ".log";
  if (!(*options)->detach) {
    StartReport nobody;
    return serve(config, nobody);
  }
  const Status started = run_detached(config.log_path.empty(), base::Deadline::after_ms(kStartDeadlineMs),
                                      [&config](StartReport& start) { return serve(config, start); });
  return report("stillframed", started);
}

}  // namespace
}  // namespace stillframe::apps

int main(int argc, char** argv) {
  try {
    return stillframe::apps::run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "stillframed: a defect of Stillframe, or out of memory: " << stillframe::apps::printable(error.what())
              << '\n';
    return stillframe::apps::kExitFailure;
  }
}
