// stillframe restore: a checkpoint as a directory of safetensors, from the newest one that verifies.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands.hpp"
#include "apps/exit_code.hpp"
#include "apps/export.hpp"
#include "apps/json_text.hpp"
#include "apps/lookup.hpp"
#include "apps/progress.hpp"
#include "apps/table.hpp"
#include "base/bytes.hpp"
#include "base/clock.hpp"
#include "restore/chooser.hpp"

namespace stillframe::apps {
namespace {

using nlohmann::ordered_json;

struct RestoreOptions {
  std::string address;
  std::string directory;
  bool json = false;
};

void print_skipped(const std::vector<restore::Skipped>& skipped) {
  for (const restore::Skipped& one : skipped) {
    std::cerr << "stillframe restore: skipped " << one.name << ": " << printable(one.reason) << '\n';
  }
}

// Writes the first candidate, newest to oldest, whose every checksum matches.
Status write_newest_whole(restore::Chooser& chooser, DirectoryExport& target) {
  for (;;) {
    Progress progress("restore " + chooser.current().name());
    const Status written = target.write(
        chooser.current(), [&progress](std::uint64_t done, std::uint64_t total) { progress.update(done, total); });
    if (written.code() != Code::corrupt) return written;
    const Status next = chooser.next(written.message());
    if (next.code() == Code::not_found) {
      return {Code::corrupt, "no checkpoint of this address is whole; nothing was written"};
    }
    SF_TRY(next);
  }
}

void print_result(const RestoreOptions& options, const restore::Chooser& chooser, const DirectoryExport& target,
                  double seconds) {
  const format::Manifest& manifest = chooser.current().manifest();
  std::uint64_t raw_bytes = 0;
  for (const format::RankManifest& rank : manifest.ranks) raw_bytes += rank.layout.bytes;
  if (!options.json) {
    std::cout << "restored " << chooser.current().name() << " (run " << printable(manifest.run) << ", step "
              << manifest.step << ", " << printable(chooser.why()) << ") to " << printable(target.target()) << ": "
              << base::human_bytes(raw_bytes) << " in " << seconds << " s, every checksum matches\n";
    for (const ExportedFile& file : target.files()) std::cout << "  " << printable(file.file) << '\n';
    return;
  }
  ordered_json files = ordered_json::array();
  for (const ExportedFile& file : target.files()) files.push_back({{"file", file.file}, {"bytes", file.bytes}});
  ordered_json skipped = ordered_json::array();
  for (const restore::Skipped& one : chooser.skipped()) {
    skipped.push_back({{"name", one.name}, {"step", one.step}, {"reason", one.reason}});
  }
  std::cout << json_text({{"name", chooser.current().name()},
                          {"run", manifest.run},
                          {"step", manifest.step},
                          {"why", chooser.why()},
                          {"directory", target.target()},
                          {"raw_bytes", raw_bytes},
                          {"seconds", seconds},
                          {"files", std::move(files)},
                          {"skipped", std::move(skipped)}});
}

Status restore_address(const RestoreOptions& options) {
  const std::int64_t start_ns = base::system_clock().monotonic_ns();
  SF_ASSIGN(const format::Address address, format::parse_address(options.address));
  SF_ASSIGN(restore::Chooser chooser, restore::Chooser::open(env::posix_env(), address));
  SF_ASSIGN(DirectoryExport target, DirectoryExport::begin(env::posix_env(), options.directory));
  const Status written = write_newest_whole(chooser, target);
  print_skipped(chooser.skipped());
  SF_TRY(written);
  SF_TRY(target.publish());
  const auto took_ns = static_cast<double>(base::system_clock().monotonic_ns() - start_ns);
  print_result(options, chooser, target, took_ns / 1e9);
  return {};
}

}  // namespace

Command add_restore(CLI::App& root) {
  const auto options = std::make_shared<RestoreOptions>();
  CLI::App* parser = root.add_subcommand("restore", "Write a checkpoint as a directory of safetensors");
  parser->add_option("ADDRESS", options->address, std::string(kAddressHelp))->required();
  parser->add_option("DIRECTORY", options->directory, "new or empty; appears whole or not at all")->required();
  parser->add_flag("--json", options->json, "one JSON document for programs, sizes in bytes");
  parser->footer(
      "Writes rank-00000.safetensors (one per rank), tree.json (the typed state) and manifest.json. Every checksum\n"
      "is checked; a damaged checkpoint is skipped for the one before it of the same address, and the report\n"
      "says why.\n\n"
      "Example:\n  stillframe restore runs/gpt@latest /tmp/weights\n\n" +
      std::string(kExitCodesHelp));
  return {parser, [options] { return report("stillframe restore", restore_address(*options)); }};
}

}  // namespace stillframe::apps
