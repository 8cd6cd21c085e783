// THE file door: every file and directory operation of Stillframe goes through an Env. PosixEnv is the real one; FaultEnv
// (tests/support) passes the same contract suite (tests/contract/env_contract.hpp).
//
// Paths are as the operating system takes them. Errors: not_found (ENOENT), no_space (ENOSPC, EDQUOT, EFBIG), busy
// (a lock is held, or the new name exists), io_error (the rest); the message holds the path, the operation and errno's
// text. EINTR and short writes are handled inside. Env is thread-safe; a File may be read from many threads, and
// written from one.
//
// No symbolic link is followed in the last two components of a path, which in a store are a checkpoint's directory and
// a file in it: io_error. make_dirs_synced() and real_path() follow links; who takes a path from a person resolves it
// first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stillframe/status.hpp"

namespace stillframe::env {

struct FileInfo {
  std::uint64_t bytes = 0;  // 0 for a directory
  std::uint32_t owner_uid = 0;
  std::uint64_t links = 0;    // names of a file; says nothing for a directory
  std::uint64_t file_id = 0;  // one for all names of a file, another for another file (device and inode mixed)
  bool is_directory = false;
  bool is_regular_file = false;  // neither: a symbolic link, a pipe, a device
};

class File {
 public:
  virtual ~File() = default;  // closes; bytes not synced may be lost
  [[nodiscard]] virtual Status write_at(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  // Fewer bytes than asked for only at the end of the file.
  [[nodiscard]] virtual Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) const = 0;
  [[nodiscard]] virtual Result<std::uint64_t> size() const = 0;
  [[nodiscard]] virtual Result<FileInfo> info() const = 0;
  // Data and size reach stable storage. After a failure the file's content is unknown: never retried, the file is given
  // up.
  [[nodiscard]] virtual Status sync() = 0;
  // Asks the system to forget cached pages, so that the next read comes from the device. Best effort, never an error.
  virtual void drop_cache() const noexcept = 0;
};

// An advisory lock, held until destroyed or until the process dies (however it dies). Not inherited by children.
class Lock {
 public:
  virtual ~Lock() = default;
};

enum class LockMode : std::uint8_t { shared, exclusive };

struct DirEntry {
  std::string name;
  bool is_directory = false;  // a symbolic link is none, whatever it points at
};

struct SpaceInfo {
  std::uint64_t free_bytes = 0;  // available to this user
  std::uint64_t total_bytes = 0;
  std::string file_system;  // "ext4", "tmpfs", …; empty when unknown
};

class Env {
 public:
  virtual ~Env() = default;

  // The file must not exist (busy when it does). Mode 0644, close-on-exec.
  [[nodiscard]] virtual Result<std::unique_ptr<File>> create(const std::string& path) = 0;
  // Read only; only regular files.
  [[nodiscard]] virtual Result<std::unique_ptr<File>> open(const std::string& path) = 0;

  // busy when it exists.
  [[nodiscard]] virtual Status make_dir(const std::string& path) = 0;
  // Missing parents too; ok when it exists already. Every directory made, and the parent of each, is synced; so, as far
  // as that is allowed, is the name of each that stood already and belongs to this user.
  [[nodiscard]] virtual Status make_dirs_synced(const std::string& path) = 0;
  // Unordered, without "." and "..".
  [[nodiscard]] virtual Result<std::vector<DirEntry>> list(const std::string& path) = 0;
  [[nodiscard]] virtual Result<bool> exists(const std::string& path) = 0;
  // Of the last component itself, also when it is a symbolic link; not_found when absent.
  [[nodiscard]] virtual Result<FileInfo> info(const std::string& path) = 0;
  // A second name of a regular file, in the same file system; busy when `new_path` exists, and then nothing has
  // changed.
  [[nodiscard]] virtual Status link(const std::string& existing, const std::string& new_path) = 0;
  // Replaces an existing file atomically.
  [[nodiscard]] virtual Status rename(const std::string& from, const std::string& to) = 0;
  // busy when `to` exists, and then nothing has changed.
  [[nodiscard]] virtual Status rename_no_replace(const std::string& from, const std::string& to) = 0;
  [[nodiscard]] virtual Status remove_file(const std::string& path) = 0;  // not_found when absent
  [[nodiscard]] virtual Status remove_dir(const std::string& path) = 0;   // must be empty
  // The names in the directory reach stable storage.
  [[nodiscard]] virtual Status sync_dir(const std::string& path) = 0;

  // Opens (creating it for LockMode::exclusive) and locks the file without waiting: busy when somebody else holds it.
  // Two locks on one path conflict within one process as well.
  [[nodiscard]] virtual Result<std::unique_ptr<Lock>> try_lock(const std::string& path, LockMode mode) = 0;

  [[nodiscard]] virtual Result<SpaceInfo> space(const std::string& path) = 0;
  // Absolute, symbolic links resolved; the path must exist.
  [[nodiscard]] virtual Result<std::string> real_path(const std::string& path) = 0;
  // Whom files made here belong to (the effective user).
  [[nodiscard]] virtual std::uint32_t user_id() = 0;
};

// Lives for the process.
[[nodiscard]] Env& posix_env() noexcept;

// The whole file, refused with Code::corrupt when it is larger than `limit_bytes` (checked before memory is taken).
[[nodiscard]] Result<std::string> read_whole(Env& env, const std::string& path, std::uint64_t limit_bytes);
// Write `<path>.tmp`, sync, rename over `path`, sync the directory. Readers see the old or the new content.
[[nodiscard]] Status replace_file_synced(Env& env, const std::string& path, std::span<const std::byte> bytes);
// For a path that a person gave: its directory with symbolic links resolved, joined with its last component.
[[nodiscard]] Result<std::string> resolve_directory_of(Env& env, const std::string& path);
[[nodiscard]] std::string parent_dir(const std::string& path);
[[nodiscard]] std::string join(std::string_view dir, std::string_view name);

}  // namespace stillframe::env
