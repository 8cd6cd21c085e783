// The disk behind one or many FaultEnvs: files and directories as inodes, what they are now and what of it is certainly
// on disk. Copies share what they have in common. Not thread-safe: callers hold `mutex`.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "env/env.hpp"
#include "support/fault_content.hpp"
#include "support/fault_dice.hpp"

namespace stillframe::test {

inline constexpr std::uint32_t kFaultUser = 1000;

using NodeId = std::uint32_t;  // 0: no node

// One call's change of one directory: names set to a node, or to none. They reach the disk together or not at all,
// unless the file system has no journal: then each name for itself.
struct DirectoryChange {
  struct NameSet {
    std::string name;
    NodeId node = 0;
  };
  std::vector<NameSet> names;
};

struct FaultNode {
  using Names = std::map<std::string, NodeId, std::less<>>;

  bool is_directory = false;
  std::uint64_t links = 0;                // names that lead to it
  FaultContent content;                   // of a file
  Names names;                            // of a directory: now
  Names synced_names;                     // as of its last sync
  std::vector<DirectoryChange> unsynced;  // since then, oldest first
};

class FaultDisk {
 public:
  // The directory that holds the last name of a path, that name, and what it names now.
  struct Place {
    NodeId parent = 0;
    std::string name;  // empty for the root itself
    NodeId node = 0;
  };

  FaultDisk();

  // "." and ".." are resolved; a relative path starts at the root. not_found and io_error as the operating system's.
  [[nodiscard]] Result<Place> place(std::string_view doing, const std::string& path) const;
  // Moreover something must stand there.
  [[nodiscard]] Result<Place> existing(std::string_view doing, const std::string& path) const;
  [[nodiscard]] Result<NodeId> directory(std::string_view doing, const std::string& path) const;
  [[nodiscard]] static std::string absolute(const std::string& path);

  [[nodiscard]] const FaultNode& node(NodeId id) const { return *nodes_[id]; }
  [[nodiscard]] FaultNode& edit(NodeId id);
  [[nodiscard]] Result<NodeId> add(std::string_view doing, const std::string& path, bool is_directory);
  void set_names(NodeId directory, DirectoryChange change);
  void sync_names(NodeId directory);
  [[nodiscard]] bool holds(NodeId directory, NodeId wanted) const;
  [[nodiscard]] env::FileInfo info(NodeId id) const;

  // As it is, certain or not; without locks.
  [[nodiscard]] std::shared_ptr<FaultDisk> copy() const;
  // What a power loss now may leave: see FaultEnv::survivor().
  [[nodiscard]] std::shared_ptr<FaultDisk> survivor(FaultDice& dice) const;

  struct HeldLock {
    std::uint64_t id = 0;
    std::uint64_t process = 0;
    NodeId node = 0;
    env::LockMode mode = env::LockMode::shared;
  };

  std::mutex mutex;
  std::vector<HeldLock> locks;
  std::uint64_t next_id = 1;  // of processes and locks
  env::SpaceInfo space{std::uint64_t{1} << 40U, std::uint64_t{1} << 40U, "mem"};

 private:
  [[nodiscard]] FaultNode::Names surviving_names(const FaultNode& directory, FaultDice& dice) const;
  void settle_names(FaultDice& dice);
  void settle_tree(FaultDice& dice);

  std::vector<std::shared_ptr<FaultNode>> nodes_;  // by id; shared with copies of the disk until edited
};

// "cannot <doing> '<path>': <why>"
[[nodiscard]] Status fault_error(Code code, std::string_view doing, std::string_view path, std::string_view why);

}  // namespace stillframe::test
