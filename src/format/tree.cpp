#include "format/tree.hpp"

#include <utility>

#include "format/json.hpp"
#include "format/tree_check.hpp"

namespace stillframe::format {

Status check_tree(std::string_view tree_json, const ImageLayout& layout) {
  auto root = parse_json(tree_json, kMaxTreeJsonDepth);
  if (!root.ok()) return root.status().with_context("state tree");
  return check_tree_value(*root, layout);
}

std::string flat_tree(const ImageLayout& layout) {
  // A name that begins with '$' would read as a typed node: then the pairs are written out.
  bool plain = true;
  for (const Entry& entry : layout.entries) plain = plain && !entry.name.starts_with('$');
  std::string tree = plain ? "{" : "{\"$dict\": [";
  bool first = true;
  for (const Entry& entry : layout.entries) {
    if (!std::exchange(first, false)) tree += ", ";
    if (!plain) tree += '[';
    append_json_string(tree, entry.name);
    tree += plain ? ": {\"$tensor\": " : ", {\"$tensor\": ";
    append_json_string(tree, entry.name);
    tree += plain ? "}" : "}]";
  }
  return tree + (plain ? "}" : "]}");
}

}  // namespace stillframe::format
