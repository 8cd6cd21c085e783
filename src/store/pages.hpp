// What every store holds beside its checkpoints, so that they can be read when this program is gone: the page that
// gives the format, and a reader in plain Python. Never executed by us, and never needed.
#pragma once

#include <string_view>

#include "store/store.hpp"

namespace stillframe::store {

// docs/format.md and src/store/read-v1.py, word for word; compiled in (cmake/Embed.cmake).
[[nodiscard]] std::string_view format_page() noexcept;
[[nodiscard]] std::string_view reader_script() noexcept;

// Puts both into the store where they are missing or of another text: write, sync, rename, directory sync.
[[nodiscard]] Status put_pages(const Store& store);

}  // namespace stillframe::store
