#include "store/removal.hpp"

#include "store/ownership.hpp"

namespace stillframe::store {

Result<std::optional<std::uint64_t>> unlink_file(env::Env& env, const std::string& path) {
  const auto info = env.info(path);
  const Status removed = info.ok() ? env.remove_file(path) : info.status();
  if (removed.code() == Code::not_found) return std::optional<std::uint64_t>();
  SF_TRY(removed);
  return std::optional<std::uint64_t>(info->links <= 1 ? info->bytes : 0);
}

Result<std::uint64_t> unlink_directory(env::Env& env, const std::string& directory) {
  auto entries = env.list(directory);
  if (entries.status().code() == Code::not_found) return std::uint64_t{0};
  if (!entries.ok()) return entries.status();
  SF_ASSIGN(const auto manifest_bytes, unlink_file(env, env::join(directory, format::kManifestFile)));
  std::uint64_t freed = manifest_bytes.value_or(0);
  for (const auto& entry : *entries) {
    const std::string path = env::join(directory, entry.name);
    if (entry.is_directory) {
      return Status(Code::io_error, "'" + path +
                                        "' is a directory, which Stillframe does not make inside a checkpoint; "
                                        "it was left alone. Move it away, and the removal goes on at the next start");
    }
    if (entry.name == format::kManifestFile) continue;
    SF_ASSIGN(const auto bytes, unlink_file(env, path));
    freed += bytes.value_or(0);
  }
  const Status removed = env.remove_dir(directory);
  if (!removed.ok() && removed.code() != Code::not_found) return removed;
  return freed;
}

Status take_name_away(const Store& store, const std::string& name) {
  const std::string removing = env::join(store.path(), format::removing_name(name));
  SF_TRY(
      store.env().rename_no_replace(env::join(store.path(), name), removing).with_context("removing '" + name + "'"));
  return store.env()
      .sync_dir(store.path())
      .with_context("the checkpoint '" + name + "' was renamed for removal, its files are unlinked at the next start");
}

namespace {

// Until it is destroyed nobody opens the checkpoint; busy when somebody reads it. Without a manifest it cannot have a
// reader, and locking would create one: nullptr.
Result<std::unique_ptr<env::Lock>> keep_readers_out(env::Env& env, const std::string& directory, const std::string& name) {
  const std::string manifest = env::join(directory, format::kManifestFile);
  SF_ASSIGN(const bool readable, env.exists(manifest));
  if (!readable) return std::unique_ptr<env::Lock>();
  auto lock = env.try_lock(manifest, env::LockMode::exclusive);
  if (!lock.ok() && lock.status().code() == Code::busy) {
    return Status(Code::busy, "the checkpoint '" + name + "' is being read; it was not removed, nothing was changed");
  }
  if (!lock.ok()) return lock.status().with_context("removing the checkpoint '" + name + "'");
  return lock;
}

Status may_go(const Store& store, const std::string& name, const std::function<Status()>& still_due) {
  SF_ASSIGN(const Marks marks, store.marks(name));
  if (marks.pinned) return {Code::busy, "the checkpoint '" + name + "' is pinned; it was not removed"};
  return still_due ? still_due() : Status();
}

}  // namespace

Result<Removed> Store::remove(const std::string& name, const std::function<Status()>& still_due) const {
  SF_ASSIGN(const std::string dir, checkpoint_directory(*this, name));
  std::unique_ptr<env::Lock> no_reader;
  {
    // The store's lock comes first: readers are not kept out while it is waited for.
    SF_ASSIGN(const auto store_lock, lock_store(*this, base::Deadline::after_ms(kStoreLockWaitMs)));
    SF_ASSIGN(no_reader, keep_readers_out(*env_, dir, name));
    SF_TRY(may_go(*this, name, still_due));
    // A store that was copied without its sequence file must not hand out this sequence a second time.
    SF_ASSIGN(const std::uint64_t claimed, read_sequence_file(*this));
    const std::uint64_t sequence = format::parse_checkpoint_name(name)->sequence;
    if (sequence > claimed) SF_TRY(write_sequence_file(*this, sequence));
    SF_TRY(take_name_away(*this, name));
  }
  const auto freed = unlink_directory(*env_, env::join(path_, format::removing_name(name)));
  return Removed{freed.status().with_context("the checkpoint '" + name +
                                             "' is removed, what is left of its files goes at the next start")};
}

}  // namespace stillframe::store
