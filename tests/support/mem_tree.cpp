#include "support/mem_tree.hpp"

#include <algorithm>
#include <unordered_map>

namespace stillframe::test {
namespace {

std::vector<std::string> components_of(const std::string& path) {
  std::vector<std::string> components;
  std::size_t begin = 0;
  while (begin < path.size()) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    if (end > begin) components.push_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return components;
}

std::uint64_t names_of(const MemNode& wanted, const MemNode& below) {
  std::uint64_t count = 0;
  for (const auto& [name, node] : below.names) count += (node.get() == &wanted ? 1 : 0) + names_of(wanted, *node);
  return count;
}

using Copies = std::unordered_map<const MemNode*, MemNodePtr>;

MemNodePtr copy_synced(const MemNodePtr& node, Copies& copies) {
  MemNodePtr& copy = copies[node.get()];
  if (copy != nullptr) return copy;
  copy = std::make_shared<MemNode>();
  copy->is_directory = node->is_directory;
  copy->content = node->synced_content;
  copy->synced_content = node->synced_content;
  MemNodePtr made = copy;  // `copy` may move when the map grows
  for (const auto& [name, child] : node->synced_names) made->names.emplace(name, copy_synced(child, copies));
  made->synced_names = made->names;
  return made;
}

}  // namespace

Status mem_error(Code code, std::string_view doing, std::string_view path, std::string_view why) {
  std::string message = "cannot ";
  message.append(doing).append(" '").append(path).append("': ").append(why);
  return {code, std::move(message)};
}

MemTree::MemTree() : root_(std::make_shared<MemNode>()) { root_->is_directory = true; }

Result<MemTree::Place> MemTree::place(std::string_view doing, const std::string& path) const {
  if (path.empty()) return mem_error(Code::not_found, doing, path, "No such file or directory");
  std::vector<Place> way{{root_, "", root_}};
  for (const std::string& component : components_of(path)) {
    const MemNodePtr here = way.back().node;
    if (here == nullptr) return mem_error(Code::not_found, doing, path, "No such file or directory");
    if (!here->is_directory) return mem_error(Code::io_error, doing, path, "Not a directory");
    if (component == "..") {
      if (way.size() > 1) way.pop_back();
    } else if (component != ".") {
      const auto found = here->names.find(component);
      way.push_back({here, component, found == here->names.end() ? nullptr : found->second});
    }
  }
  return way.back();
}

Result<MemTree::Place> MemTree::existing(std::string_view doing, const std::string& path) const {
  SF_ASSIGN(Place found, place(doing, path));
  if (found.node == nullptr) return mem_error(Code::not_found, doing, path, "No such file or directory");
  return found;
}

Result<MemNodePtr> MemTree::directory(std::string_view doing, const std::string& path) const {
  SF_ASSIGN(const Place found, existing(doing, path));
  if (!found.node->is_directory) return mem_error(Code::io_error, doing, path, "Not a directory");
  return found.node;
}

env::FileInfo MemTree::info_of(const MemNode& node) const {
  return {.bytes = node.content.size(),
          .owner_uid = kMemUser,
          .links = names_of(node, *root_),
          .file_id = reinterpret_cast<std::uintptr_t>(&node),
          .is_directory = node.is_directory,
          .is_regular_file = !node.is_directory};
}

std::string MemTree::absolute(const std::string& path) {
  std::vector<std::string> kept;
  for (std::string& component : components_of(path)) {
    if (component == "..") {
      if (!kept.empty()) kept.pop_back();
    } else if (component != ".") {
      kept.push_back(std::move(component));
    }
  }
  std::string absolute;
  for (const std::string& component : kept) absolute += "/" + component;
  return absolute.empty() ? "/" : absolute;
}

MemTree MemTree::survivors() const {
  MemTree tree;
  Copies copies;
  tree.root_ = copy_synced(root_, copies);
  return tree;
}

}  // namespace stillframe::test
