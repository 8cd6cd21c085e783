// What a power loss may leave of a FaultDisk.
#include <algorithm>
#include <map>
#include <utility>

#include "support/fault_disk.hpp"

namespace stillframe::test {
namespace {

using Names = FaultNode::Names;

void put(Names& names, const std::string& name, NodeId node) {
  if (node == 0) {
    names.erase(name);
  } else {
    names[name] = node;
  }
}

// A journal: the first calls are on disk, the later ones are not.
Names first_changes(const FaultNode& directory, FaultDice& dice) {
  const std::size_t kept = dice.version(directory.unsynced.size() + 1);
  Names names = directory.synced_names;
  for (std::size_t i = 0; i < kept; ++i) {
    for (const DirectoryChange::NameSet& set : directory.unsynced[i].names) put(names, set.name, set.node);
  }
  return names;
}

// No journal: each name is what it was at the last sync, or any of what it has been since.
Names any_changes(const FaultNode& directory, FaultDice& dice) {
  std::map<std::string_view, std::vector<NodeId>> since;
  for (const DirectoryChange& change : directory.unsynced) {
    for (const DirectoryChange::NameSet& set : change.names) since[set.name].push_back(set.node);
  }
  Names names = directory.synced_names;
  for (const auto& [name, nodes] : since) {
    const std::size_t chosen = dice.version(nodes.size() + 1);
    if (chosen > 0) put(names, std::string(name), nodes[chosen - 1]);
  }
  return names;
}

}  // namespace

FaultNode::Names FaultDisk::surviving_names(const FaultNode& directory, FaultDice& dice) const {
  constexpr std::size_t kNoJournalPercent = 50;
  return dice.percent(kNoJournalPercent) ? any_changes(directory, dice) : first_changes(directory, dice);
}

void FaultDisk::settle_names(FaultDice& dice) {
  for (NodeId id = 1; id < nodes_.size(); ++id) {
    if (nodes_[id] == nullptr || nodes_[id]->unsynced.empty()) continue;
    Names kept = surviving_names(node(id), dice);
    FaultNode& settled = edit(id);
    settled.names = std::move(kept);
    settled.unsynced.clear();
  }
}

// Goes down from the root. A directory that a half-done rename left under two names keeps one of them, as a check of
// the file system would see to; what no name leads to is gone; what is reached keeps some of its unsynced bytes.
void FaultDisk::settle_tree(FaultDice& dice) {
  std::vector<std::uint64_t> links(nodes_.size(), 0);
  std::vector<NodeId> reached{1};
  links[1] = 1;
  for (std::size_t next = 0; next < reached.size(); ++next) {
    const NodeId id = reached[next];
    if (!nodes_[id]->is_directory) continue;
    std::vector<std::string> second_names;
    for (const auto& [name, child] : node(id).names) {
      dice.note(name);
      dice.note(child);
      if (links[child]++ == 0) {
        reached.push_back(child);
      } else if (node(child).is_directory) {
        --links[child];
        second_names.push_back(name);
      }
    }
    for (const std::string& name : second_names) edit(id).names.erase(name);
  }
  for (NodeId id = 1; id < nodes_.size(); ++id) {
    if (links[id] == 0) nodes_[id] = nullptr;
  }
  std::ranges::sort(reached);
  for (const NodeId id : reached) {
    if (node(id).links != links[id]) edit(id).links = links[id];
    if (node(id).content.has_unsynced()) {
      dice.note(id);
      FaultBytes kept = node(id).content.survivor(dice);
      edit(id).content = FaultContent(std::move(kept));
    }
    if (node(id).is_directory && node(id).names != node(id).synced_names) edit(id).synced_names = node(id).names;
  }
}

std::shared_ptr<FaultDisk> FaultDisk::survivor(FaultDice& dice) const {
  auto after = copy();
  after->settle_names(dice);
  after->settle_tree(dice);
  return after;
}

}  // namespace stillframe::test
