// Whose files are read: a checkpoint that somebody else put into the store is refused by name, and nothing of it is
// followed or read.
#pragma once

#include <string>

#include "env/env.hpp"
#include "store/store.hpp"

namespace stillframe::store {

// ok when the file or directory belongs to this user, to root, or to the owner of the store's directory. Several hard
// links are fine.
[[nodiscard]] Status check_owner(const Store& store, const std::string& path, const env::FileInfo& info);

// ok when `path` is a directory (and no symbolic link to one) of such an owner; not_found when nothing is there.
[[nodiscard]] Status check_directory(const Store& store, const std::string& path);

// The path of a checkpoint's directory, checked as above; not_found for a name that is none, or not there.
[[nodiscard]] Result<std::string> checkpoint_directory(const Store& store, const std::string& name);

}  // namespace stillframe::store
