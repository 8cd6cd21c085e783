#include "env/private_dir.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace stillframe::env {

Status make_private_dir(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return {Code::io_error, "directory " + path + " for the daemon's socket cannot be made: " + std::strerror(errno)};
  }
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    return {Code::io_error, "directory " + path + " cannot be looked at: " + std::strerror(errno)};
  }
  if (!S_ISDIR(info.st_mode) || info.st_uid != ::geteuid() || (info.st_mode & 077U) != 0) {
    return {Code::invalid_argument, path + " must be a directory of this user's with mode 0700 (it would hold a private "
                                           "socket); remove it, or set XDG_RUNTIME_DIR"};
  }
  return {};
}

}  // namespace stillframe::env
