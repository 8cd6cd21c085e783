// stillframe ls: the checkpoints of a store, newest first.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands.hpp"
#include "apps/exit_code.hpp"
#include "apps/json_text.hpp"
#include "apps/lookup.hpp"
#include "apps/summary.hpp"
#include "apps/table.hpp"

namespace stillframe::apps {
namespace {

struct LsOptions {
  std::string address;
  std::string metric = "loss";
  bool json = false;
};

void print_json(const store::Store& store, const std::vector<Summary>& checkpoints) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Summary& summary : checkpoints) list.push_back(to_json(summary));
  std::cout << json_text({{"store", store.path()}, {"checkpoints", std::move(list)}});
}

std::string metric_text(const format::ManifestHead& head, const std::string& metric) {
  const auto value = format::metric_number(head.metrics_json, metric);
  return value ? number_text(*value) : "-";
}

std::vector<std::string> cells_of(const Summary& s, const std::string& metric) {
  std::vector<std::string> cells{s.name,
                                 s.head ? s.head->run : "?",
                                 std::to_string(s.step),
                                 readable_utc(s.utc),
                                 state_name(s.state),
                                 s.pinned ? "yes" : "no"};
  if (!s.head) {
    cells.resize(9, "?");
    return cells;
  }
  cells.push_back(metric_text(*s.head, metric));
  cells.push_back(before_after(s.head->raw_bytes, s.stored_bytes));
  cells.push_back(ratio(s.head->raw_bytes, s.stored_bytes));
  const std::string alarms = alarm_kinds(s.head->alarms);
  cells.push_back(alarms.empty() ? "-" : alarms);
  return cells;
}

void print_table(const store::Store& store, const std::vector<Summary>& checkpoints, const std::string& metric) {
  if (checkpoints.empty()) {
    std::cout << "no checkpoints in " << printable(store.path()) << '\n';
    return;
  }
  Table table({{"NAME"},
               {"RUN"},
               {"STEP", Align::right},
               {"TIME (UTC)"},
               {"STATE"},
               {"PINNED"},
               {printable(metric), Align::right},
               {"SIZE", Align::right},
               {"RATIO", Align::right},
               {"ALARMS"}});
  for (const Summary& s : checkpoints) table.add_row(cells_of(s, metric));
  std::cout << table.to_text();
  for (const Summary& s : checkpoints) {
    if (!s.problem.empty()) std::cout << printable(s.name + ": " + s.problem) << '\n';
  }
}

Status list_store(const LsOptions& options) {
  SF_ASSIGN(const format::Address address, format::parse_address(options.address));
  if (address.select == format::Select::best || address.select == format::Select::before_nan) {
    return {Code::invalid_argument, "expected STORE[:RUN] or a step, found '" + options.address +
                                        "'; `stillframe show` tells which checkpoint that is"};
  }
  SF_ASSIGN(const store::Store store, store::Store::open(env::posix_env(), address.store));
  const bool latest_only = address.select == format::Select::latest && names_one(options.address, address);
  SF_ASSIGN(const auto checkpoints, summaries(store, address, latest_only ? 1 : 0));
  options.json ? print_json(store, checkpoints) : print_table(store, checkpoints, options.metric);
  return {};
}

}  // namespace

Command add_ls(CLI::App& root) {
  const auto options = std::make_shared<LsOptions>();
  CLI::App* parser = root.add_subcommand("ls", "List the checkpoints of a store, newest first");
  parser->add_option("STORE[:RUN]", options->address, "directory of the store; with :RUN only that run's")->required();
  parser->add_option("--metric", options->metric, "the metric to show; default: loss");
  parser->add_flag("--json", options->json, "one JSON document for programs, sizes in bytes");
  parser->footer(
      "States: durable (survives power loss), verified (durable, re-read, every checksum right, and confirmed by the\n"
      "fence), bad (marked; never restored), unreadable (its manifest is damaged). Looks at manifests only:\n"
      "`stillframe verify` checks the rest. Alarms are kinds; `stillframe show` prints their text.\n\n"
      "JSON: store, checkpoints [{name, sequence, step, run, created_utc, state, pinned, pin_reason, confirmed,\n"
      "world_size, raw_bytes, stored_bytes, metrics, alarms [{kind, text}], problem}].\n\n"
      "Example:\n  stillframe ls runs/gpt\n  stillframe ls runs/gpt:main --json | python3 -m json.tool\n\n" +
      std::string(kExitCodesHelp));
  return {parser, [options] { return report("stillframe ls", list_store(*options)); }};
}

}  // namespace stillframe::apps
