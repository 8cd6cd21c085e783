#include "support/fault_disk.hpp"

#include <algorithm>
#include <utility>

namespace stillframe::test {
namespace {

constexpr NodeId kRoot = 1;

std::vector<std::string_view> components_of(std::string_view path) {
  std::vector<std::string_view> components;
  std::size_t begin = 0;
  while (begin < path.size()) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    if (end > begin) components.push_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return components;
}

}  // namespace

Status fault_error(Code code, std::string_view doing, std::string_view path, std::string_view why) {
  std::string message = "cannot ";
  message.append(doing).append(" '").append(path).append("': ").append(why);
  return {code, std::move(message)};
}

FaultDisk::FaultDisk() : nodes_{nullptr, std::make_shared<FaultNode>()} {
  nodes_[kRoot]->is_directory = true;
  nodes_[kRoot]->links = 1;
}

Result<FaultDisk::Place> FaultDisk::place(std::string_view doing, const std::string& path) const {
  if (path.empty()) return fault_error(Code::not_found, doing, path, "No such file or directory");
  std::vector<NodeId> way{kRoot};  // the directories above, the root first
  Place here{kRoot, "", kRoot};
  for (const std::string_view component : components_of(path)) {
    if (here.node == 0) return fault_error(Code::not_found, doing, path, "No such file or directory");
    const FaultNode& directory = node(here.node);
    if (!directory.is_directory) return fault_error(Code::io_error, doing, path, "Not a directory");
    if (component == ".") continue;
    if (component == "..") {
      if (way.size() > 1) way.pop_back();
      here = {way.back(), "", way.back()};
      continue;
    }
    const auto found = directory.names.find(component);
    here = {here.node, std::string(component), found == directory.names.end() ? 0 : found->second};
    if (here.node != 0) way.push_back(here.node);
  }
  return here;
}

Result<FaultDisk::Place> FaultDisk::existing(std::string_view doing, const std::string& path) const {
  SF_ASSIGN(Place found, place(doing, path));
  if (found.node == 0) return fault_error(Code::not_found, doing, path, "No such file or directory");
  return found;
}

Result<NodeId> FaultDisk::directory(std::string_view doing, const std::string& path) const {
  SF_ASSIGN(const Place found, existing(doing, path));
  if (!node(found.node).is_directory) return fault_error(Code::io_error, doing, path, "Not a directory");
  return found.node;
}

std::string FaultDisk::absolute(const std::string& path) {
  std::vector<std::string_view> kept;
  for (const std::string_view component : components_of(path)) {
    if (component == "..") {
      if (!kept.empty()) kept.pop_back();
    } else if (component != ".") {
      kept.push_back(component);
    }
  }
  std::string absolute;
  for (const std::string_view component : kept) absolute.append("/").append(component);
  return absolute.empty() ? "/" : absolute;
}

FaultNode& FaultDisk::edit(NodeId id) {
  std::shared_ptr<FaultNode>& node = nodes_[id];
  if (node.use_count() > 1) node = std::make_shared<FaultNode>(*node);
  return *node;
}

Result<NodeId> FaultDisk::add(std::string_view doing, const std::string& path, bool is_directory) {
  SF_ASSIGN(const Place place, this->place(doing, path));
  if (place.node != 0) return fault_error(Code::busy, doing, path, "File exists");
  const auto id = static_cast<NodeId>(nodes_.size());
  nodes_.push_back(std::make_shared<FaultNode>());
  nodes_.back()->is_directory = is_directory;
  set_names(place.parent, {{{place.name, id}}});
  return id;
}

void FaultDisk::set_names(NodeId directory, DirectoryChange change) {
  FaultNode& changed = edit(directory);
  for (const DirectoryChange::NameSet& set : change.names) {
    const auto before = changed.names.find(set.name);
    if (before != changed.names.end()) {
      --edit(before->second).links;
      changed.names.erase(before);
    }
    if (set.node == 0) continue;
    ++edit(set.node).links;
    changed.names.emplace(set.name, set.node);
  }
  changed.unsynced.push_back(std::move(change));
}

void FaultDisk::sync_names(NodeId directory) {
  if (node(directory).unsynced.empty()) return;
  FaultNode& synced = edit(directory);
  synced.synced_names = synced.names;
  synced.unsynced.clear();
}

bool FaultDisk::holds(NodeId directory, NodeId wanted) const {
  if (directory == wanted) return true;
  return std::ranges::any_of(node(directory).names, [&](const auto& entry) { return holds(entry.second, wanted); });
}

env::FileInfo FaultDisk::info(NodeId id) const {
  const FaultNode& described = node(id);
  return {.bytes = described.content.now().size,
          .owner_uid = kFaultUser,
          .links = described.links,
          .file_id = id,
          .is_directory = described.is_directory,
          .is_regular_file = !described.is_directory};
}

std::shared_ptr<FaultDisk> FaultDisk::copy() const {
  auto copied = std::make_shared<FaultDisk>();
  copied->nodes_ = nodes_;
  copied->space = space;
  return copied;
}

}  // namespace stillframe::test
