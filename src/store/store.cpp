#include "store/store.hpp"

#include <algorithm>
#include <array>

#include "base/bytes.hpp"
#include "store/pages.hpp"

namespace stillframe::store {
namespace {

constexpr std::string_view kProbeFile = "writable.probe";

std::string advice_for(Code code) {
  if (code == Code::no_space) return "free space there (or raise the quota), or choose another directory";
  return "check that it is a directory, that the file system is not mounted read-only and that this user may write "
         "there, "
         "or choose another directory";
}

Status unusable(const std::string& path, const Status& why) {
  return Status(why.code() == Code::busy ? Code::io_error : why.code(),
                "the store '" + path + "' cannot be written: " + why.message() + "; no checkpoint was touched; " +
                    advice_for(why.code()));
}

// Creates, writes and removes a file: permission, read-only mounts and a full disk show now and not at the first
// commit.
Status probe_writable(env::Env& env, const std::string& path) {
  const std::string probe = env::join(path, kProbeFile);
  constexpr int kAttempts = 8;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    auto file = env.create(probe);
    if (file.ok()) {
      constexpr std::array<std::byte, 1> kContent{std::byte{'\n'}};
      const Status written = (*file)->write_at(0, kContent);
      const Status removed = env.remove_file(probe);
      SF_TRY(written);
      return removed.code() == Code::not_found ? Status() : removed;  // another opener's probe took it for a leftover
    }
    if (file.status().code() != Code::busy) return file.status();
    // Left by a crash, or another process probes at this moment. Being able to remove it says half of what we ask.
    const Status removed = env.remove_file(probe);
    if (!removed.ok() && removed.code() != Code::not_found) return removed;
  }
  return Status();  // others keep creating and removing the same file here: the directory is writable
}

}  // namespace

Result<Store> Store::open(env::Env& env, const std::string& path) {
  auto real = env.real_path(path);
  if (!real.ok()) {
    if (real.status().code() != Code::not_found) return real.status().with_context("opening the store '" + path + "'");
    return Status(Code::not_found, "there is no store at '" + path + "': the directory does not exist");
  }
  if (const auto listed = env.list(*real); !listed.ok()) {
    return listed.status().with_context("opening the store '" + path + "' (it must be a readable directory)");
  }
  return Store(env, *std::move(real));
}

Result<Store> Store::open_or_create(env::Env& env, const std::string& path) {
  if (path.empty()) return Status(Code::invalid_argument, "the store's path is empty; expected a directory");
  if (const Status made = env.make_dirs_synced(path); !made.ok()) return unusable(path, made);
  auto real = env.real_path(path);
  if (!real.ok()) return unusable(path, real.status());
  if (const auto listed = env.list(*real); !listed.ok()) return unusable(*real, listed.status());
  if (const Status probed = probe_writable(env, *real); !probed.ok()) return unusable(*real, probed);
  Store store(env, *std::move(real));
  if (const Status put = put_pages(store); !put.ok()) return unusable(store.path(), put);
  return store;
}

Result<std::vector<CheckpointRef>> Store::list() const {
  SF_ASSIGN(auto entries, env_->list(path_));
  std::vector<CheckpointRef> found;
  for (auto& entry : entries) {
    if (auto parsed = format::parse_checkpoint_name(entry.name)) {
      found.push_back({std::move(entry.name), *std::move(parsed)});
    }
  }
  std::sort(found.begin(), found.end(), [](const CheckpointRef& a, const CheckpointRef& b) {
    if (a.parsed.sequence != b.parsed.sequence) return a.parsed.sequence > b.parsed.sequence;
    return a.name > b.name;
  });
  return found;
}

Result<std::unique_ptr<env::Lock>> Store::lock_run(const std::string& run) const {
  SF_TRY(format::check_run_name(run));
  auto lock = env_->try_lock(env::join(path_, format::run_lock_file(run)), env::LockMode::exclusive);
  if (lock.ok()) return lock;
  if (lock.status().code() != Code::busy) {
    return lock.status().with_context("locking the run '" + run + "' of the store '" + path_ + "'");
  }
  return Status(Code::busy,
                "the run '" + run + "' of the store '" + path_ + "' has a living writer, which holds " +
                    format::run_lock_file(run) +
                    "; nothing was changed; end that training job (or its daemon), or give this one another "
                    "run name. Do not delete the lock file: it frees itself when its holder ends");
}

}  // namespace stillframe::store
