// The typed state tree: any nesting of the values a training state holds, as JSON without pickle; docs/format.md, "State
// tree", gives every node. C++ carries the tree as text, checks it, and resolves what it says about entries. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "format/image.hpp"
#include "stillframe/status.hpp"

namespace stillframe::format {

inline constexpr int kMaxTreeDepth = 200;

// A well-formed tree whose every reference names an entry of the layout and whose every view stays inside it. corrupt
// with the path of the first offence. An empty text is not a tree.
[[nodiscard]] Status check_tree(std::string_view tree_json, const ImageLayout& layout);

// A flat tree {"<entry>": {"$tensor": "<entry>"}, …} for callers without one (C++ loops).
[[nodiscard]] std::string flat_tree(const ImageLayout& layout);

}  // namespace stillframe::format
