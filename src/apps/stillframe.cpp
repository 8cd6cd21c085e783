// stillframe: the command line for people and scripts. Each subcommand stands in its own file.
#include <CLI/CLI.hpp>
#include <iostream>
#include <vector>

#include "apps/commands.hpp"
#include "apps/exit_code.hpp"
#include "apps/table.hpp"

namespace stillframe::apps {
namespace {

// A full disk or a closed pipe behind standard output must not look like success.
int flush_output(int code, int failure_code) {
  std::cout.flush();
  if (std::cout.good()) return code;
  std::cerr << "stillframe: standard output could not be written\n";
  return code == kExitOk || code == kExitDifferent ? failure_code : code;
}

int run_command(const Command& command) {
  try {
    return flush_output(command.run(), command.failure_code);
  } catch (const std::exception& error) {
    std::cerr << "stillframe: a defect of Stillframe, or out of memory: " << printable(error.what()) << '\n';
    return command.failure_code;
  }
}

int run(int argc, char** argv) {
  CLI::App app("Looks into stores of checkpoints and restores from them.", "stillframe");
  app.set_version_flag("--version", "stillframe " STILLFRAME_VERSION);
  app.require_subcommand(1);
  app.footer(
      "An address is STORE[:RUN][@latest|@STEP|@best[:METRIC[:min|max]]|@before-nan]; the run is \"main\" and the\n"
      "checkpoint the latest when not given. @best is by the lowest loss unless it says otherwise, @before-nan the "
      "newest\n"
      "before the loss ceased to be finite.\n\n"
      "Example:\n  stillframe ls runs/gpt\n  stillframe restore runs/gpt@1000 /tmp/weights\n\n" +
      std::string(kExitCodesHelp));
  const std::vector<Command> commands{add_ls(app),    add_show(app),    add_diff(app),   add_verify(app),
                                      add_scrub(app), add_restore(app), add_status(app), add_pin(app),
                                      add_unpin(app), add_prune(app),   add_gc(app)};
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  for (const Command& command : commands) {
    if (command.parser->parsed()) return run_command(command);
  }
  return kExitUsage;
}

}  // namespace
}  // namespace stillframe::apps

int main(int argc, char** argv) {
  try {
    return stillframe::apps::run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "stillframe: a defect of Stillframe, or out of memory: " << stillframe::apps::printable(error.what())
              << '\n';
    return stillframe::apps::kExitFailure;
  }
}
