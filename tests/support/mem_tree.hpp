// The file tree behind MemEnv: what was written, and apart from it what was synced. Not thread-safe.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "env/env.hpp"

namespace stillframe::test {

constexpr std::uint32_t kMemUser = 1000;

// A file or a directory, as an inode: names are kept in the directories that hold it.
struct MemNode {
  using Names = std::map<std::string, std::shared_ptr<MemNode>>;

  bool is_directory = false;
  // Files.
  std::vector<std::byte> content;
  std::vector<std::byte> synced_content;  // as of the last sync(); empty before the first
  // Directories.
  Names names;
  Names synced_names;  // as of the last sync_dir()
  // Locks.
  std::size_t shared_locks = 0;
  bool exclusive_lock = false;
};

using MemNodePtr = std::shared_ptr<MemNode>;

class MemTree {
 public:
  // The directory that holds the last name of a path, that name, and what it names now (null: nothing).
  struct Place {
    MemNodePtr parent;
    std::string name;  // empty for the root itself
    MemNodePtr node;
  };

  MemTree();

  // "." and ".." are resolved; a relative path starts at the root. not_found and io_error as the operating system's.
  [[nodiscard]] Result<Place> place(std::string_view doing, const std::string& path) const;
  // Moreover something must stand there.
  [[nodiscard]] Result<Place> existing(std::string_view doing, const std::string& path) const;
  [[nodiscard]] Result<MemNodePtr> directory(std::string_view doing, const std::string& path) const;
  [[nodiscard]] static std::string absolute(const std::string& path);

  [[nodiscard]] env::FileInfo info_of(const MemNode& node) const;

  // A tree of its own that holds only what was synced: every name as of the last sync of its directory, every content
  // as of the last sync of its file. A rename between directories of which one was synced shows in that one only.
  [[nodiscard]] MemTree survivors() const;

 private:
  MemNodePtr root_;
};

// "cannot <doing> '<path>': <why>"
[[nodiscard]] Status mem_error(Code code, std::string_view doing, std::string_view path, std::string_view why);

}  // namespace stillframe::test
