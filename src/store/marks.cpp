// Marks: one small file each beside the manifest, which is never rewritten.
#include <algorithm>
#include <array>

#include "base/bytes.hpp"
#include "store/checkpoint_files.hpp"
#include "store/ownership.hpp"
#include "store/removal.hpp"

namespace stillframe::store {
namespace {

constexpr std::uint64_t kMarkLimitBytes = 64 * 1024;
constexpr std::array kMarks{format::kVerifiedMark, format::kBadMark, format::kPinnedMark};

constexpr std::size_t kMaxPinTextBytes = kMaxPinReasonBytes + 64;  // with the time it bears

Status too_long(std::size_t found_bytes, std::size_t limit_bytes) {
  return {Code::invalid_argument, "reason of the pin: expected at most " + std::to_string(limit_bytes) +
                                      " bytes, found " + std::to_string(found_bytes)};
}

Status check_mark(std::string_view mark) {
  if (std::find(kMarks.begin(), kMarks.end(), mark) != kMarks.end()) return Status();
  return Status(Code::invalid_argument, "'" + std::string(mark) + "' is no mark; expected verified, bad or pinned");
}

}  // namespace

Status Store::set_mark(const std::string& name, std::string_view mark, const std::string& text) const {
  SF_TRY(check_mark(mark));
  if (mark == format::kPinnedMark && text.size() > kMaxPinTextBytes) return too_long(text.size(), kMaxPinTextBytes);
  SF_ASSIGN(const std::string directory, checkpoint_directory(*this, name));
  const std::string doing = "marking the checkpoint '" + name + "' as " + std::string(mark);
  const auto lock = lock_store(*this, base::Deadline::after_ms(kStoreLockWaitMs));
  if (!lock.ok()) return lock.status().with_context(doing);
  return env::replace_file_synced(*env_, env::join(directory, mark), base::as_bytes(text)).with_context(doing);
}

Status Store::clear_mark(const std::string& name, std::string_view mark) const {
  SF_TRY(check_mark(mark));
  SF_ASSIGN(const std::string directory, checkpoint_directory(*this, name));
  const std::string doing = "removing the mark " + std::string(mark) + " of the checkpoint '" + name + "'";
  const auto lock = lock_store(*this, base::Deadline::after_ms(kStoreLockWaitMs));
  if (!lock.ok()) return lock.status().with_context(doing);
  const Status removed = env_->remove_file(env::join(directory, mark));
  if (!removed.ok() && removed.code() != Code::not_found) return removed.with_context(doing);
  // Also when it was not there: whoever removed it may have died before this sync.
  return env_->sync_dir(directory).with_context(doing + ", which may come back after a power loss");
}

Result<Marks> Store::marks(const std::string& name) const {
  SF_ASSIGN(const std::string directory, checkpoint_directory(*this, name));
  SF_ASSIGN(const auto entries, env_->list(directory));
  Marks marks;
  for (const auto& entry : entries) {
    marks.verified = marks.verified || entry.name == format::kVerifiedMark;
    marks.bad = marks.bad || entry.name == format::kBadMark;
    marks.pinned = marks.pinned || entry.name == format::kPinnedMark;
  }
  return marks;
}

Status pin(const Store& store, const std::string& name, std::string_view reason) {
  if (reason.size() > kMaxPinReasonBytes) return too_long(reason.size(), kMaxPinReasonBytes);
  std::string text = "pinned " + base::utc_iso(base::system_clock().unix_ns());
  if (!reason.empty()) text += ": " + std::string(reason);
  return store.set_mark(name, format::kPinnedMark, text + "\n");
}

Result<std::string> mark_text(const Store& store, const std::string& name, std::string_view mark) {
  const std::string path = env::join(env::join(store.path(), name), mark);
  SF_ASSIGN(std::string text, env::read_whole(store.env(), path, kMarkLimitBytes));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace stillframe::store
