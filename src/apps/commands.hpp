// The subcommands of `stillframe`, one file each. add_*() declares flags and help; run() does the work after parsing.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace stillframe::apps {

struct Command {
  CLI::App* parser = nullptr;  // owned by the root
  std::function<int()> run;    // returns the exit code
  int failure_code = 1;        // exit_code.hpp: of a failure without a code of its own
};

[[nodiscard]] Command add_ls(CLI::App& root);
[[nodiscard]] Command add_show(CLI::App& root);
[[nodiscard]] Command add_verify(CLI::App& root);
[[nodiscard]] Command add_restore(CLI::App& root);
[[nodiscard]] Command add_diff(CLI::App& root);
[[nodiscard]] Command add_scrub(CLI::App& root);
[[nodiscard]] Command add_prune(CLI::App& root);
[[nodiscard]] Command add_pin(CLI::App& root);
[[nodiscard]] Command add_unpin(CLI::App& root);
[[nodiscard]] Command add_gc(CLI::App& root);
[[nodiscard]] Command add_status(CLI::App& root);

}  // namespace stillframe::apps
