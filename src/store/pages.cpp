#include "store/pages.hpp"

#include <array>
#include <utility>

#include "base/bytes.hpp"
#include "store/removal.hpp"

namespace stillframe::store {
namespace {

using Page = std::pair<std::string_view, std::string_view>;

std::array<Page, 2> pages() {
  return {Page{format::kFormatPageFile, format_page()}, Page{format::kReaderFile, reader_script()}};
}

// Anything that is not this very text, or cannot be read, is replaced.
bool holds(env::Env& env, const std::string& path, std::string_view text) {
  const auto found = env::read_whole(env, path, text.size());
  return found.ok() && *found == text;
}

bool all_there(const Store& store) {
  for (const auto& [name, text] : pages()) {
    if (!holds(store.env(), env::join(store.path(), name), text)) return false;
  }
  return true;
}

}  // namespace

Status put_pages(const Store& store) {
  if (all_there(store)) return Status();
  SF_ASSIGN(const auto lock, lock_store(store, base::Deadline::after_ms(kStoreLockWaitMs)));
  for (const auto& [name, text] : pages()) {
    const std::string path = env::join(store.path(), name);
    if (holds(store.env(), path, text)) continue;  // another opener has put it there meanwhile
    SF_TRY(env::replace_file_synced(store.env(), path, base::as_bytes(text)));
  }
  return Status();
}

}  // namespace stillframe::store
