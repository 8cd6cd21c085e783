// A store: one directory of checkpoints. Order is by sequence; invariants in docs/format.md, "Store".
// Thread-safe unless said otherwise.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "env/env.hpp"
#include "format/manifest.hpp"
#include "format/names.hpp"
#include "stillframe/status.hpp"

namespace stillframe::store {

struct CheckpointRef {
  std::string name;
  format::CheckpointName parsed;
};

// A checkpoint that bears both is bad: what was verified once can rot.
struct Marks {
  bool verified = false;
  bool bad = false;
  bool pinned = false;
};

// A checkpoint whose name is gone for good.
struct Removed {
  Status leftovers;  // ok: every file is unlinked; else which is not: it goes at the next start
};

class Store {
 public:
  // For readers: not_found when there is no such directory. Writes nothing.
  [[nodiscard]] static Result<Store> open(env::Env& env, const std::string& path);
  // For writers: makes (and syncs) the directory with its parents when missing; refuses a path that is not a directory
  // or cannot be written, before training starts. Puts the format's page and the reader in Python beside the
  // checkpoints where they are missing or of another text.
  [[nodiscard]] static Result<Store> open_or_create(env::Env& env, const std::string& path);

  [[nodiscard]] const std::string& path() const noexcept { return path_; }  // real, absolute
  [[nodiscard]] env::Env& env() const noexcept { return *env_; }

  // Whatever bears a checkpoint's name, newest sequence first. Other names are passed over.
  [[nodiscard]] Result<std::vector<CheckpointRef>> list() const;

  // Claims the next sequence, under the store's lock: one more than the highest of the sequence file and every name in
  // the directory; synced before it is returned. Waits for the lock until the deadline.
  [[nodiscard]] Result<std::uint64_t> claim_sequence(const base::Deadline& deadline) const;

  // One writer per run: busy, naming the run and the holder, when taken. Held until the lock is destroyed.
  [[nodiscard]] Result<std::unique_ptr<env::Lock>> lock_run(const std::string& run) const;

  // Marks beside the manifest, under the store's lock: write, sync, rename, directory sync. `text` is for people (a
  // reason, a time). invalid_argument for a pin whose text is longer than kMaxPinReasonBytes and the time it bears.
  [[nodiscard]] Status set_mark(const std::string& name, std::string_view mark, const std::string& text) const;
  // Removes the mark and syncs the directory; ok when it does not bear it.
  [[nodiscard]] Status clear_mark(const std::string& name, std::string_view mark) const;
  [[nodiscard]] Result<Marks> marks(const std::string& name) const;

  // Removal: rename to <name>.removing, sync the parent, unlink. Both are asked with the store's lock in hand, under which
  // no mark changes: a pinned checkpoint is not removed, nor one for which `still_due` says no (its status is returned).
  // busy also when a reader holds the checkpoint. After an error before the rename nothing has changed; after a failed
  // sync of the parent the name is gone, and may come back whole after a power loss.
  [[nodiscard]] Result<Removed> remove(const std::string& name, const std::function<Status()>& still_due = {}) const;

 private:
  Store(env::Env& env, std::string path) : env_(&env), path_(std::move(path)) {}
  env::Env* env_;
  std::string path_;
};

struct RecoveryReport {
  // Orphans: partial directories of dead writers, half-removed checkpoints, half-written marks ("<name>/bad.tmp").
  std::vector<std::string> removed;
  std::vector<std::string> left_alone;  // partial directories whose run is locked by a living writer other than us
  std::vector<std::string> failed;      // "<name>: why" of what could not be looked at or removed; the next start tries
  std::uint64_t bytes_freed = 0;        // of what was removed; a file that has another name is not freed
};
// Removes what is unpublished and not owned by a living writer. `own_runs`: runs whose lock the caller holds and for
// which it writes nothing now. First makes durable whatever bears a checkpoint's name, also when its writer died before
// it could. Idempotent; a crash inside changes nothing that counts. An error only when the store's directory cannot be
// synced or listed: what cannot be removed is reported and stands in nobody's way.
[[nodiscard]] Result<RecoveryReport> recover(const Store& store, const std::vector<std::string>& own_runs);

}  // namespace stillframe::store
