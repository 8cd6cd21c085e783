#include "store/ownership.hpp"

namespace stillframe::store {

Status check_owner(const Store& store, const std::string& path, const env::FileInfo& info) {
  constexpr std::uint32_t kRoot = 0;
  env::Env& env = store.env();
  if (info.owner_uid == env.user_id() || info.owner_uid == kRoot) return Status();
  SF_ASSIGN(const env::FileInfo directory, env.info(store.path()));
  if (info.owner_uid == directory.owner_uid) return Status();
  return Status(Code::io_error, "'" + path + "' belongs to user " + std::to_string(info.owner_uid) +
                                    " and was not read: expected the owner of the store (user " +
                                    std::to_string(directory.owner_uid) + "), this user (" +
                                    std::to_string(env.user_id()) + ") or root; give it to one of them (chown) if " +
                                    "you trust it");
}

Status check_directory(const Store& store, const std::string& path) {
  SF_ASSIGN(const env::FileInfo info, store.env().info(path));
  if (info.is_directory) return check_owner(store, path, info);
  return Status(Code::io_error, "'" + path +
                                    "' is not a directory but a file or a symbolic link, which is not followed; "
                                    "move it away, or put the checkpoint's own directory there");
}

Result<std::string> checkpoint_directory(const Store& store, const std::string& name) {
  if (!format::parse_checkpoint_name(name)) {
    return Status(Code::not_found, "'" + name + "' is not the name of a checkpoint (" + store.path() +
                                       "); expected something like 000042-step001000-20261122T123005Z");
  }
  std::string path = env::join(store.path(), name);
  const Status checked = check_directory(store, path);
  if (checked.ok()) return path;
  if (checked.code() != Code::not_found) return checked;
  return Status(Code::not_found, "there is no checkpoint '" + name + "' in the store '" + store.path() + "'");
}

}  // namespace stillframe::store
