#include "apps/dry_run_env.hpp"

namespace stillframe::apps {
namespace {

// Of a lock file that does not exist: nobody can hold it.
class NoLock final : public env::Lock {};

Status refused(const std::string& path) {
  return {Code::internal, "'" + path + "': a dry run was about to write; nothing was changed"};
}

}  // namespace

Result<std::unique_ptr<env::File>> DryRunEnv::create(const std::string& path) { return refused(path); }
Result<std::unique_ptr<env::File>> DryRunEnv::open(const std::string& path) { return behind_.open(path); }
Status DryRunEnv::make_dir(const std::string& path) { return refused(path); }
Status DryRunEnv::make_dirs_synced(const std::string& path) { return refused(path); }
Result<std::vector<env::DirEntry>> DryRunEnv::list(const std::string& path) { return behind_.list(path); }
Result<bool> DryRunEnv::exists(const std::string& path) { return behind_.exists(path); }
Result<env::FileInfo> DryRunEnv::info(const std::string& path) { return behind_.info(path); }
Status DryRunEnv::link(const std::string& /*existing*/, const std::string& new_path) { return refused(new_path); }
Status DryRunEnv::rename(const std::string& /*from*/, const std::string& to) { return refused(to); }
Status DryRunEnv::rename_no_replace(const std::string& /*from*/, const std::string& to) { return refused(to); }
Status DryRunEnv::remove_file(const std::string& /*path*/) { return {}; }
Status DryRunEnv::remove_dir(const std::string& /*path*/) { return {}; }
Status DryRunEnv::sync_dir(const std::string& /*path*/) { return {}; }

Result<std::unique_ptr<env::Lock>> DryRunEnv::try_lock(const std::string& path, env::LockMode /*mode*/) {
  auto lock = behind_.try_lock(path, env::LockMode::shared);
  if (lock.ok() || lock.status().code() != Code::not_found) return lock;
  return std::unique_ptr<env::Lock>(std::make_unique<NoLock>());
}

Result<env::SpaceInfo> DryRunEnv::space(const std::string& path) { return behind_.space(path); }
Result<std::string> DryRunEnv::real_path(const std::string& path) { return behind_.real_path(path); }
std::uint32_t DryRunEnv::user_id() { return behind_.user_id(); }

}  // namespace stillframe::apps
