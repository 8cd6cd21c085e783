#include "persist/retention_task.hpp"

#include <algorithm>
#include <set>

#include "base/bytes.hpp"

namespace stillframe::persist {
namespace {

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : "; ") + part;
  return text;
}

// What the plan was made of may have changed since: a person pins, the scrub finds the newer one bad.
Status still_due(const store::Store& store, const std::string& name, const std::vector<retention::Fact>& known) {
  SF_ASSIGN(const store::Marks mine, store.marks(name));
  if (mine.pinned) return {Code::busy, "'" + name + "' was pinned meanwhile; it was not removed"};
  for (const retention::Fact& fact : known) {
    if (!fact.verified || fact.bad) continue;
    const auto marks = store.marks(fact.name);
    if (marks.ok() && marks->verified && !marks->bad) return {};
    break;  // the newest verified one is what every removal stands on
  }
  return {Code::busy, "no newer checkpoint than '" + name + "' is verified any more; it was not removed"};
}

// Oldest first. `known` is what the plan was made of, newest first.
std::vector<Removal> carry_out(const store::Store& store, const retention::Plan& plan,
                               const std::vector<retention::Fact>& known) {
  std::vector<Removal> removals;
  for (auto decision = plan.decisions.rbegin(); decision != plan.decisions.rend(); ++decision) {
    if (decision->keep) continue;
    Status outcome = still_due(store, decision->name, known);
    if (outcome.ok()) outcome = store.remove(decision->name);
    if (outcome.code() == Code::not_found) outcome = Status();  // another one was quicker
    removals.push_back({decision->name, decision->stored_bytes, joined(decision->reasons), std::move(outcome)});
  }
  return removals;
}

// `missing` even after every removal that the policy allows.
Status no_room(const store::Store& store, const std::string& run, const retention::Policy& policy,
               const retention::Space& space, std::uint64_t missing) {
  const std::uint64_t shortage = retention::shortage_bytes(policy, space);
  std::string text = "no room for the next checkpoint of run '" + run + "' in the store '" + store.path() +
                     "': it needs " + base::human_bytes(space.needed_bytes) + "; the file system has " +
                     base::human_bytes(space.free_bytes) +
                     " free, of which min_free_bytes = " + base::human_bytes(policy.min_free_bytes) + " stay free";
  if (policy.max_bytes != 0) {
    text += "; the store takes " + base::human_bytes(space.store_bytes) +
            " of max_bytes = " + base::human_bytes(policy.max_bytes);
  }
  text += "; " + base::human_bytes(shortage) + " are short, of which retention may still remove " +
          base::human_bytes(shortage > missing ? shortage - missing : 0) + ", so " + base::human_bytes(missing) +
          " are missing. Nothing was written, and every checkpoint that must stay is whole. Free space on that file "
          "system, change those limits, or unpin what may go (stillframe prune --dry-run tells what keeps each)";
  return {Code::no_space, text};
}

}  // namespace

Result<retention::Plan> plan_for(const store::Store& store, const std::string& run, const retention::Policy& policy,
                                 std::int64_t now_unix_seconds, std::uint64_t needed_bytes) {
  SF_TRY(retention::check(policy));
  SF_ASSIGN(auto known, facts(store, run));
  SF_ASSIGN(const retention::Space space, space_of(store, policy, needed_bytes));
  return retention::plan(policy, std::move(known), now_unix_seconds, space);
}

Result<std::vector<Removal>> prune(const store::Store& store, const std::string& run, const retention::Policy& policy,
                                   std::int64_t now_unix_seconds) {
  SF_ASSIGN(Pruned pruned, prune_with_plan(store, run, policy, now_unix_seconds));
  return std::move(pruned.removals);
}

Result<Pruned> prune_with_plan(const store::Store& store, const std::string& run, const retention::Policy& policy,
                               std::int64_t now_unix_seconds) {
  SF_TRY(retention::check(policy));
  SF_ASSIGN(const auto known, facts(store, run));
  SF_ASSIGN(const retention::Space space, space_of(store, policy, 0));
  retention::Plan plan = retention::plan(policy, known, now_unix_seconds, space);
  auto removals = carry_out(store, plan, known);
  return Pruned{std::move(plan), std::move(removals)};
}

Status ensure_room(const store::Store& store, const std::string& run, const retention::Policy& policy,
                   std::uint64_t needed_bytes, std::int64_t now_unix_seconds) {
  SF_TRY(retention::check(policy));
  std::set<std::string> held;  // by a reader, say
  std::uint64_t freed = 0;
  std::optional<std::uint64_t> free_at_first;
  for (;;) {  // every round takes at least one checkpoint out of the plan, or ends
    SF_ASSIGN(const retention::Space space, space_of(store, policy, needed_bytes));
    if (retention::shortage_bytes(policy, space) == 0) return {};
    if (!free_at_first) free_at_first = space.free_bytes;
    // Some file systems show freed space only later. Waiting for it must not remove still more.
    retention::Space expected = space;
    expected.free_bytes = std::max(space.free_bytes, *free_at_first + freed);
    SF_ASSIGN(auto known, facts(store, run));
    for (retention::Fact& fact : known) fact.pinned = fact.pinned || held.contains(fact.name);
    const retention::Plan plan = retention::plan(policy, known, now_unix_seconds, expected);
    const auto removals = carry_out(store, plan, known);
    if (removals.empty()) {
      return no_room(store, run, policy, space,
                     plan.missing_bytes != 0 ? plan.missing_bytes : retention::shortage_bytes(policy, space));
    }
    for (const Removal& removal : removals) {
      if (!removal.outcome.ok()) held.insert(removal.name);
      if (removal.outcome.ok()) freed += removal.stored_bytes;
    }
  }
}

}  // namespace stillframe::persist
