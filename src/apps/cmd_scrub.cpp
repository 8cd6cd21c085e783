// stillframe scrub: re-read checkpoints at a bounded rate and mark them verified or bad.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands.hpp"
#include "apps/exit_code.hpp"
#include "apps/json_text.hpp"
#include "apps/lookup.hpp"
#include "apps/progress.hpp"
#include "apps/table.hpp"
#include "base/bytes.hpp"
#include "store/scrub.hpp"

namespace stillframe::apps {
namespace {

using nlohmann::ordered_json;
using store::ScrubOutcome;

struct ScrubOptions {
  std::string address;
  std::uint64_t bytes_per_second = 0;
  bool recheck = false;
  bool json = false;
};

struct Scrubbed {
  store::ScrubReport report;
  Status error;  // the disk or the system refused: nothing is known of the checkpoint
};

std::string_view outcome_name(const Scrubbed& one) {
  if (!one.error.ok()) return "not_checked";
  switch (one.report.outcome) {
    case ScrubOutcome::verified:
      return "verified";
    case ScrubOutcome::bad:
      return "bad";
    case ScrubOutcome::intact_unconfirmed:
      return "intact_unconfirmed";
    case ScrubOutcome::already_verified:
      return "already_verified";
    case ScrubOutcome::ended:
      return "ended";
    case ScrubOutcome::gone:
      return "gone";
  }
  return "?";
}

std::string note_of(const Scrubbed& one) {
  if (!one.error.ok()) return one.error.message();
  switch (one.report.outcome) {
    case ScrubOutcome::bad:
      if (!one.report.mark_error.ok()) {
        return "found now: " + one.report.reason + "; its mark could not be written: " + one.report.mark_error.message();
      }
      return (one.report.marked ? "found now: " : "marked before: ") + one.report.reason;
    case ScrubOutcome::intact_unconfirmed:
      return "every checksum matches, but no fence confirmed it: restore takes it, retention does not count on it";
    default:
      return one.report.reason;
  }
}

void print_json(const store::Store& store, const std::vector<Scrubbed>& checkpoints, int code) {
  ordered_json list = ordered_json::array();
  std::uint64_t bytes_read = 0;
  for (const Scrubbed& one : checkpoints) {
    bytes_read += one.report.bytes_read;
    const bool plain = one.error.ok() && one.report.mark_error.ok();
    const std::string note = plain ? one.report.reason : note_of(one);
    list.push_back({{"name", one.report.name},
                    {"outcome", outcome_name(one)},
                    {"marked", one.report.marked},
                    {"bytes_read", one.report.bytes_read},
                    {"reason", text_or_null(note)}});
  }
  std::cout << json_text(
      {{"store", store.path()}, {"ok", code == kExitOk}, {"bytes_read", bytes_read}, {"checkpoints", std::move(list)}});
}

void print_text(const std::vector<Scrubbed>& checkpoints) {
  Table table({{"NAME"}, {"OUTCOME"}, {"READ", Align::right}, {"NOTE"}});
  for (const Scrubbed& one : checkpoints) {
    std::string outcome(outcome_name(one));
    std::ranges::replace(outcome, '_', ' ');
    table.add_row({one.report.name, outcome,
                   one.report.bytes_read != 0 ? base::human_bytes(one.report.bytes_read) : "-", note_of(one)});
  }
  std::cout << table.to_text();
}

// Damage that this call found outweighs a check that could not be made.
int worst_exit_code(const std::vector<Scrubbed>& checkpoints) {
  int worst = kExitOk;
  for (const Scrubbed& one : checkpoints) {
    if (!one.error.ok() && worst == kExitOk) worst = exit_code(one.error);
    const bool found_now = one.report.marked || !one.report.mark_error.ok();
    if (one.error.ok() && one.report.outcome == ScrubOutcome::bad && found_now) return kExitCorrupt;
  }
  return worst;
}

Scrubbed scrub_one(const store::Store& store, const std::string& name, const ScrubOptions& options) {
  Progress progress("scrub " + name);
  const store::Pace pace{options.bytes_per_second, {}, [&progress](std::uint64_t done, std::uint64_t total) {
                           progress.update(done, total);
                         }};
  auto report = store::scrub_checkpoint(store, name, pace, options.recheck);
  if (report.ok()) return {*std::move(report), {}};
  store::ScrubReport nothing;
  nothing.name = name;
  return {std::move(nothing), report.status()};
}

// Every checkpoint of a store or a run, or the one that the address chooses.
Result<LocatedAll> chosen(const std::string& address_text) {
  SF_ASSIGN(const format::Address address, format::parse_address(address_text));
  if (!names_one(address_text, address)) return locate_all(address_text);
  SF_ASSIGN(Located one, locate(address_text));
  std::vector<Summary> list;
  list.push_back(std::move(one.checkpoint));
  return LocatedAll{std::move(one.store), std::move(list)};
}

Result<int> scrub(const ScrubOptions& options) {
  SF_ASSIGN(const LocatedAll located, chosen(options.address));
  std::vector<Scrubbed> outcomes;
  for (const Summary& summary : located.checkpoints) {
    Scrubbed one = scrub_one(located.store, summary.name, options);
    const bool gone = one.error.ok() && one.report.outcome == ScrubOutcome::gone;  // retention took it meanwhile
    if (!gone) outcomes.push_back(std::move(one));
  }
  const int worst = worst_exit_code(outcomes);
  options.json ? print_json(located.store, outcomes, worst) : print_text(outcomes);
  return worst;
}

int run(const ScrubOptions& options) {
  const auto result = scrub(options);
  return result.ok() ? *result : report("stillframe scrub", result.status());
}

}  // namespace

Command add_scrub(CLI::App& root) {
  const auto options = std::make_shared<ScrubOptions>();
  CLI::App* parser = root.add_subcommand("scrub", "Re-read checkpoints and mark them verified or bad");
  parser->add_option("STORE_OR_ADDRESS", options->address, "every one of STORE[:RUN]; with @..., that one")->required();
  parser
      ->add_option("--bytes-per-second", options->bytes_per_second,
                   "read at most so fast (kB, MB, GB are powers of 1000, KiB, MiB, GiB of 1024); default: no limit")
      ->transform(CLI::AsSizeValue(true));
  parser->add_flag("--recheck", options->recheck, "also those that are marked verified");
  parser->add_flag("--json", options->json, "one JSON document for programs, sizes in bytes");
  parser->footer(
      "Newest first. Verified: every byte was read past the page cache, every checksum matches, and the trainer's "
      "fence\n"
      "had confirmed the snapshot. Bad: restore passes over it from now on. An error of the disk proves no damage:\n"
      "nothing is marked then. May be ended at any time. `stillframe verify` checks the same and marks nothing.\n"
      "Exit code 4: this call found damage; one that was marked bad before is listed only.\n\n"
      "JSON: store, ok, bytes_read, checkpoints [{name, outcome, marked, bytes_read, reason}]; outcome is verified, "
      "bad,\n"
      "intact_unconfirmed, already_verified or not_checked.\n\n"
      "Example:\n  stillframe scrub runs/gpt --bytes-per-second 200MB\n  stillframe scrub runs/gpt@latest --recheck "
      "--json"
      "\n\n" +
      std::string(kExitCodesHelp));
  return {parser, [options] { return run(*options); }};
}

}  // namespace stillframe::apps
