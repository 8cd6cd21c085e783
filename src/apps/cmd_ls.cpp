// stillframe ls: the checkpoints of a store, newest first.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands.hpp"
#include "apps/exit_code.hpp"
#include "apps/json_text.hpp"
#include "apps/summary.hpp"
#include "apps/table.hpp"

namespace stillframe::apps {
namespace {

struct LsOptions {
  std::string address;
  bool json = false;
};

void print_json(const store::Store& store, const std::vector<Summary>& checkpoints) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Summary& summary : checkpoints) list.push_back(to_json(summary));
  std::cout << json_text({{"store", store.path()}, {"checkpoints", std::move(list)}});
}

void print_table(const store::Store& store, const std::vector<Summary>& checkpoints) {
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
               {"SIZE", Align::right},
               {"RATIO", Align::right}});
  for (const Summary& s : checkpoints) {
    const bool readable = s.state != State::unreadable;
    table.add_row({s.name, readable ? s.run : "?", std::to_string(s.step), readable_utc(s.utc), state_name(s.state),
                   s.pinned ? "yes" : "no", readable ? before_after(s.raw_bytes, s.stored_bytes) : "?",
                   readable ? ratio(s.raw_bytes, s.stored_bytes) : "?"});
  }
  std::cout << table.to_text();
  for (const Summary& s : checkpoints) {
    if (!s.problem.empty()) std::cout << printable(s.name + ": " + s.problem) << '\n';
  }
}

Status list_store(const LsOptions& options) {
  SF_ASSIGN(const format::Address address, format::parse_address(options.address));
  SF_ASSIGN(const store::Store store, store::Store::open(env::posix_env(), address.store));
  SF_ASSIGN(const auto checkpoints, summaries(store, address, 0));
  options.json ? print_json(store, checkpoints) : print_table(store, checkpoints);
  return {};
}

}  // namespace

Command add_ls(CLI::App& root) {
  const auto options = std::make_shared<LsOptions>();
  CLI::App* parser = root.add_subcommand("ls", "List the checkpoints of a store, newest first");
  parser->add_option("STORE[:RUN]", options->address, "directory of the store; with :RUN only that run's")->required();
  parser->add_flag("--json", options->json, "one JSON document for programs, sizes in bytes");
  parser->footer(
      "States: durable (survives power loss), verified (re-read, every checksum matched), bad (marked; never\n"
      "restored), unreadable (manifest or table damaged).\n\n"
      "Example:\n  stillframe ls runs/gpt\n  stillframe ls runs/gpt:main --json | python3 -m json.tool\n\n" +
      std::string(kExitCodesHelp));
  return {parser, [options] { return report("stillframe ls", list_store(*options)); }};
}

}  // namespace stillframe::apps
