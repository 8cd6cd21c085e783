// Renames, and second names of files.
#pragma once

#include <string>

#include "stillframe/status.hpp"

namespace stillframe::env {

[[nodiscard]] Status posix_rename(const std::string& from, const std::string& to);
[[nodiscard]] Status posix_link(const std::string& existing, const std::string& new_path);
[[nodiscard]] Status posix_rename_no_replace(const std::string& from, const std::string& to);

// For file systems without RENAME_NOREPLACE (some FUSE and network ones). A file is moved by link and unlink: atomic
// against other writers; a crash between leaves both names on one file. A directory is checked and then renamed:
// somebody who makes an *empty* directory of that name between the two loses it; anything else there makes the rename
// fail.
[[nodiscard]] Status rename_no_replace_in_two_steps(const std::string& from, const std::string& to);

}  // namespace stillframe::env
