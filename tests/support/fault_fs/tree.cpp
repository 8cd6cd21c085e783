#include "support/fault_fs/tree.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <set>

namespace stillframe::test {
namespace {

constexpr std::size_t kBlockBytes = 4096;

// Of the blocks in which the two differ, each as before or as it was written; so is the length.
std::string torn(const std::string& durable, const std::string& written, std::mt19937_64& dice) {
  std::string result = durable;
  result.resize(dice() % 2 == 0 ? durable.size() : written.size());
  for (std::size_t at = 0; at < result.size(); at += kBlockBytes) {
    const std::size_t end = std::min({at + kBlockBytes, result.size(), written.size()});
    if (at < end && dice() % 2 == 0) result.replace(at, end - at, written, at, end - at);
  }
  return result;
}

}  // namespace

Tree::Tree() {
  Node& root = nodes_[kRoot];
  root.is_directory = true;
  root.mode = S_IFDIR | 0755;
  root.links = 2;
}

Node* Tree::find(NodeId id) {
  const auto found = nodes_.find(id);
  return found != nodes_.end() ? &found->second : nullptr;
}

int Tree::make(NodeId parent, const std::string& name, mode_t type_and_mode, uid_t uid, gid_t gid, NodeId& made) {
  const Node* directory = find(parent);
  if (directory == nullptr || !directory->is_directory) return ENOENT;
  if (directory->names.contains(name)) return EEXIST;
  made = next_id_++;
  Node& node = nodes_[made];
  node.is_directory = S_ISDIR(type_and_mode);
  node.mode = type_and_mode;
  node.uid = uid;
  node.gid = gid;
  node.links = node.is_directory ? 2 : 1;
  change({{parent, name, made}});
  return 0;
}

int Tree::link(NodeId existing, NodeId parent, const std::string& name) {
  Node* node = find(existing);
  const Node* directory = find(parent);
  if (node == nullptr || directory == nullptr) return ENOENT;
  if (node->is_directory) return EPERM;
  if (directory->names.contains(name)) return EEXIST;
  ++node->links;
  change({{parent, name, existing}});
  return 0;
}

int Tree::remove(NodeId parent, const std::string& name, bool directory) {
  const Node* from = find(parent);
  if (from == nullptr || !from->names.contains(name)) return ENOENT;
  Node& node = nodes_[from->names.at(name)];
  if (node.is_directory != directory) return directory ? ENOTDIR : EISDIR;
  if (directory && !node.names.empty()) return ENOTEMPTY;
  --node.links;
  change({{parent, name, std::nullopt}});
  return 0;
}

int Tree::rename(NodeId from, const std::string& name, NodeId to, const std::string& new_name, bool no_replace) {
  const Node* source = find(from);
  const Node* target = find(to);
  if (source == nullptr || target == nullptr || !source->names.contains(name)) return ENOENT;
  const NodeId moved = source->names.at(name);
  if (const auto there = target->names.find(new_name); there != target->names.end()) {
    if (no_replace) return EEXIST;
    Node& replaced = nodes_[there->second];
    if (replaced.is_directory && !replaced.names.empty()) return ENOTEMPTY;
    if (replaced.is_directory != nodes_[moved].is_directory) return replaced.is_directory ? EISDIR : ENOTDIR;
    --replaced.links;
  }
  change({{from, name, std::nullopt}, {to, new_name, moved}});
  return 0;
}

void Tree::write(Node& file, std::uint64_t offset, std::string_view bytes) {
  if (file.bytes.size() < offset + bytes.size()) file.bytes.resize(offset + bytes.size());
  std::copy(bytes.begin(), bytes.end(), file.bytes.begin() + static_cast<std::ptrdiff_t>(offset));
}

void Tree::change(Change change) {
  for (const NameChange& one : change) {
    auto& names = nodes_[one.directory].names;
    if (one.node) {
      names[one.name] = *one.node;
    } else {
      names.erase(one.name);
    }
  }
  unsynced_.push_back(std::move(change));
}

void Tree::apply(const Change& change, std::map<NodeId, Node>& nodes) {
  for (const NameChange& one : change) {
    auto& names = nodes[one.directory].durable_names;
    if (one.node) {
      names[one.name] = *one.node;
    } else {
      names.erase(one.name);
    }
  }
}

void Tree::sync_dir(NodeId directory) {
  std::erase_if(unsynced_, [&](const Change& one) {
    const bool concerned = std::any_of(one.begin(), one.end(), [&](const auto& c) { return c.directory == directory; });
    if (concerned) apply(one, nodes_);
    return concerned;
  });
  free_unreachable();
}

void Tree::free_unreachable() {
  std::set<NodeId> reached{kRoot};
  std::vector<NodeId> waiting{kRoot};
  const auto reach = [&](NodeId id) {
    if (reached.insert(id).second) waiting.push_back(id);
  };
  for (const auto& [id, node] : nodes_) {
    if (node.opened != 0) reach(id);
  }
  for (const Change& change : unsynced_) {
    for (const NameChange& one : change) {
      reach(one.directory);
      if (one.node) reach(*one.node);
    }
  }
  while (!waiting.empty()) {
    const Node& node = nodes_[waiting.back()];
    waiting.pop_back();
    for (const auto& [name, id] : node.names) reach(id);
    for (const auto& [name, id] : node.durable_names) reach(id);
  }
  std::erase_if(nodes_, [&](const auto& one) { return !reached.contains(one.first); });
}

Tree Tree::after_power_loss(std::optional<std::uint64_t> seed) const {
  std::mt19937_64 dice(seed.value_or(0));
  Tree after;
  after.nodes_ = nodes_;
  // Never a number twice: the kernel may still know the old ones.
  after.next_id_ = next_id_;
  for (const Change& change : unsynced_) {
    if (seed && dice() % 2 == 0) apply(change, after.nodes_);
  }
  for (auto& [id, node] : after.nodes_) {
    if (seed && node.bytes != node.durable_bytes) node.durable_bytes = torn(node.durable_bytes, node.bytes, dice);
    node.bytes = node.durable_bytes;
    node.names = node.durable_names;
    node.links = node.is_directory ? 2 : 0;
    node.opened = 0;
  }
  for (const auto& [id, node] : after.nodes_) {
    for (const auto& [name, child] : node.names) {
      if (!after.nodes_[child].is_directory) ++after.nodes_[child].links;
    }
  }
  after.free_unreachable();
  return after;
}

std::uint64_t Tree::bytes() const {
  std::uint64_t total = 0;
  for (const auto& [id, node] : nodes_) total += node.bytes.size();
  return total;
}

}  // namespace stillframe::test
