// The store's sequence: claimed once, never again.
#include <algorithm>
#include <atomic>
#include <charconv>
#include <limits>

#include "base/bytes.hpp"
#include "base/futex.hpp"
#include "store/removal.hpp"
#include "store/store.hpp"

namespace stillframe::store {
namespace {

constexpr std::uint64_t kLockPollMs = 20;
constexpr std::uint64_t kSequenceFileLimitBytes = 64;

// An advisory file lock cannot be waited for with a deadline, so it is polled. The word is local and nobody bumps it:
// futex_wait is then a nap that ends at the deadline.
void nap(const base::Deadline& deadline) {
  const std::atomic<std::uint32_t> never_bumped{0};
  base::futex_wait(never_bumped, 0, deadline.at_most_ms(kLockPollMs));
}

// The sequence that a name in the store's directory uses up, whatever has become of it; 0 for other names.
std::uint64_t sequence_in_use(const std::string& entry) {
  std::string name = entry;
  if (const auto partial = format::parse_partial_name(entry)) name = partial->name;
  if (const auto removing = format::parse_removing_name(entry)) name = *removing;
  const auto parsed = format::parse_checkpoint_name(name);
  return parsed ? parsed->sequence : 0;
}

}  // namespace

Result<std::unique_ptr<env::Lock>> lock_store(const Store& store, const base::Deadline& deadline) {
  const std::string path = env::join(store.path(), format::kStoreLockFile);
  for (;;) {
    auto lock = store.env().try_lock(path, env::LockMode::exclusive);
    if (lock.ok()) return lock;
    if (lock.status().code() != Code::busy)
      return lock.status().with_context("locking the store '" + store.path() + "'");
    if (deadline.expired()) {
      return Status(Code::deadline,
                    "the lock '" + path +
                        "' was held by another process until the deadline; nothing was changed. It is held "
                        "for milliseconds at a time: look for a stopped process or a hung file system");
    }
    nap(deadline);
  }
}

Result<std::uint64_t> read_sequence_file(const Store& store) {
  const std::string path = env::join(store.path(), format::kSequenceFile);
  auto content = env::read_whole(store.env(), path, kSequenceFileLimitBytes);
  if (!content.ok() && content.status().code() == Code::not_found) return std::uint64_t{0};
  if (!content.ok()) return content.status();
  const std::string& text = *content;
  std::uint64_t sequence = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, sequence);
  if (error != std::errc() || !(stop == end || (stop + 1 == end && *stop == '\n'))) {
    return Status(Code::corrupt,
                  "'" + path +
                      "' is damaged: expected a decimal number; no checkpoint is affected. Write the highest "
                      "sequence ever used into it, or delete it when the newest checkpoint is still there");
  }
  return sequence;
}

Status write_sequence_file(const Store& store, std::uint64_t sequence) {
  const std::string text = std::to_string(sequence) + "\n";
  return env::replace_file_synced(store.env(), env::join(store.path(), format::kSequenceFile), base::as_bytes(text));
}

Result<std::uint64_t> Store::claim_sequence(const base::Deadline& deadline) const {
  SF_ASSIGN(const auto lock, lock_store(*this, deadline));
  SF_ASSIGN(std::uint64_t highest, read_sequence_file(*this));
  SF_ASSIGN(const auto entries, env_->list(path_));
  for (const auto& entry : entries) highest = std::max(highest, sequence_in_use(entry.name));
  if (highest == std::numeric_limits<std::uint64_t>::max()) {
    return Status(Code::invalid_argument, "the store '" + path_ + "' has used up its sequences; start a new store");
  }
  SF_TRY(write_sequence_file(*this, highest + 1).with_context("claiming a sequence in the store '" + path_ + "'"));
  return highest + 1;
}

}  // namespace stillframe::store
