// stillframe prune: retention by hand, with every reason.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands.hpp"
#include "apps/exit_code.hpp"
#include "apps/json_text.hpp"
#include "apps/lookup.hpp"
#include "apps/table.hpp"
#include "base/bytes.hpp"
#include "base/clock.hpp"
#include "persist/retention_task.hpp"
#include "store/catalog.hpp"

namespace stillframe::apps {
namespace {

using nlohmann::ordered_json;

struct PruneOptions {
  std::string address;
  std::map<std::string, std::string> words;  // of those whose flag was given
  bool dry_run = false;
  bool json = false;
};

// What was planned for one checkpoint, and what came of it.
struct Row {
  retention::Decision decision;
  bool removed = false;
  Status problem;  // why one that was to go is still there, or would be (busy: it is held, which is no fault); or, of one
                   // that is gone, what is left of its files
};

struct Outcome {
  store::Store store;
  std::string run;
  retention::Policy policy;
  std::vector<Row> rows;  // newest first
  std::uint64_t missing_bytes = 0;
  std::vector<std::string> unreadable;  // of any run: nobody can tell which, so they stay
};

std::string flag_of(std::string_view word) {
  std::string flag = "--" + std::string(word);
  std::ranges::replace(flag, '_', '-');
  return flag;
}

std::string upper_case(std::string_view text) {
  std::string upper(text);
  std::ranges::transform(upper, upper.begin(), [](char c) { return c >= 'a' && c <= 'z' ? char(c - 'a' + 'A') : c; });
  return upper;
}

bool keeps(std::string_view word) { return word.starts_with("keep_"); }

std::string keep_flags() {
  std::string text;
  for (const retention::Word& word : retention::words()) {
    if (keeps(word.name)) text += (text.empty() ? "" : ", ") + flag_of(word.name);
  }
  return text;
}

// A policy comes from the flags alone: a default that somebody forgot about must not delete anything.
Result<retention::Policy> policy_of(const PruneOptions& options) {
  const bool says_what_stays = std::ranges::any_of(options.words, [](const auto& word) { return keeps(word.first); });
  if (!says_what_stays) {
    return Status(Code::invalid_argument,
                  "expected a policy that says what stays, found none; nothing was removed. Give at least one of " +
                      keep_flags() + ", and --dry-run to see first what it would do");
  }
  retention::Policy policy;
  policy.max_bytes = 0;
  policy.min_free_bytes = 0;
  for (const auto& [word, text] : options.words) {
    const Status set = retention::set_word(policy, word, text);
    if (!set.ok()) return Status(set.code(), flag_of(word) + ": " + set.message());
  }
  SF_TRY(retention::check(policy));
  return policy;
}

void take_plan(Outcome& outcome, retention::Plan plan) {
  outcome.missing_bytes = plan.missing_bytes;
  for (retention::Decision& decision : plan.decisions) outcome.rows.push_back({std::move(decision), false, {}});
}

void apply_removals(std::vector<Row>& rows, const std::vector<persist::Removal>& removals) {
  for (const persist::Removal& removal : removals) {
    const auto row = std::ranges::find_if(rows, [&](const Row& one) { return one.decision.name == removal.name; });
    if (row == rows.end()) continue;
    row->removed = removal.outcome.ok();
    row->problem = removal.outcome.ok() ? removal.leftovers : removal.outcome;
  }
}

// A reader holds the manifest's lock. Taken and let go at once: who opens the checkpoint in between looks again. A lock
// that cannot be had for another reason says nothing of readers.
bool is_being_read(const store::Store& store, const std::string& name) {
  const std::string manifest = env::join(env::join(store.path(), name), format::kManifestFile);
  const auto there = store.env().exists(manifest);  // locking would create it
  return there.ok() && *there && store.env().try_lock(manifest, env::LockMode::exclusive).status().code() == Code::busy;
}

void look_for_readers(Outcome& outcome) {
  for (Row& row : outcome.rows) {
    if (row.decision.keep || !is_being_read(outcome.store, row.decision.name)) continue;
    row.problem = Status(Code::busy, "being read; passed over");
  }
}

Status prune_run(Outcome& outcome, bool dry_run) {
  SF_ASSIGN(const auto catalog, store::read_catalog(outcome.store));
  for (const store::CatalogEntry& entry : catalog) {
    if (!entry.head.ok()) outcome.unreadable.push_back(entry.ref.name);
  }
  const std::int64_t now_seconds = base::system_clock().unix_ns() / 1'000'000'000;
  if (dry_run) {
    SF_ASSIGN(retention::Plan plan, persist::plan_for(outcome.store, outcome.run, outcome.policy, now_seconds));
    take_plan(outcome, std::move(plan));
    look_for_readers(outcome);
    return {};
  }
  SF_ASSIGN(auto pruned, persist::prune_with_plan(outcome.store, outcome.run, outcome.policy, now_seconds));
  take_plan(outcome, std::move(pruned.plan));
  apply_removals(outcome.rows, pruned.removals);
  return {};
}

std::string action_of(const Row& row, bool dry_run) {
  if (row.decision.keep) return "keep";
  if (dry_run) return row.problem.ok() ? "would remove" : "would leave";
  return row.removed ? "removed" : "left";
}

std::string reasons_of(const Row& row) {
  std::string text;
  for (const std::string& reason : row.decision.reasons) text += (text.empty() ? "" : "; ") + reason;
  return row.problem.ok() ? text : text + "; but " + row.problem.message();
}

bool goes(const Row& row, bool dry_run) { return dry_run ? !row.decision.keep && row.problem.ok() : row.removed; }

std::uint64_t bytes_that_go(const std::vector<Row>& rows, bool dry_run) {
  std::uint64_t bytes = 0;
  for (const Row& row : rows) bytes += goes(row, dry_run) ? row.decision.stored_bytes : 0;
  return bytes;
}

// "--keep-last 2 --keep-best loss:min"; then the words that nobody gave and that still say something.
std::string policy_text(const retention::Policy& policy, const std::map<std::string, std::string>& given) {
  std::string text = "policy";
  for (const auto& [word, value] : given) text += " " + flag_of(word) + " " + value;
  std::string defaults;
  const auto values = ordered_json::parse(retention::policy_to_json(policy), nullptr, false);
  for (const auto& [word, value] : values.items()) {
    const bool off = value.is_array() ? value.empty() : value == 0;
    if (!off && !given.contains(word)) defaults += " " + flag_of(word) + " " + value.dump();
  }
  return defaults.empty() ? text : text + " (by default" + defaults + ")";
}

void print_text(const Outcome& outcome, const PruneOptions& options) {
  const bool dry_run = options.dry_run;
  std::cout << printable("run " + outcome.run + " of " + outcome.store.path()) << '\n'
            << printable(policy_text(outcome.policy, options.words)) << "\n\n";
  Table table({{"NAME"}, {"STEP", Align::right}, {"SIZE", Align::right}, {"ACTION"}, {"REASONS"}});
  for (const Row& row : outcome.rows) {
    table.add_row({row.decision.name, std::to_string(row.decision.step), base::human_bytes(row.decision.stored_bytes),
                   action_of(row, dry_run), reasons_of(row)});
  }
  const auto gone = std::ranges::count_if(outcome.rows, [dry_run](const Row& row) { return goes(row, dry_run); });
  std::cout << table.to_text() << '\n'
            << gone << " of " << outcome.rows.size() << (dry_run ? " would be removed, " : " removed, ")
            << base::human_bytes(bytes_that_go(outcome.rows, dry_run)) << (dry_run ? "; nothing was changed\n" : "\n");
  if (outcome.missing_bytes != 0) {
    std::cout << "the limits are missed by " << base::human_bytes(outcome.missing_bytes)
              << ": the rest may not be removed, the reasons say why\n";
  }
  for (const std::string& name : outcome.unreadable) {
    std::cout << name << ": its manifest cannot be read, so its run is not known and it is never removed by itself; "
              << "`stillframe verify` says what is wrong\n";
  }
}

void print_json(const Outcome& outcome, bool dry_run) {
  ordered_json list = ordered_json::array();
  for (const Row& row : outcome.rows) {
    list.push_back({{"name", row.decision.name},
                    {"step", row.decision.step},
                    {"stored_bytes", row.decision.stored_bytes},
                    {"keep", row.decision.keep},
                    {"reasons", row.decision.reasons},
                    {"removed", row.removed},
                    {"problem", row.problem.ok() ? ordered_json(nullptr) : ordered_json(row.problem.message())}});
  }
  std::cout << json_text({{"store", outcome.store.path()},
                          {"run", outcome.run},
                          {"dry_run", dry_run},
                          {"policy", ordered_json::parse(retention::policy_to_json(outcome.policy), nullptr, false)},
                          {"checkpoints", std::move(list)},
                          {"bytes", bytes_that_go(outcome.rows, dry_run)},
                          {"missing_bytes", outcome.missing_bytes},
                          {"unreadable", outcome.unreadable}});
}

int print_failures(const Outcome& outcome) {
  int code = kExitOk;
  for (const Row& row : outcome.rows) {
    if (row.problem.ok() || row.problem.code() == Code::busy) continue;
    std::cerr << "stillframe prune: " << (row.removed ? "" : "not removed: ") << printable(row.problem.message()) << '\n';
    code = kExitFailure;
  }
  return code;
}

Result<int> prune(const PruneOptions& options) {
  SF_ASSIGN(const retention::Policy policy, policy_of(options));
  SF_ASSIGN(const format::Address address, format::parse_address(options.address));
  if (names_one(options.address, address)) {
    return Status(Code::invalid_argument, "expected STORE or STORE:RUN, found '" + options.address +
                                              "', which names one checkpoint; nothing was removed");
  }
  SF_ASSIGN(store::Store store, store::Store::open(env::posix_env(), address.store));
  Outcome outcome{std::move(store), address.run.empty() ? "main" : address.run, policy, {}, 0, {}};
  SF_TRY(prune_run(outcome, options.dry_run));
  if (outcome.rows.empty()) {
    return Status(Code::not_found, "there is no checkpoint of the run '" + outcome.run + "' in the store '" +
                                       outcome.store.path() + "'; nothing was removed; `stillframe ls` shows the runs");
  }
  options.json ? print_json(outcome, options.dry_run) : print_text(outcome, options);
  return print_failures(outcome);
}

int run(const PruneOptions& options) {
  const auto result = prune(options);
  return result.ok() ? *result : report("stillframe prune", result.status());
}

}  // namespace

Command add_prune(CLI::App& root) {
  const auto options = std::make_shared<PruneOptions>();
  CLI::App* parser = root.add_subcommand("prune", "Remove the checkpoints of a run that a policy does not keep");
  parser->add_option("STORE[:RUN]", options->address, "directory of the store; the run is main when not given")
      ->required();
  for (const retention::Word& word : retention::words()) {
    parser
        ->add_option_function<std::string>(
            flag_of(word.name),
            [options, name = std::string(word.name)](const std::string& text) { options->words[name] = text; },
            std::string(word.help))
        ->type_name(word.type == retention::WordType::best ? "RULES" : upper_case(word.unit));
  }
  parser->add_flag("--dry-run", options->dry_run, "print the same, remove nothing");
  parser->add_flag("--json", options->json, "one JSON document for programs, sizes in bytes");
  parser->footer(
      "A checkpoint stays when any rule keeps it, and each is printed with every reason. The policy comes from the\n"
      "flags alone, not from a daemon's configuration; one that says what stays is required, and no limit applies but\n"
      "those given. Whatever it says: what is pinned stays, nothing is removed while no newer one is verified, and "
      "what\n"
      "somebody reads is passed over.\n"
      "Training may go on meanwhile; its daemon prunes by its own policy.\n\n"
      "JSON: store, run, dry_run, policy, checkpoints [{name, step, stored_bytes, keep, reasons, removed, problem}], "
      "bytes\n"
      "(of what was or would be removed), missing_bytes (by which the limits cannot be met), unreadable [name].\n\n"
      "Example:\n  stillframe prune runs/gpt --keep-last 2 --keep-best loss:min:3 --dry-run\n"
      "  stillframe prune runs/gpt:main --keep-last 5 --keep-every-steps 10000 --max-bytes 2TB --json\n\n" +
      std::string(kExitCodesHelp));
  return {parser, [options] { return run(*options); }};
}

}  // namespace stillframe::apps
