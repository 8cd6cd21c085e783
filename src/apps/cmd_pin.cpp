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
#include "base/clock.hpp"
#include "store/checkpoint_files.hpp"

namespace stillframe::apps {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kMaxReasonBytes = 1024;

struct PinOptions {
  std::string address;
  std::string reason;
  bool json = false;
};

void print(const PinOptions& options, const Located& found, const format::Manifest& manifest,
           const store::Marks& before, bool pinned) {
  if (options.json) {
    std::cout << json_text({{"store", found.store.path()},
                            {"name", found.checkpoint.name},
                            {"run", manifest.run},
                            {"step", manifest.step},
                            {"pinned", pinned},
                            {"was_pinned", before.pinned},
                            {"reason", text_or_null(options.reason)}});
    return;
  }
  const std::string verb = pinned          ? (before.pinned ? "pinned (again) " : "pinned ")
                           : before.pinned ? "unpinned "
                                           : "was not pinned: ";
  std::cout << verb << found.checkpoint.name << " (run " << manifest.run << ", step " << manifest.step << ")"
            << printable(options.reason.empty() ? "" : ": " + options.reason) << '\n';
  if (pinned && before.bad) std::cout << "it is marked bad: the pin keeps it, but restore passes over it\n";
}

// The reader's lock is held until the mark stands, so that retention cannot take the checkpoint in between.
Status set_pin(const PinOptions& options, bool pinned) {
  if (options.reason.size() > kMaxReasonBytes) {
    return {Code::invalid_argument, "--reason: expected at most " + std::to_string(kMaxReasonBytes) + " bytes, found " +
                                        std::to_string(options.reason.size())};
  }
  SF_ASSIGN(const Located found, locate(options.address, LatestIs::restorable));
  SF_ASSIGN(const auto opened, store::open_manifest(found.store, found.checkpoint.name, store::ReadFrom::cache));
  SF_ASSIGN(const store::Marks before, found.store.marks(found.checkpoint.name));
  if (pinned) {
    const std::string when = base::utc_iso(base::system_clock().unix_ns());
    const std::string text = "pinned " + when + (options.reason.empty() ? "" : ": " + options.reason) + "\n";
    SF_TRY(found.store.set_mark(found.checkpoint.name, format::kPinnedMark, text));
  } else if (before.pinned) {
    SF_TRY(found.store.clear_mark(found.checkpoint.name, format::kPinnedMark));
  }
  print(options, found, opened.manifest, before, pinned);
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
  return {parser, [options] { return report("stillframe pin", set_pin(*options, true)); }};
}

Command add_unpin(CLI::App& root) {
  const auto options = std::make_shared<PinOptions>();
  CLI::App* parser = root.add_subcommand("unpin", "Let retention decide over a pinned checkpoint again");
  parser->add_option("ADDRESS", options->address, std::string(kAddressHelp))->required();
  parser->add_flag("--json", options->json, "one JSON document for programs");
  parser->footer(
      "Removes nothing by itself; the next pass of retention may. One that was not pinned is no error.\n\n"
      "JSON: store, name, run, step, pinned, was_pinned, reason.\n\n"
      "Example:\n  stillframe unpin runs/gpt@1000\n\n" +
      std::string(kExitCodesHelp));
  return {parser, [options] { return report("stillframe unpin", set_pin(*options, false)); }};
}

}  // namespace stillframe::apps
