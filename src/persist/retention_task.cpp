#include "persist/retention_task.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "base/bytes.hpp"

namespace stillframe::persist {
namespace {

constexpr std::uint64_t kSpaceComesWithinMs = 60'000;  // btrfs commits its transaction every 30 s

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : "; ") + part;
  return text;
}

// What the plan was made of may have changed since: the scrub finds the newer one bad.
Status still_due(const store::Store& store, const std::string& name, const std::vector<retention::Fact>& known) {
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
    const auto removed = store.remove(decision->name, [&] { return still_due(store, decision->name, known); });
    const bool gone = removed.ok() || removed.status().code() == Code::not_found;  // another one was quicker
    removals.push_back({decision->name, decision->stored_bytes, joined(decision->reasons),
                        gone ? Status() : removed.status(), removed.ok() ? removed->leftovers : Status()});
  }
  return removals;
}

std::uint64_t freed_by(const std::vector<Removal>& removals) {
  std::uint64_t bytes = 0;
  for (const Removal& removal : removals) bytes += removal.outcome.ok() ? removal.stored_bytes : 0;
  return bytes;
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

std::uint64_t AwaitedSpace::expected_bytes(std::uint64_t shown_bytes) {
  if (!until_ || until_->expired() || shown_bytes >= free_bytes_) {
    until_.reset();
    return shown_bytes;
  }
  return free_bytes_;
}

void AwaitedSpace::add(std::uint64_t expected_bytes, std::uint64_t bytes) {
  free_bytes_ = expected_bytes + bytes;
  until_ = base::Deadline::after_ms(kSpaceComesWithinMs);
}

Result<std::vector<Removal>> prune(const store::Store& store, const std::string& run, const retention::Policy& policy,
                                   std::int64_t now_unix_seconds, AwaitedSpace* awaited) {
  SF_ASSIGN(Pruned pruned, prune_with_plan(store, run, policy, now_unix_seconds, awaited));
  return std::move(pruned.removals);
}

Result<Pruned> prune_with_plan(const store::Store& store, const std::string& run, const retention::Policy& policy,
                               std::int64_t now_unix_seconds, AwaitedSpace* awaited) {
  SF_TRY(retention::check(policy));
  AwaitedSpace of_this_call;
  AwaitedSpace& to_come = awaited != nullptr ? *awaited : of_this_call;
  SF_ASSIGN(const auto known, facts(store, run));
  SF_ASSIGN(retention::Space space, space_of(store, policy, 0));
  space.free_bytes = to_come.expected_bytes(space.free_bytes);
  retention::Plan plan = retention::plan(policy, known, now_unix_seconds, space);
  auto removals = carry_out(store, plan, known);
  if (const std::uint64_t freed = freed_by(removals); freed != 0) to_come.add(space.free_bytes, freed);
  return Pruned{std::move(plan), std::move(removals)};
}

Status ensure_room(const store::Store& store, const std::string& run, const retention::Policy& policy,
                   std::uint64_t needed_bytes, std::int64_t now_unix_seconds, AwaitedSpace* awaited,
                   std::function<void()> make_way) {
  SF_TRY(retention::check(policy));
  AwaitedSpace of_this_call;
  AwaitedSpace& to_come = awaited != nullptr ? *awaited : of_this_call;
  std::set<std::string> held;  // by a reader, say
  for (;;) {  // every round takes at least one checkpoint out of the plan or asks for way, or ends
    SF_ASSIGN(const retention::Space space, space_of(store, policy, needed_bytes));
    retention::Space expected = space;
    expected.free_bytes = to_come.expected_bytes(space.free_bytes);
    if (retention::shortage_bytes(policy, space) == 0) return {};
    SF_ASSIGN(auto known, facts(store, run));
    for (retention::Fact& fact : known) fact.pinned = fact.pinned || held.contains(fact.name);
    const retention::Plan plan = retention::plan(policy, known, now_unix_seconds, expected);
    const auto removals = carry_out(store, plan, known);
    if (removals.empty()) {
      return no_room(store, run, policy, space,
                     plan.missing_bytes != 0 ? plan.missing_bytes : retention::shortage_bytes(policy, space));
    }
    if (const std::uint64_t freed = freed_by(removals); freed != 0) to_come.add(expected.free_bytes, freed);
    const bool in_the_way = std::ranges::any_of(removals, [](const Removal& one) { return one.outcome.code() == Code::busy; });
    if (in_the_way && make_way) {
      std::exchange(make_way, nullptr)();
      continue;
    }
    for (const Removal& removal : removals) {
      if (!removal.outcome.ok()) held.insert(removal.name);
    }
  }
}

}  // namespace stillframe::persist
