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

Status Store::remove(const std::string& name) const {
  SF_ASSIGN(const std::string dir, checkpoint_directory(*this, name));
  const std::string manifest = env::join(dir, format::kManifestFile);
  SF_ASSIGN(const bool readable, env_->exists(manifest));
  std::unique_ptr<env::Lock> no_reader;
  if (readable) {  // without a manifest it cannot have a reader, and locking would create one
    auto lock = env_->try_lock(manifest, env::LockMode::exclusive);
    if (!lock.ok() && lock.status().code() == Code::busy) {
      return Status(Code::busy, "the checkpoint '" + name + "' is being read; it was not removed, nothing was changed");
    }
    if (!lock.ok()) return lock.status().with_context("removing the checkpoint '" + name + "'");
    no_reader = *std::move(lock);
  }
  {
    SF_ASSIGN(const auto store_lock, lock_store(*this, base::Deadline::after_ms(kStoreLockWaitMs)));
    // A store that was copied without its sequence file must not hand out this sequence a second time.
    SF_ASSIGN(const std::uint64_t claimed, read_sequence_file(*this));
    const std::uint64_t sequence = format::parse_checkpoint_name(name)->sequence;
    if (sequence > claimed) SF_TRY(write_sequence_file(*this, sequence));
    SF_TRY(take_name_away(*this, name));
  }
  const auto freed = unlink_directory(*env_, env::join(path_, format::removing_name(name)));
  return freed.status().with_context("the checkpoint '" + name +
                                     "' is removed, what is left of its files goes at the next start");
}

}  // namespace stillframe::store
