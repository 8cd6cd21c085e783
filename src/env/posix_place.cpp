#include "env/posix_place.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "env/env.hpp"
#include "env/posix_error.hpp"

namespace stillframe::env {
namespace {

bool is_link(int directory, const char* name) noexcept {
  struct stat info {};
  return ::fstatat(directory, name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(info.st_mode);
}

base::UniqueFd open_retrying(int directory, const std::string& name, int flags, mode_t mode = 0) noexcept {
  int fd = -1;
  do {
    fd = ::openat(directory, name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  // With O_DIRECTORY a link is reported as "not a directory", which helps nobody who sees a directory there.
  if (fd < 0 && errno == ENOTDIR) errno = is_link(directory, name.c_str()) ? ELOOP : ENOTDIR;
  return base::UniqueFd(fd);
}

std::string without_trailing_slashes(const std::string& path) {
  const std::size_t last = path.find_last_not_of('/');
  return last == std::string::npos ? path.substr(0, 1) : path.substr(0, last + 1);
}

std::string last_component(const std::string& path) {
  const std::string trimmed = without_trailing_slashes(path);
  return trimmed == "/" ? "." : trimmed.substr(trimmed.rfind('/') + 1);
}

}  // namespace

int find_place(const std::string& path, PosixPlace& place) {
  place.name = last_component(path);
  place.directory = open_retrying(AT_FDCWD, parent_dir(path), O_PATH | O_DIRECTORY);
  return place.directory.valid() ? 0 : errno;
}

Result<PosixPlace> posix_place(std::string_view doing, const std::string& path) {
  PosixPlace place;
  const int error = find_place(path, place);
  if (error == 0) return place;
  if (error == ELOOP) return errno_status(ELOOP, std::string(doing) + " '" + path + "' below", parent_dir(path));
  return errno_status(error, doing, path);
}

base::UniqueFd open_at(const PosixPlace& place, int flags, mode_t mode) noexcept {
  return open_retrying(place.directory.get(), place.name, flags, mode);
}

int stat_at(const PosixPlace& place, struct stat& info) noexcept {
  return ::fstatat(place.directory.get(), place.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
}

Result<bool> is_directory_at(int directory_fd, const char* name, const std::string& directory) {
  struct stat info {};
  if (::fstatat(directory_fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0) return S_ISDIR(info.st_mode);
  if (errno == ENOENT) return false;
  return errno_status(errno, "inspect", join(directory, name));
}

}  // namespace stillframe::env
