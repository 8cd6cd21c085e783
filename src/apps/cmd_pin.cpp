// stillframe pin and unpin: a checkpoint that retention never removes.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands.hpp"
#include "apps/exit_code.hpp"
#include "apps/json_text.hpp"
#include "apps/lookup.hpp"
#include "apps/table.hpp"
#include "store/checkpoint_files.hpp"

namespace stillframe::apps {
namespace {

using nlohmann::ordered_json;

struct PinOptions {
  std::string address;
  std::string reason;
  bool json = false;
};

// Of one whose manifest cannot be read there is no run to tell; the mark of one can be taken away all the same.
void print(const PinOptions& options, const Located& found, const store::Marks& before, bool pinned) {
  const std::string run = found.checkpoint.head ? found.checkpoint.head->run : "";
  if (options.json) {
    std::cout << json_text({{"store", found.store.path()},
                            {"name", found.checkpoint.name},
                            {"run", text_or_null(run)},
                            {"step", found.checkpoint.step},
                            {"pinned", pinned},
                            {"was_pinned", before.pinned},
                            {"reason", text_or_null(options.reason)}});
    return;
  }
  const std::string verb = pinned          ? (before.pinned ? "pinned (again) " : "pinned ")
                           : before.pinned ? "unpinned "
                                           : "was not pinned: ";
  std::cout << verb << found.checkpoint.name << printable(run.empty() ? " (" : " (run " + run + ", ") << "step "
            << found.checkpoint.step << ")" << printable(options.reason.empty() ? "" : ": " + options.reason) << '\n';
  if (pinned && before.bad) std::cout << "it is marked bad: the pin keeps it, but restore passes over it\n";
}

// The reader's lock is held until the mark stands, so that retention cannot take the checkpoint in between.
Status set_pin(const PinOptions& options) {
  if (options.reason.size() > store::kMaxPinReasonBytes) {
    return {Code::invalid_argument, "--reason: expected at most " + std::to_string(store::kMaxPinReasonBytes) +
                                        " bytes, found " + std::to_string(options.reason.size())};
  }
  SF_ASSIGN(const Located found, locate(options.address, LatestIs::restorable));
  const std::string& name = found.checkpoint.name;
  SF_ASSIGN(const auto opened, store::open_manifest(found.store, name, store::ReadFrom::cache));
  SF_ASSIGN(const store::Marks before, found.store.marks(name));
  SF_TRY(store::pin(found.store, name, options.reason));
  print(options, found, before, /*pinned=*/true);
  return {};
}

Status clear_pin(const PinOptions& options) {
  SF_ASSIGN(const Located found, locate(options.address, LatestIs::restorable, store::Prefer::pinned));
  const std::string& name = found.checkpoint.name;
  SF_ASSIGN(const store::Marks before, found.store.marks(name));
  if (before.pinned) SF_TRY(found.store.clear_mark(name, format::kPinnedMark));
  print(options, found, before, /*pinned=*/false);
  return {};
}

}  // namespace

Command add_pin(CLI::App& root) {
  const auto options = std::make_shared<PinOptions>();
  CLI::App* parser = root.add_subcommand("pin", "Keep a checkpoint: retention never removes it");
  parser->add_option("ADDRESS", options->address, std::string(kAddressHelp))->required();
  parser->add_option("--reason", options->reason, "why, for people; `stillframe show` prints it");
  parser->add_flag("--json", options->json, "one JSON document for programs");
  parser->footer(
      "Durable when it returns, and needs no daemon. Pinning again replaces the reason. @latest is what a restore "
      "would\n"
      "take; a step is pinned whatever its state, so that one marked bad can be kept for a look.\n\n"
      "JSON: store, name, run, step, pinned, was_pinned, reason.\n\n"
      "Example:\n  stillframe pin runs/gpt@1000 --reason \"before the new data\"\n\n" +
      std::string(kExitCodesHelp));
  return {parser, [options] { return report("stillframe pin", set_pin(*options)); }};
}

Command add_unpin(CLI::App& root) {
  const auto options = std::make_shared<PinOptions>();
  CLI::App* parser = root.add_subcommand("unpin", "Let retention decide over a pinned checkpoint again");
  parser->add_option("ADDRESS", options->address, std::string(kAddressHelp))->required();
  parser->add_flag("--json", options->json, "one JSON document for programs");
  parser->footer(
      "Removes nothing by itself; the next pass of retention may. One that was not pinned is no error. Of several\n"
      "checkpoints of a step the pinned one is meant, whatever its state.\n\n"
      "JSON: store, name, run, step, pinned, was_pinned, reason.\n\n"
      "Example:\n  stillframe unpin runs/gpt@1000\n\n" +
      std::string(kExitCodesHelp));
  return {parser, [options] { return report("stillframe unpin", clear_pin(*options)); }};
}

}  // namespace stillframe::apps
