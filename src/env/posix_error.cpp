#include "env/posix_error.hpp"

#include <cerrno>
#include <cstring>

namespace stillframe::env {
namespace {

Code code_of(int error) noexcept {
  switch (error) {
    case ENOENT:
      return Code::not_found;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return Code::no_space;
    case EEXIST:
    case EWOULDBLOCK:
      return Code::busy;
    default:
      return Code::io_error;
  }
}

std::string_view hint_of(int error) noexcept {
  switch (error) {
    case ENOSPC:
      return "; free space on this file system (also check its inodes: df -i)";
    case EDQUOT:
      return "; the quota of this user, group or project is used up";
    case EFBIG:
      return "; the file system or the process's file size limit (ulimit -f) allows no larger file";
    case EMFILE:
      return "; raise this process's limit of open files (ulimit -n)";
    case EROFS:
      return "; the file system is mounted read-only (after a disk error the kernel does this: see dmesg)";
    case EACCES:
    case EPERM:
      return "; check the owner and mode of the path and of every directory above it";
    case ELOOP:
      return "; it is a symbolic link, or a chain of them, which is not followed here";
    case EIO:
      return "; the device reported an error: see dmesg, and do not trust this device before it is checked";
    default:
      return "";
  }
}

}  // namespace

Status errno_status(int error, std::string_view doing, std::string_view path) {
  // Unlike strerror, these two are thread-safe and never translated.
  const char* description = ::strerrordesc_np(error);
  const char* name = ::strerrorname_np(error);
  std::string message = "cannot ";
  message.append(doing).append(" '").append(path).append("': ");
  message.append(description != nullptr ? description : "unknown error");
  message.append(" (").append(name != nullptr ? std::string(name) : "errno " + std::to_string(error)).append(")");
  message.append(hint_of(error));
  return {code_of(error), std::move(message)};
}

}  // namespace stillframe::env
