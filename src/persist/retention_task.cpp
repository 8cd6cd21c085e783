#include "persist/retention_task.hpp"

#include "store/checkpoint_files.hpp"

namespace stillframe::persist {

Result<std::vector<retention::Fact>> facts(const store::Store& store, const std::string& run) {
  SF_ASSIGN(const auto checkpoints, store.list());
  std::vector<retention::Fact> found;
  for (const auto& checkpoint : checkpoints) {
    const auto opened = store::open_manifest(store, checkpoint.name, store::ReadFrom::cache);
    if (!opened.ok() || opened->manifest.run != run) continue;
    const auto marks = store.marks(checkpoint.name);
    if (!marks.ok() && marks.status().code() == Code::not_found) continue;  // removed meanwhile
    if (!marks.ok()) return marks.status();
    found.push_back({checkpoint.parsed.sequence, checkpoint.name, checkpoint.parsed.step, marks->verified, marks->bad,
                     marks->pinned});
  }
  return found;
}

Result<std::vector<Removal>> prune(const store::Store& store, const std::string& run, const retention::Policy& policy) {
  SF_TRY(retention::check(policy));
  SF_ASSIGN(auto known, facts(store, run));
  const auto decisions = retention::plan(policy, std::move(known));
  std::vector<Removal> removals;
  for (auto decision = decisions.rbegin(); decision != decisions.rend(); ++decision) {
    if (decision->keep) continue;
    removals.push_back({decision->name, decision->reasons.front(), store.remove(decision->name)});
  }
  return removals;
}

}  // namespace stillframe::persist
