// stillframe diff: what changed between two checkpoints.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands.hpp"
#include "apps/diff_text.hpp"
#include "apps/exit_code.hpp"
#include "apps/json_text.hpp"
#include "apps/lookup.hpp"
#include "apps/progress.hpp"
#include "interop/checkpoint_diff.hpp"

namespace stillframe::apps {
namespace {

// As with diff(1), 1 says only that the two differ.
constexpr int kDiffFailure = kExitUsage;

struct DiffOptions {
  std::string before;
  std::string after;
  bool json = false;
};

Result<interop::CheckpointDiff> compare(const store::CheckpointReader& before, const store::CheckpointReader& after) {
  Progress progress("diff " + before.name() + " " + after.name());
  return interop::diff_checkpoints(
      before, after, [&progress](std::uint64_t done, std::uint64_t total) { progress.update(done, total); });
}

Result<int> diff(const DiffOptions& options) {
  SF_ASSIGN(const Located first, locate(options.before));
  SF_ASSIGN(const Located second, locate(options.after));
  SF_ASSIGN(const auto before, store::CheckpointReader::open(first.store, first.checkpoint.name));
  SF_ASSIGN(const auto after, store::CheckpointReader::open(second.store, second.checkpoint.name));
  SF_ASSIGN(const interop::CheckpointDiff found, compare(*before, *after));
  const DiffedCheckpoint a{first.store.path(), first.checkpoint.name, before->manifest().run, before->manifest().step};
  const DiffedCheckpoint b{second.store.path(), second.checkpoint.name, after->manifest().run, after->manifest().step};
  std::cout << (options.json ? json_text(diff_json(a, b, found)) : diff_text(a, b, found));
  return found.equal() ? kExitOk : kExitDifferent;
}

int run(const DiffOptions& options) {
  const auto result = diff(options);
  if (result.ok()) return *result;
  const int code = report("stillframe diff", result.status());
  return code == kExitFailure ? kDiffFailure : code;
}

}  // namespace

Command add_diff(CLI::App& root) {
  const auto options = std::make_shared<DiffOptions>();
  CLI::App* parser = root.add_subcommand("diff", "Say which tensors changed between two checkpoints, and how far");
  parser->add_option("A", options->before, std::string(kAddressHelp))->required();
  parser->add_option("B", options->after, "likewise; of any store and run")->required();
  parser->add_flag("--json", options->json, "one JSON document for programs");
  parser->footer(
      "An element is changed when its bits are. Max and RMS are of the absolute difference of the values (of complex\n"
      "numbers: the distance), RMS over all elements of the tensor. Changed elements that are NaN or infinite on "
      "either\n"
      "side are left out of both, and counted. Values outside the tensors (steps, learning rates, ...) are compared "
      "too;\n"
      "metrics, time and step of the checkpoint are not. Chunks that the chunk tables know to be equal are not read:\n"
      "`stillframe verify` checks bytes, diff does not.\n\n"
      "JSON: a, b {store, name, run, step}; equal; tensors {equal, changed, layout_changed, added, removed}; changed\n"
      "[{rank, name, dtype, shape, elements, changed_elements, changed_share, max_difference, rms_difference, "
      "left_out,\n"
      "nan_before, nan_after}]; layout_changed [{rank, name, before, after}]; added, removed [{rank, name, dtype, "
      "shape,\n"
      "bytes}]; values [{rank, path, before, after}] (one missing: added or removed; at most 1000 a rank), "
      "values_total;\n"
      "ranks_added, ranks_removed; compared_bytes, skipped_bytes.\n\n"
      "Example:\n  stillframe diff runs/gpt@1000 runs/gpt@1000\n"
      "  stillframe diff runs/gpt@1000 runs/gpt@latest --json\n\n"
      "Exit codes: 0 equal, 1 different (as with diff(1)), 2 usage or failure, 3 not found, 4 corrupt, 5 busy,\n"
      "6 daemon unavailable");
  return {parser, [options] { return run(*options); }, kDiffFailure};
}

}  // namespace stillframe::apps
