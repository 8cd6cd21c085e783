// stillframe verify: re-read checkpoints past the page cache and say which bytes are wrong. Changes nothing.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands.hpp"
#include "apps/exit_code.hpp"
#include "apps/json_text.hpp"
#include "apps/lookup.hpp"
#include "apps/progress.hpp"
#include "apps/table.hpp"
#include "store/verify.hpp"

namespace stillframe::apps {
namespace {

using nlohmann::ordered_json;

struct VerifyOptions {
  std::string address;
  bool all = false;
  bool quick = false;
  bool json = false;
};

struct Outcome {
  store::VerifyReport report;
  Status error;  // the check itself could not be made (I/O, a later version); then `report` holds only the name
};

std::string finding_text(const store::Finding& finding) {
  std::string text = finding.file + ": ";
  if (finding.chunk >= 0) text += "chunk " + std::to_string(finding.chunk) + ": ";
  if (!finding.tensors.empty()) text += "tensor " + finding.tensors + ": ";
  return text + finding.what;
}

ordered_json to_json(const Outcome& outcome) {
  const store::VerifyReport& report = outcome.report;
  ordered_json findings = ordered_json::array();
  for (const store::Finding& finding : report.findings) {
    findings.push_back({{"file", finding.file},
                        {"tensors", finding.tensors},
                        {"chunk", finding.chunk >= 0 ? ordered_json(finding.chunk) : ordered_json(nullptr)},
                        {"what", finding.what},
                        {"damage", finding.code == Code::corrupt}});
  }
  return {{"name", report.name},
          {"ok", report.ok},
          {"damaged", report.damaged},
          {"confirmed", report.confirmed},
          {"chunks", report.chunks},
          {"raw_bytes", report.raw_bytes},
          {"stored_bytes", report.stored_bytes},
          {"findings_total", report.findings_total},
          {"findings", std::move(findings)},
          {"error", text_or_null(outcome.error.message())}};
}

void print_findings(const store::VerifyReport& report) {
  if (report.damaged) {
    std::cout << "CORRUPT: " << report.findings_total << " finding(s); restore passes over it, nothing was changed\n";
  } else {
    std::cout << "not readable, which proves no damage: " << report.findings_total
              << " finding(s); nothing was changed\n";
  }
  for (const store::Finding& finding : report.findings) std::cout << "  " << printable(finding_text(finding)) << '\n';
  if (report.findings_total > report.findings.size()) {
    std::cout << "  ... and " << report.findings_total - report.findings.size() << " more\n";
  }
}

void print_text(const Outcome& outcome, bool quick) {
  const store::VerifyReport& report = outcome.report;
  std::cout << report.name << ": ";
  if (!outcome.error.ok()) {
    std::cout << "not verified: " << printable(outcome.error.message()) << '\n';
    return;
  }
  if (!report.ok) return print_findings(report);
  if (quick) {
    std::cout << "quick look ok: manifest, chunk tables and the size of every file; the data was not read\n";
    return;
  }
  std::cout << "ok: " << report.chunks << " chunk(s), " << before_after(report.raw_bytes, report.stored_bytes)
            << ", every checksum matches" << (report.confirmed ? "\n" : "; no fence confirmed the snapshot\n");
}

Outcome verify_one(const store::Store& store, const std::string& name, bool quick) {
  Progress progress("verify " + name);
  const auto depth = quick ? store::VerifyDepth::quick : store::VerifyDepth::full;
  auto report = store::verify(store, name, depth, [&progress](std::uint64_t done, std::uint64_t total) {
    progress.update(done, total);
    return true;
  });
  if (report.ok()) return {*std::move(report), {}};
  store::VerifyReport nothing;
  nothing.name = name;
  return {std::move(nothing), report.status()};
}

// Corruption outweighs a check that could not be made.
int worst_exit_code(const std::vector<Outcome>& outcomes) {
  int worst = kExitOk;
  for (const Outcome& outcome : outcomes) {
    if (outcome.report.damaged) return kExitCorrupt;
    if (worst != kExitOk) continue;
    if (!outcome.error.ok()) worst = exit_code(outcome.error);
    if (outcome.error.ok() && !outcome.report.ok) worst = kExitFailure;
  }
  return worst;
}

Result<LocatedAll> chosen(const VerifyOptions& options) {
  if (options.all) return locate_all(options.address);
  SF_ASSIGN(Located one, locate(options.address));
  std::vector<Summary> list;
  list.push_back(std::move(one.checkpoint));
  return LocatedAll{std::move(one.store), std::move(list)};
}

Result<int> verify_address(const VerifyOptions& options) {
  SF_ASSIGN(const LocatedAll located, chosen(options));
  std::vector<Outcome> outcomes;
  for (const Summary& summary : located.checkpoints) {
    Outcome outcome = verify_one(located.store, summary.name, options.quick);
    if (options.all && outcome.error.code() == Code::not_found) continue;  // retention took it meanwhile
    outcomes.push_back(std::move(outcome));
    if (!options.json) print_text(outcomes.back(), options.quick);
  }
  const int worst = worst_exit_code(outcomes);
  if (options.json) {
    ordered_json list = ordered_json::array();
    for (const Outcome& outcome : outcomes) list.push_back(to_json(outcome));
    std::cout << json_text({{"store", located.store.path()},
                            {"quick", options.quick},
                            {"ok", worst == kExitOk},
                            {"checkpoints", std::move(list)}});
  }
  return worst;
}

int run(const VerifyOptions& options) {
  const auto result = verify_address(options);
  return result.ok() ? *result : report("stillframe verify", result.status());
}

}  // namespace

Command add_verify(CLI::App& root) {
  const auto options = std::make_shared<VerifyOptions>();
  CLI::App* parser = root.add_subcommand(
      "verify", "Re-read checkpoints past the page cache and check every checksum; changes nothing");
  parser->add_option("STORE_OR_ADDRESS", options->address, std::string(kAddressHelp) + "; default: newest")->required();
  parser->add_flag("--all", options->all, "every checkpoint of the store (of the run, with :RUN)");
  parser->add_flag("--quick", options->quick, "manifest, chunk tables and the size of every file; no data");
  parser->add_flag("--json", options->json, "one JSON document for programs, sizes in bytes");
  parser->footer(
      "Each finding names file, chunk and tensors. Exit code 4: damage was found; 1: something could not be read, "
      "which\n"
      "proves no damage. `stillframe scrub` checks the same and marks what it found.\n\n"
      "JSON: store, quick, ok, checkpoints [{name, ok, damaged, confirmed, chunks, raw_bytes, stored_bytes,\n"
      "findings_total, findings [{file, tensors, chunk, what, damage}], error}].\n\n"
      "Example:\n  stillframe verify runs/gpt --all\n  stillframe verify runs/gpt --all --quick\n"
      "  stillframe verify runs/gpt@1000 --json\n\n" +
      std::string(kExitCodesHelp));
  return {parser, [options] { return run(*options); }};
}

}  // namespace stillframe::apps
