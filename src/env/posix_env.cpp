#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <tuple>
#include <utility>

#include "env/env.hpp"
#include "env/make_dirs.hpp"
#include "env/posix_error.hpp"
#include "env/posix_file.hpp"
#include "env/posix_lock.hpp"
#include "env/posix_place.hpp"
#include "env/posix_rename.hpp"

namespace stillframe::env {
namespace {

constexpr mode_t kDirMode = 0755;

struct FileSystemName {
  std::uint32_t magic;  // statfs(2), f_type
  std::string_view name;
};
constexpr std::array kFileSystemNames{
    FileSystemName{0xEF53, "ext4"},      FileSystemName{0x58465342, "xfs"},     FileSystemName{0x9123683E, "btrfs"},
    FileSystemName{0x01021994, "tmpfs"}, FileSystemName{0x794C7630, "overlay"}, FileSystemName{0x6969, "nfs"},
    FileSystemName{0x65735546, "fuse"},  FileSystemName{0x0BD00BD0, "lustre"},  FileSystemName{0x2FC12FC1, "zfs"},
    FileSystemName{0xF2F52010, "f2fs"},  FileSystemName{0xFF534D42, "cifs"},    FileSystemName{0xFE534D42, "smb2"},
    FileSystemName{0x858458F6, "ramfs"}, FileSystemName{0x47504653, "gpfs"},  FileSystemName{0x00C36400, "ceph"},    FileSystemName{0x01021997, "9p"},
};

std::string file_system_name(int fd) {
  struct statfs info {};
  if (::fstatfs(fd, &info) != 0) return "";
  for (const FileSystemName& known : kFileSystemNames) {
    if (known.magic == static_cast<std::uint32_t>(info.f_type)) return std::string(known.name);
  }
  return "";
}

struct CloseDir {
  void operator()(DIR* dir) const noexcept { ::closedir(dir); }
};
struct Free {
  void operator()(char* text) const noexcept { std::free(text); }
};

class PosixEnv final : public Env {
 public:
  Result<std::unique_ptr<File>> create(const std::string& path) override { return create_posix_file(path); }
  Result<std::unique_ptr<File>> open(const std::string& path) override { return open_posix_file(path); }

  Status make_dir(const std::string& path) override {
    SF_ASSIGN(const PosixPlace place, posix_place("make directory", path));
    if (::mkdirat(place.directory.get(), place.name.c_str(), kDirMode) != 0)
      return errno_status(errno, "make directory", path);
    return {};
  }

  Status make_dirs_synced(const std::string& path) override { return make_dirs_synced_over(*this, path); }

  Result<std::vector<DirEntry>> list(const std::string& path) override {
    SF_ASSIGN(const PosixPlace place, posix_place("open directory", path));
    base::UniqueFd fd = open_at(place, O_RDONLY | O_DIRECTORY);
    if (!fd.valid()) return errno_status(errno, "open directory", path);
    const std::unique_ptr<DIR, CloseDir> dir(::fdopendir(fd.get()));
    if (dir == nullptr) return errno_status(errno, "open directory", path);
    std::ignore = fd.release();  // owned by `dir` now
    std::vector<DirEntry> entries;
    for (;;) {
      errno = 0;
      const dirent* entry = ::readdir(dir.get());
      if (entry == nullptr) break;
      const std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      bool is_directory = entry->d_type == DT_DIR;
      if (entry->d_type == DT_UNKNOWN) {  // some file systems leave it empty
        SF_ASSIGN(is_directory, is_directory_at(::dirfd(dir.get()), entry->d_name, path));
      }
      entries.push_back({std::string(name), is_directory});
    }
    if (errno != 0) return errno_status(errno, "list directory", path);
    return entries;
  }

  Result<bool> exists(const std::string& path) override {
    PosixPlace place;
    struct stat info {};
    int error = find_place(path, place);
    if (error == 0) error = stat_at(place, info);
    if (error == 0) return true;
    if (error == ENOENT || error == ENOTDIR) return false;
    return errno_status(error, "look up", path);
  }

  Result<FileInfo> info(const std::string& path) override {
    SF_ASSIGN(const PosixPlace place, posix_place("inspect", path));
    struct stat info {};
    if (const int error = stat_at(place, info); error != 0) return errno_status(error, "inspect", path);
    return info_of(info);
  }

  Status link(const std::string& existing, const std::string& new_path) override {
    return posix_link(existing, new_path);
  }

  Status rename(const std::string& from, const std::string& to) override { return posix_rename(from, to); }

  Status rename_no_replace(const std::string& from, const std::string& to) override {
    return posix_rename_no_replace(from, to);
  }

  Status remove_file(const std::string& path) override {
    SF_ASSIGN(const PosixPlace place, posix_place("remove file", path));
    if (::unlinkat(place.directory.get(), place.name.c_str(), 0) != 0) return errno_status(errno, "remove file", path);
    return {};
  }

  Status remove_dir(const std::string& path) override {
    SF_ASSIGN(const PosixPlace place, posix_place("remove directory", path));
    if (::unlinkat(place.directory.get(), place.name.c_str(), AT_REMOVEDIR) == 0) return {};
    const int error = errno == EEXIST ? ENOTEMPTY : errno;
    return errno_status(error, "remove directory", path);
  }

  Status sync_dir(const std::string& path) override {
    SF_ASSIGN(const PosixPlace place, posix_place("open directory", path));
    const base::UniqueFd fd = open_at(place, O_RDONLY | O_DIRECTORY);
    if (!fd.valid()) return errno_status(errno, "open directory", path);
    int result = 0;
    do {
      result = ::fsync(fd.get());
    } while (result != 0 && errno == EINTR);
    if (result != 0) return errno_status(errno, "sync directory", path);
    return {};
  }

  Result<std::unique_ptr<Lock>> try_lock(const std::string& path, LockMode mode) override {
    return try_posix_lock(path, mode);
  }

  Result<SpaceInfo> space(const std::string& path) override {
    SF_ASSIGN(const PosixPlace place, posix_place("read the free space at", path));
    const base::UniqueFd fd = open_at(place, O_PATH);
    if (!fd.valid()) return errno_status(errno, "read the free space at", path);
    struct statvfs info {};
    int result = 0;
    do {
      result = ::fstatvfs(fd.get(), &info);
    } while (result != 0 && errno == EINTR);
    if (result != 0) return errno_status(errno, "read the free space at", path);
    return SpaceInfo{std::uint64_t{info.f_bavail} * info.f_frsize, std::uint64_t{info.f_blocks} * info.f_frsize,
                     file_system_name(fd.get())};
  }

  Result<std::string> real_path(const std::string& path) override {
    const std::unique_ptr<char, Free> resolved(::realpath(path.c_str(), nullptr));
    if (resolved == nullptr) return errno_status(errno, "resolve", path);
    return std::string(resolved.get());
  }

  std::uint32_t user_id() override { return ::geteuid(); }
};

}  // namespace

Env& posix_env() noexcept {
  static PosixEnv env;
  return env;
}

}  // namespace stillframe::env
