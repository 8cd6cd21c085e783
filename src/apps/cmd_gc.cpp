// stillframe gc: recovery by hand. Removes what writers left behind when they died.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands.hpp"
#include "apps/dry_run_env.hpp"
#include "apps/exit_code.hpp"
#include "apps/json_text.hpp"
#include "apps/lookup.hpp"
#include "apps/table.hpp"
#include "base/bytes.hpp"

namespace stillframe::apps {
namespace {

using nlohmann::ordered_json;

struct GcOptions {
  std::string store;
  bool dry_run = false;
  bool json = false;
};

std::string what_it_was(const std::string& path) {
  if (const auto partial = format::parse_partial_name(path)) {
    return "a checkpoint of run " + partial->run + " that was never finished; its writer is dead";
  }
  if (format::parse_removing_name(path)) return "a removal that was cut off";
  return "a file whose replacement was cut off";
}

std::string run_of(const std::string& path) {
  const auto partial = format::parse_partial_name(path);
  return partial ? partial->run : "?";
}

void print_json(const store::Store& store, const store::RecoveryReport& report, bool dry_run) {
  ordered_json removed = ordered_json::array();
  for (const std::string& path : report.removed) removed.push_back({{"path", path}, {"what", what_it_was(path)}});
  ordered_json left = ordered_json::array();
  for (const std::string& path : report.left_alone) left.push_back({{"path", path}, {"run", run_of(path)}});
  std::cout << json_text({{"store", store.path()},
                          {"dry_run", dry_run},
                          {"removed", std::move(removed)},
                          {"bytes_freed", report.bytes_freed},
                          {"left_alone", std::move(left)},
                          {"failed", report.failed}});
}

void print_text(const store::Store& store, const store::RecoveryReport& report, bool dry_run) {
  Table table({{"ACTION"}, {"PATH"}, {"WHAT IT IS"}});
  for (const std::string& path : report.removed) {
    table.add_row({dry_run ? "would remove" : "removed", path, what_it_was(path)});
  }
  for (const std::string& path : report.left_alone) {
    table.add_row({"left alone", path, "being written: run " + run_of(path) + " has a living writer"});
  }
  if (!report.removed.empty() || !report.left_alone.empty()) std::cout << table.to_text();
  if (report.removed.empty()) {
    std::cout << "nothing to remove in " << printable(store.path()) << '\n';
    return;
  }
  std::cout << report.removed.size() << (dry_run ? " to remove, " : " removed, ")
            << base::human_bytes(report.bytes_freed) << (dry_run ? " to be freed; nothing was changed\n" : " freed\n");
}

Result<int> collect(const GcOptions& options) {
  SF_ASSIGN(const std::string path, whole_store(options.store));
  DryRunEnv dry(env::posix_env());
  SF_ASSIGN(const store::Store store, store::Store::open(options.dry_run ? dry : env::posix_env(), path));
  SF_ASSIGN(const store::RecoveryReport report, store::recover(store, {}));
  options.json ? print_json(store, report, options.dry_run) : print_text(store, report, options.dry_run);
  for (const std::string& failure : report.failed) {
    std::cerr << "stillframe gc: left where it is: " << printable(failure) << '\n';
  }
  return report.failed.empty() ? kExitOk : kExitFailure;
}

int run(const GcOptions& options) {
  const auto result = collect(options);
  return result.ok() ? *result : report("stillframe gc", result.status());
}

}  // namespace

Command add_gc(CLI::App& root) {
  const auto options = std::make_shared<GcOptions>();
  CLI::App* parser = root.add_subcommand("gc", "Remove what dead writers left behind; never a checkpoint");
  parser->add_option("STORE", options->store, "directory of the store")->required();
  parser->add_flag("--dry-run", options->dry_run, "list it, change nothing");
  parser->add_flag("--json", options->json, "one JSON document for programs, sizes in bytes");
  parser->footer(
      "The daemon does the same when a run is opened. What a living writer is writing is left alone, so this is safe\n"
      "at any time. Checkpoints are removed by `stillframe prune`.\n\n"
      "JSON: store, dry_run, removed [{path, what}], bytes_freed, left_alone [{path, run}], failed [text].\n\n"
      "Example:\n  stillframe gc runs/gpt --dry-run\n  stillframe gc runs/gpt --json\n\n" +
      std::string(kExitCodesHelp));
  return {parser, [options] { return run(*options); }};
}

}  // namespace stillframe::apps
