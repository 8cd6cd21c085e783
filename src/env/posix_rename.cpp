#include "env/posix_rename.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "env/posix_error.hpp"
#include "env/posix_place.hpp"

namespace stillframe::env {
namespace {

struct Move {
  const std::string& from;
  const std::string& to;
  PosixPlace source;
  PosixPlace target;

  [[nodiscard]] Status refused(int error) const {
    if (error == EEXIST || error == ENOTEMPTY) {
      return {Code::busy,
              "cannot rename '" + from + "' to '" + to + "': the new name exists already; nothing has changed"};
    }
    return errno_status(error, "rename '" + from + "' to", to);
  }
};

Result<Move> places_of(const std::string& from, const std::string& to) {
  SF_ASSIGN(PosixPlace source, posix_place("rename", from));
  SF_ASSIGN(PosixPlace target, posix_place("rename '" + from + "' to", to));
  return Move{from, to, std::move(source), std::move(target)};
}

int rename_at(const Move& move, unsigned flags) noexcept {
  return ::renameat2(move.source.directory.get(), move.source.name.c_str(), move.target.directory.get(),
                     move.target.name.c_str(), flags);
}

int link_at(const PosixPlace& source, const PosixPlace& target) noexcept {
  return ::linkat(source.directory.get(), source.name.c_str(), target.directory.get(), target.name.c_str(), 0);
}

Status check_and_rename(const Move& move) {
  struct stat info {};
  const int error = stat_at(move.target, info);
  if (error != ENOENT) return move.refused(error == 0 ? EEXIST : error);
  return rename_at(move, 0) == 0 ? Status() : move.refused(errno);
}

Status two_steps(const Move& move) {
  struct stat info {};
  if (const int error = stat_at(move.source, info); error != 0) return move.refused(error);
  if (S_ISDIR(info.st_mode)) return check_and_rename(move);
  if (link_at(move.source, move.target) == 0) {
    if (::unlinkat(move.source.directory.get(), move.source.name.c_str(), 0) != 0)
      return errno_status(errno, "remove the old name, after the new one was made, of", move.from);
    return {};
  }
  const bool no_hard_links = errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS || errno == EMLINK;
  return no_hard_links ? check_and_rename(move) : move.refused(errno);
}

}  // namespace

Status posix_rename(const std::string& from, const std::string& to) {
  SF_ASSIGN(const Move move, places_of(from, to));
  if (::renameat(move.source.directory.get(), move.source.name.c_str(), move.target.directory.get(),
                 move.target.name.c_str()) == 0) {
    return {};
  }
  // EEXIST here is a directory that is not empty, which some file systems report so.
  const int error = errno == EEXIST ? ENOTEMPTY : errno;
  return errno_status(error, "rename '" + from + "' to", to);
}

Status posix_rename_no_replace(const std::string& from, const std::string& to) {
  SF_ASSIGN(const Move move, places_of(from, to));
  if (rename_at(move, RENAME_NOREPLACE) == 0) return {};
  if (errno == EINVAL || errno == ENOSYS) return two_steps(move);
  return move.refused(errno);
}

Status rename_no_replace_in_two_steps(const std::string& from, const std::string& to) {
  SF_ASSIGN(const Move move, places_of(from, to));
  return two_steps(move);
}

Status posix_link(const std::string& existing, const std::string& new_path) {
  SF_ASSIGN(const PosixPlace source, posix_place("link", existing));
  SF_ASSIGN(const PosixPlace target, posix_place("link '" + existing + "' to", new_path));
  struct stat info {};
  if (const int error = stat_at(source, info); error != 0) return errno_status(error, "link", existing);
  if (!S_ISREG(info.st_mode)) return {Code::io_error, "cannot link '" + existing + "': it is not a regular file"};
  if (link_at(source, target) == 0) return {};
  if (errno == EEXIST) {
    return {Code::busy,
            "cannot link '" + existing + "' to '" + new_path + "': the new name exists already; nothing has changed"};
  }
  return errno_status(errno, "link '" + existing + "' to", new_path);
}

}  // namespace stillframe::env
