// Removing what is no checkpoint: orphans of dead writers, and removals that were cut off.
#include <algorithm>

#include "store/removal.hpp"
#include "store/store.hpp"

namespace stillframe::store {
namespace {

Status absent_is_fine(Status status) { return status.code() == Code::not_found ? Status() : std::move(status); }

// A partial directory's name holds a sequence that is claimed once, so no writer to come will use it: the lock need not
// be held while its files are unlinked.
Result<bool> has_living_writer(const Store& store, const std::string& run, const std::vector<std::string>& own_runs) {
  if (std::find(own_runs.begin(), own_runs.end(), run) != own_runs.end()) return false;
  const auto lock = store.lock_run(run);
  if (lock.ok()) return false;
  if (lock.status().code() == Code::busy) return true;
  return lock.status();
}

}  // namespace

Status unlink_directory(env::Env& env, const std::string& directory) {
  auto entries = env.list(directory);
  if (!entries.ok()) return absent_is_fine(entries.status());
  SF_TRY(absent_is_fine(env.remove_file(env::join(directory, format::kManifestFile))));
  for (const auto& entry : *entries) {
    const std::string path = env::join(directory, entry.name);
    if (entry.is_directory) {
      return Status(Code::io_error, "'" + path +
                                        "' is a directory, which Stillframe does not make inside a checkpoint; "
                                        "it was left alone. Move it away, and the removal goes on at the next start");
    }
    if (entry.name != format::kManifestFile) SF_TRY(absent_is_fine(env.remove_file(path)));
  }
  return absent_is_fine(env.remove_dir(directory));
}

Status withdraw(const Store& store, const std::string& name) {
  const std::string removing = env::join(store.path(), format::removing_name(name));
  SF_TRY(
      store.env().rename_no_replace(env::join(store.path(), name), removing).with_context("removing '" + name + "'"));
  SF_TRY(store.env()
             .sync_dir(store.path())
             .with_context("the checkpoint '" + name +
                           "' was renamed for removal, its files are unlinked at the next start"));
  return unlink_directory(store.env(), removing)
      .with_context("the checkpoint '" + name + "' is removed, what is left of its files goes at the next start");
}

Result<RecoveryReport> recover(const Store& store, const std::vector<std::string>& own_runs) {
  SF_ASSIGN(auto entries, store.env().list(store.path()));
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  RecoveryReport report;
  std::vector<std::string> orphans;
  for (const auto& entry : entries) {
    if (!entry.is_directory) continue;
    if (format::parse_removing_name(entry.name)) orphans.push_back(entry.name);
    const auto partial = format::parse_partial_name(entry.name);
    if (!partial) continue;
    SF_ASSIGN(const bool alive, has_living_writer(store, partial->run, own_runs));
    (alive ? report.left_alone : orphans).push_back(entry.name);
  }
  if (orphans.empty()) return report;
  // The name we see may not be on disk yet (the remover died between rename and sync): if power failed after the first
  // unlink, the final name could come back over missing files.
  SF_TRY(store.env().sync_dir(store.path()));
  for (const std::string& orphan : orphans) {
    SF_TRY(unlink_directory(store.env(), env::join(store.path(), orphan))
               .with_context("removing the orphan '" + orphan + "'"));
    report.removed.push_back(orphan);
  }
  SF_TRY(store.env().sync_dir(store.path()));
  return report;
}

}  // namespace stillframe::store
