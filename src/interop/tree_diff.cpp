#include "interop/tree_diff.hpp"

#include <map>
#include <nlohmann/json.hpp>
#include <set>

namespace stillframe::interop {
namespace {

using nlohmann::ordered_json;

// The member of a node that stands for a container, or for a leaf that JSON has no type for; empty for plain JSON.
std::string_view kind_of(const ordered_json& node) {
  if (!node.is_object() || node.size() != 1 || !node.begin().key().starts_with('$')) return {};
  return node.begin().key();
}

bool is_pairs(std::string_view kind) { return kind == "$dict" || kind == "$ordered_dict"; }

// The children of a container by the words that lead to them, in order; nullopt for a leaf.
using Children = std::vector<std::pair<std::string, const ordered_json*>>;

std::string member_step(const std::string& key) {
  const bool plain = !key.empty() && key.find_first_of(".[]\"") == std::string::npos;
  return plain ? "." + key : "[" + ordered_json(key).dump() + "]";
}

Children elements(const ordered_json& array) {
  Children children;
  for (std::size_t i = 0; i < array.size(); ++i) children.emplace_back("[" + std::to_string(i) + "]", &array[i]);
  return children;
}

std::optional<Children> children_of(const ordered_json& node) {
  if (node.is_array()) return elements(node);
  const std::string_view kind = kind_of(node);
  Children children;
  if (node.is_object() && kind.empty()) {
    for (const auto& [key, value] : node.items()) children.emplace_back(member_step(key), &value);
    return children;
  }
  if (kind == "$tuple") return elements(*node.begin());
  if (!is_pairs(kind)) return std::nullopt;
  for (const ordered_json& pair : *node.begin()) {
    const ordered_json& key = pair[0];
    children.emplace_back(key.is_string() ? member_step(key.get<std::string>()) : "[" + key.dump() + "]", &pair[1]);
  }
  return children;
}

// A plain dict and an OrderedDict with the same content are not the same state, nor are a list and a tuple.
bool same_container(const ordered_json& a, const ordered_json& b) {
  return a.type() == b.type() && kind_of(a) == kind_of(b);
}

// Of the keys that both have: one that only one of them has is a change of its own.
bool same_order(const Children& olds, const Children& news) {
  const auto common = [](const Children& of, const Children& with) {
    std::set<std::string_view> known;
    for (const auto& [step, child] : with) known.insert(step);
    std::vector<std::string_view> steps;
    for (const auto& [step, child] : of) {
      if (known.contains(step)) steps.push_back(step);
    }
    return steps;
  };
  return common(olds, news) == common(news, olds);
}

class Walk {
 public:
  explicit Walk(TreeDiff& diff) : diff_(diff) {}

  void compare(const std::string& path, const ordered_json& before, const ordered_json& after) {
    const auto olds = children_of(before);
    const auto news = children_of(after);
    if (!olds || !news || !same_container(before, after)) {
      if (before.dump() != after.dump()) add(path, &before, &after);  // by text: 1 is not 1.0, and 0.0 not -0.0
      return;
    }
    std::map<std::string_view, const ordered_json*> unseen;
    for (const auto& [step, child] : *olds) unseen.emplace(step, child);
    if (kind_of(after) == "$ordered_dict" && !same_order(*olds, *news)) add(path, &before, &after);
    for (const auto& [step, child] : *news) {
      const auto old = unseen.find(step);
      if (old == unseen.end()) {
        add(path + step, nullptr, child);
        continue;
      }
      compare(path + step, *old->second, *child);
      unseen.erase(old);
    }
    for (const auto& [step, child] : *olds) {
      if (unseen.contains(step)) add(path + step, child, nullptr);
    }
  }

 private:
  void add(const std::string& path, const ordered_json* before, const ordered_json* after) {
    ++diff_.total;
    if (diff_.changes.size() == kMaxValueChanges) return;
    const auto text = [](const ordered_json* node) {
      return node != nullptr ? std::optional<std::string>(node->dump()) : std::nullopt;
    };
    diff_.changes.push_back({path.starts_with('.') ? path.substr(1) : path, text(before), text(after)});
  }

  TreeDiff& diff_;
};

}  // namespace

TreeDiff diff_trees(std::string_view before, std::string_view after) {
  TreeDiff diff;
  if (before == after) return diff;
  Walk(diff).compare("", ordered_json::parse(before, nullptr, false), ordered_json::parse(after, nullptr, false));
  return diff;
}

}  // namespace stillframe::interop
