// The files of fault_fs, all in memory: what the kernel sees, and apart from it what would be there after a power loss.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace stillframe::test {

using NodeId = std::uint64_t;

struct Node {
  bool is_directory = false;
  mode_t mode = 0;  // with its type
  uid_t uid = 0;
  gid_t gid = 0;
  std::uint32_t links = 1;
  std::uint32_t opened = 0;
  std::string bytes;
  std::string durable_bytes;
  std::map<std::string, NodeId> names;
  std::map<std::string, NodeId> durable_names;
};

// Every function that changes something returns 0 or an errno. A file's content becomes durable by sync_file() alone, a
// name by sync_dir() of its directory alone.
class Tree {
 public:
  static constexpr NodeId kRoot = 1;
  Tree();

  [[nodiscard]] Node* find(NodeId id);
  // `type_and_mode` as st_mode. `owner` of the process that asks.
  int make(NodeId parent, const std::string& name, mode_t type_and_mode, uid_t uid, gid_t gid, NodeId& made);
  int link(NodeId existing, NodeId parent, const std::string& name);
  int remove(NodeId parent, const std::string& name, bool directory);
  int rename(NodeId from, const std::string& name, NodeId to, const std::string& new_name, bool no_replace);
  static void write(Node& file, std::uint64_t offset, std::string_view bytes);
  static void sync_file(Node& file) { file.durable_bytes = file.bytes; }
  void sync_dir(NodeId directory);

  // What a power loss now leaves. Without a seed: only what was synced. With one: of what was not, each 4 KiB block and
  // each change of names (a rename is one) is there or not.
  [[nodiscard]] Tree after_power_loss(std::optional<std::uint64_t> seed) const;
  [[nodiscard]] std::uint64_t bytes() const;

 private:
  struct NameChange {
    NodeId directory = 0;
    std::string name;
    std::optional<NodeId> node;  // nullopt: the name went
  };
  using Change = std::vector<NameChange>;  // whole or not at all

  void change(Change change);
  static void apply(const Change& change, std::map<NodeId, Node>& nodes);
  void free_unreachable();

  std::map<NodeId, Node> nodes_;
  std::vector<Change> unsynced_;  // in their order
  NodeId next_id_ = kRoot + 1;
};

}  // namespace stillframe::test
