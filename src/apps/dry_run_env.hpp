// An Env for dry runs: what a recovery looks at is answered by the one behind it, what it removes stays.
#pragma once

#include "env/env.hpp"

namespace stillframe::apps {

// Removals and directory syncs are answered with ok and not made. An exclusive lock becomes a shared one, which creates
// no file and still meets a living holder. Everything that would write is refused with Code::internal: recovery never
// does.
class DryRunEnv final : public env::Env {
 public:
  explicit DryRunEnv(env::Env& behind) : behind_(behind) {}

  Result<std::unique_ptr<env::File>> create(const std::string& path) override;
  Result<std::unique_ptr<env::File>> open(const std::string& path) override;
  Status make_dir(const std::string& path) override;
  Status make_dirs_synced(const std::string& path) override;
  Result<std::vector<env::DirEntry>> list(const std::string& path) override;
  Result<bool> exists(const std::string& path) override;
  Result<env::FileInfo> info(const std::string& path) override;
  Status link(const std::string& existing, const std::string& new_path) override;
  Status rename(const std::string& from, const std::string& to) override;
  Status rename_no_replace(const std::string& from, const std::string& to) override;
  Status remove_file(const std::string& path) override;
  Status remove_dir(const std::string& path) override;
  Status sync_dir(const std::string& path) override;
  Result<std::unique_ptr<env::Lock>> try_lock(const std::string& path, env::LockMode mode) override;
  Result<env::SpaceInfo> space(const std::string& path) override;
  Result<std::string> real_path(const std::string& path) override;
  std::uint32_t user_id() override;

 private:
  env::Env& behind_;
};

}  // namespace stillframe::apps
