#include "env/posix_rename.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "env/posix_error.hpp"

namespace stillframe::env {
namespace {

Status refused(int error, const std::string& from, const std::string& to) {
  if (error == EEXIST || error == ENOTEMPTY) {
    return {Code::busy,
            "cannot rename '" + from + "' to '" + to + "': the new name exists already; nothing has changed"};
  }
  return errno_status(error, "rename '" + from + "' to", to);
}

Status check_and_rename(const std::string& from, const std::string& to) {
  struct stat info {};
  if (::lstat(to.c_str(), &info) == 0) return refused(EEXIST, from, to);
  if (errno != ENOENT) return refused(errno, from, to);
  if (::rename(from.c_str(), to.c_str()) != 0) return refused(errno, from, to);
  return {};
}

}  // namespace

Status posix_rename_no_replace(const std::string& from, const std::string& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return {};
  if (errno == EINVAL || errno == ENOSYS) return rename_no_replace_in_two_steps(from, to);
  return refused(errno, from, to);
}

Status rename_no_replace_in_two_steps(const std::string& from, const std::string& to) {
  struct stat info {};
  if (::lstat(from.c_str(), &info) != 0) return refused(errno, from, to);
  if (S_ISDIR(info.st_mode)) return check_and_rename(from, to);
  if (::link(from.c_str(), to.c_str()) == 0) {
    if (::unlink(from.c_str()) != 0)
      return errno_status(errno, "remove the old name, after the new one was made, of", from);
    return {};
  }
  const bool no_hard_links = errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS || errno == EMLINK;
  return no_hard_links ? check_and_rename(from, to) : refused(errno, from, to);
}

}  // namespace stillframe::env
