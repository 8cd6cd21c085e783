// What every store holds beside its checkpoints, so that they can be read when this program is gone: the pages that
// give the format, and readers in plain Python. Never executed by us, and never needed.
#pragma once

#include <array>
#include <string_view>

#include "store/store.hpp"

namespace stillframe::store {

struct Page {
  std::string_view name;  // in the store
  std::string_view text;
};

// docs/format.md, src/store/read-v1.py, docs/format-v2.md and src/store/read-v2.py, word for word; compiled in
// (cmake/Embed.cmake).
[[nodiscard]] std::array<Page, 4> pages() noexcept;

// Puts each into the store where it is missing or of another text: write, sync, rename, directory sync. Those of an
// earlier version stay what they are, so that builds of both may open the store in turns.
[[nodiscard]] Status put_pages(const Store& store);

}  // namespace stillframe::store
