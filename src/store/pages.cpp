#include "store/pages.hpp"

#include "base/bytes.hpp"
#include "store/page_texts.hpp"
#include "store/removal.hpp"

namespace stillframe::store {
namespace {

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

std::array<Page, 4> pages() noexcept {
  return {Page{format::kFormatPageFile, format_page()}, Page{format::kReaderFile, reader_script()},
          Page{format::kFormatPageFileV2, format_page_v2()}, Page{format::kReaderFileV2, reader_script_v2()}};
}

Status put_pages(const Store& store) {
  // Whoever put them there, now or while the lock was waited for, may have died between rename and sync.
  if (all_there(store)) return store.env().sync_dir(store.path());
  SF_ASSIGN(const auto lock, lock_store(store, base::Deadline::after_ms(kStoreLockWaitMs)));
  for (const auto& [name, text] : pages()) {
    const std::string path = env::join(store.path(), name);
    if (holds(store.env(), path, text)) continue;  // another opener has put it there meanwhile
    SF_TRY(env::replace_file_synced(store.env(), path, base::as_bytes(text)));
  }
  return store.env().sync_dir(store.path());
}

}  // namespace stillframe::store
