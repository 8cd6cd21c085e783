// Where a path leads without following symbolic links in its last two components: a checkpoint's directory and the file
// in it. Whoever may write into a store can plant a link there; what it points at is neither read, written nor removed.
#pragma once

#include <string>
#include <string_view>

#include "base/unique_fd.hpp"
#include "stillframe/status.hpp"

struct stat;

namespace stillframe::env {

struct PosixPlace {
  base::UniqueFd directory;  // O_PATH; the *at calls start here
  std::string name;          // without slashes; "." for the root
};

// 0, or errno: ELOOP when the directory is a link.
[[nodiscard]] int find_place(const std::string& path, PosixPlace& place);
// The same; `doing` and `path` as errno_status() takes them.
[[nodiscard]] Result<PosixPlace> posix_place(std::string_view doing, const std::string& path);

// openat(2) with O_CLOEXEC and O_NOFOLLOW added and EINTR handled; invalid with errno set when refused (ELOOP for a
// link). `mode`: of a file that it makes.
[[nodiscard]] base::UniqueFd open_at(const PosixPlace& place, int flags, mode_t mode = 0644) noexcept;
// fstatat(2) of the last component itself; 0, or errno.
[[nodiscard]] int stat_at(const PosixPlace& place, struct stat& info) noexcept;

// Whether `name` in the open directory is one itself. A name that has gone meanwhile is none; io_error, with the name,
// for one that cannot be looked at. `directory` is its path, for the message.
[[nodiscard]] Result<bool> is_directory_at(int directory_fd, const char* name, const std::string& directory);

}  // namespace stillframe::env
