// Removing what is no checkpoint: orphans of dead writers, removals that were cut off, half-written marks.
#include <algorithm>
#include <array>

#include "store/removal.hpp"
#include "store/store.hpp"

namespace stillframe::store {
namespace {

constexpr std::string_view kTemporarySuffix = ".tmp";
// A start does not hang on garbage: what cannot be collected soon is left to the next one.
constexpr std::uint64_t kLeftoversLockWaitMs = 1000;
// What env::replace_file_synced() replaces: in the store's directory, and in a checkpoint's.
constexpr std::array kReplacedInStore{format::kSequenceFile, format::kFormatPageFile, format::kReaderFile,
                                      format::kFormatPageFileV2, format::kReaderFileV2};
constexpr std::array kReplacedInCheckpoint{format::kVerifiedMark, format::kBadMark, format::kPinnedMark};

// A partial directory's name holds a sequence that is claimed once, so no writer to come will use it: the lock need not
// be held while its files are unlinked.
Result<bool> has_living_writer(const Store& store, const std::string& run, const std::vector<std::string>& own_runs) {
  if (std::find(own_runs.begin(), own_runs.end(), run) != own_runs.end()) return false;
  const auto lock = store.lock_run(run);
  if (lock.ok()) return false;
  if (lock.status().code() == Code::busy) return true;
  return lock.status();
}

template <typename Names>
void add_temporaries(const std::vector<env::DirEntry>& entries, const Names& replaced, const std::string& inside,
                     std::vector<std::string>& found) {
  for (const auto& entry : entries) {
    if (entry.is_directory) continue;
    for (const std::string_view name : replaced) {
      if (entry.name == std::string(name) + std::string(kTemporarySuffix))
        found.push_back(env::join(inside, entry.name));
    }
  }
}

void failed(RecoveryReport& report, const std::string& name, const Status& why) {
  report.failed.push_back(name + ": " + why.message());
}

// Paths inside the store of what is being replaced at this moment, or was when its writer died.
std::vector<std::string> find_temporaries(const Store& store, const std::vector<env::DirEntry>& entries,
                                          RecoveryReport& report) {
  std::vector<std::string> found;
  add_temporaries(entries, kReplacedInStore, "", found);
  for (const auto& entry : entries) {
    if (!entry.is_directory || !format::parse_checkpoint_name(entry.name)) continue;
    const auto inside = store.env().list(env::join(store.path(), entry.name));
    if (inside.ok()) {
      add_temporaries(*inside, kReplacedInCheckpoint, entry.name, found);
    } else if (inside.status().code() != Code::not_found) {
      failed(report, entry.name, inside.status());
    }
  }
  return found;
}

// Who replaces a file holds the store's lock: with the lock in hand, what is still there is nobody's.
void remove_temporaries(const Store& store, const std::vector<std::string>& found, RecoveryReport& report) {
  if (found.empty()) return;
  const auto lock = lock_store(store, base::Deadline::after_ms(kLeftoversLockWaitMs));
  for (const std::string& temporary : found) {
    if (!lock.ok()) {
      failed(report, temporary, lock.status());
      continue;
    }
    const std::string path = env::join(store.path(), temporary);
    const auto freed = unlink_file(store.env(), path);
    if (!freed.ok()) {
      failed(report, temporary, freed.status());
    } else if (*freed) {
      report.bytes_freed += **freed;
      report.removed.push_back(temporary);
    }
  }
}

// One that cannot be removed (another user's, a failing disk) stands in nobody's way: the others go.
void remove_orphans(const Store& store, const std::vector<std::string>& orphans, RecoveryReport& report) {
  if (orphans.empty()) return;
  for (const std::string& orphan : orphans) {
    const auto freed = unlink_directory(store.env(), env::join(store.path(), orphan));
    if (!freed.ok()) {
      failed(report, orphan, freed.status());
      continue;
    }
    report.bytes_freed += *freed;
    report.removed.push_back(orphan);
  }
  store.env().sync_dir(store.path()).ignore("what comes back after a power loss is removed again");
}

}  // namespace

Result<RecoveryReport> recover(const Store& store, const std::vector<std::string>& own_runs) {
  SF_ASSIGN(auto entries, store.env().list(store.path()));
  // The names we saw may not be on disk yet: a writer or remover died, or stands, between rename and sync. After this
  // they are, so what was found is durable, and no final name comes back over files that are unlinked below.
  SF_TRY(store.env().sync_dir(store.path()).with_context("starting on the store '" + store.path() + "'"));
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  RecoveryReport report;
  std::vector<std::string> orphans;
  for (const auto& entry : entries) {
    if (!entry.is_directory) continue;
    if (format::parse_removing_name(entry.name)) orphans.push_back(entry.name);
    const auto partial = format::parse_partial_name(entry.name);
    if (!partial) continue;
    const auto alive = has_living_writer(store, partial->run, own_runs);
    if (!alive.ok()) {
      failed(report, entry.name, alive.status());
    } else {
      (*alive ? report.left_alone : orphans).push_back(entry.name);
    }
  }
  remove_orphans(store, orphans, report);
  remove_temporaries(store, find_temporaries(store, entries, report), report);
  return report;
}

}  // namespace stillframe::store
