#include "support/fault_env.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "env/make_dirs.hpp"
#include "support/fault_process.hpp"

namespace stillframe::test {
namespace {

using Place = FaultDisk::Place;

class FaultLock final : public env::Lock {
 public:
  FaultLock(std::shared_ptr<FaultDisk> disk, std::uint64_t id) : disk_(std::move(disk)), id_(id) {}
  ~FaultLock() override {
    const std::lock_guard guard(disk_->mutex);
    std::erase_if(disk_->locks, [this](const FaultDisk::HeldLock& lock) { return lock.id == id_; });
  }
  FaultLock(const FaultLock&) = delete;
  FaultLock& operator=(const FaultLock&) = delete;

 private:
  const std::shared_ptr<FaultDisk> disk_;
  const std::uint64_t id_;
};

Status check_replaceable(const FaultNode& from, const FaultNode& to, const std::string& path) {
  if (from.is_directory && !to.is_directory) return fault_error(Code::io_error, "rename to", path, "Not a directory");
  if (!from.is_directory && to.is_directory) return fault_error(Code::io_error, "rename to", path, "Is a directory");
  if (!to.names.empty()) return fault_error(Code::io_error, "rename to", path, "Directory not empty");
  return {};
}

Status move(FaultDisk& disk, const std::string& from, const std::string& to, bool replace) {
  SF_ASSIGN(const Place source, disk.existing("rename", from));
  SF_ASSIGN(const Place target, disk.place("rename to", to));
  if (target.node != 0 && !replace) return fault_error(Code::busy, "rename to", to, "it exists; nothing has changed");
  if (target.node == source.node) return {};
  if (source.name.empty() || target.name.empty() || disk.holds(source.node, target.parent)) {
    return fault_error(Code::io_error, "rename to", to, "Invalid argument");
  }
  if (target.node != 0) SF_TRY(check_replaceable(disk.node(source.node), disk.node(target.node), to));
  if (source.parent == target.parent) {
    disk.set_names(source.parent, {{{target.name, source.node}, {source.name, 0}}});
  } else {
    disk.set_names(target.parent, {{{target.name, source.node}}});
    disk.set_names(source.parent, {{{source.name, 0}}});
  }
  return {};
}

}  // namespace

FaultEnv::FaultEnv() : FaultEnv(std::make_shared<FaultDisk>(), 0) {}
FaultEnv::FaultEnv(std::shared_ptr<FaultDisk> disk, std::uint64_t fingerprint)
    : process_(std::make_shared<FaultProcess>()), fingerprint_(fingerprint) {
  process_->disk = std::move(disk);
  process_->id = process_->disk->next_id++;
}
FaultEnv::~FaultEnv() = default;

std::unique_ptr<FaultEnv> FaultEnv::new_process() const {
  const std::lock_guard guard(process_->disk->mutex);
  auto process = std::unique_ptr<FaultEnv>(new FaultEnv(process_->disk, fingerprint_));
  process->process_->trace = process_->trace;
  return process;
}

void FaultEnv::die() {
  const std::lock_guard guard(process_->disk->mutex);
  process_->die();
}

void FaultEnv::die_at(std::uint64_t nth_change) {
  const std::lock_guard guard(process_->disk->mutex);
  process_->dies_at_change = process_->changes + nth_change;
}

bool FaultEnv::is_dead() const {
  const std::lock_guard guard(process_->disk->mutex);
  return process_->dead;
}

std::uint64_t FaultEnv::changes() const {
  const std::lock_guard guard(process_->disk->mutex);
  return process_->changes;
}

std::unique_ptr<FaultEnv> FaultEnv::survivor(std::uint64_t seed) const {
  const std::lock_guard guard(process_->disk->mutex);
  FaultDice dice(seed);
  auto after = process_->disk->survivor(dice);
  return std::unique_ptr<FaultEnv>(new FaultEnv(std::move(after), dice.fingerprint()));
}

std::unique_ptr<FaultEnv> FaultEnv::copy() const {
  const std::lock_guard guard(process_->disk->mutex);
  return std::unique_ptr<FaultEnv>(new FaultEnv(process_->disk->copy(), fingerprint_));
}

void FaultEnv::fail(EnvFailure failure) {
  const std::lock_guard guard(process_->disk->mutex);
  process_->failures.push_back(std::move(failure));
}

void FaultEnv::fail_nothing() {
  const std::lock_guard guard(process_->disk->mutex);
  process_->failures.clear();
}

std::uint64_t FaultEnv::calls(EnvOp op) const {
  const std::lock_guard guard(process_->disk->mutex);
  return process_->calls.at(static_cast<std::size_t>(op));
}

std::uint64_t FaultEnv::calls() const {
  const std::lock_guard guard(process_->disk->mutex);
  return std::accumulate(process_->calls.begin(), process_->calls.end(), std::uint64_t{0});
}

void FaultEnv::set_space(env::SpaceInfo space) {
  const std::lock_guard guard(process_->disk->mutex);
  process_->disk->space = std::move(space);
}

void FaultEnv::before_change(std::function<void(EnvOp, const std::string&)> observer) {
  process_->observer = std::move(observer);
}

void FaultEnv::before_call(std::function<void(EnvOp, const std::string&)> observer) {
  process_->call_observer = std::move(observer);
}

void FaultEnv::trace_changes(Trace trace) {
  const std::lock_guard guard(process_->disk->mutex);
  process_->trace = std::make_shared<Trace>(std::move(trace));
}

Result<std::unique_ptr<env::File>> FaultEnv::create(const std::string& path) {
  const FaultCall call(*process_, EnvOp::create, path);
  SF_TRY(call.status());
  SF_ASSIGN(const NodeId node, process_->disk->add("create file", path, false));
  return make_fault_file(process_, node, path, true);
}

Result<std::unique_ptr<env::File>> FaultEnv::open(const std::string& path) {
  const FaultCall call(*process_, EnvOp::open, path);
  SF_TRY(call.status());
  SF_ASSIGN(const Place place, process_->disk->existing("open", path));
  if (process_->disk->node(place.node).is_directory) {
    return fault_error(Code::io_error, "open", path, "it is not a regular file");
  }
  return make_fault_file(process_, place.node, path, false);
}

Status FaultEnv::make_dir(const std::string& path) {
  const FaultCall call(*process_, EnvOp::make_dir, path);
  SF_TRY(call.status());
  return process_->disk->add("make directory", path, true).status();
}

Status FaultEnv::make_dirs_synced(const std::string& path) {
  SF_TRY(FaultCall(*process_, EnvOp::make_dirs_synced, path).status());
  return env::make_dirs_synced_over(*this, path);
}

Result<std::vector<env::DirEntry>> FaultEnv::list(const std::string& path) {
  const FaultCall call(*process_, EnvOp::list, path);
  SF_TRY(call.status());
  SF_ASSIGN(const NodeId directory, process_->disk->directory("list directory", path));
  std::vector<env::DirEntry> entries;
  for (const auto& [name, node] : process_->disk->node(directory).names) {
    entries.push_back({name, process_->disk->node(node).is_directory});
  }
  return entries;
}

Result<bool> FaultEnv::exists(const std::string& path) {
  const FaultCall call(*process_, EnvOp::exists, path);
  SF_TRY(call.status());
  return process_->disk->existing("look up", path).ok();
}

Result<env::FileInfo> FaultEnv::info(const std::string& path) {
  const FaultCall call(*process_, EnvOp::info, path);
  SF_TRY(call.status());
  SF_ASSIGN(const Place place, process_->disk->existing("inspect", path));
  return process_->disk->info(place.node);
}

Status FaultEnv::link(const std::string& existing, const std::string& new_path) {
  const FaultCall call(*process_, EnvOp::link, new_path);
  SF_TRY(call.status());
  FaultDisk& disk = *process_->disk;
  SF_ASSIGN(const Place source, disk.existing("link", existing));
  SF_ASSIGN(const Place target, disk.place("link to", new_path));
  if (disk.node(source.node).is_directory)
    return fault_error(Code::io_error, "link", existing, "it is not a regular file");
  if (target.node != 0) return fault_error(Code::busy, "link to", new_path, "it exists; nothing has changed");
  disk.set_names(target.parent, {{{target.name, source.node}}});
  return {};
}

Status FaultEnv::rename(const std::string& from, const std::string& to) {
  const FaultCall call(*process_, EnvOp::rename, to);
  SF_TRY(call.status());
  return move(*process_->disk, from, to, true);
}

Status FaultEnv::rename_no_replace(const std::string& from, const std::string& to) {
  const FaultCall call(*process_, EnvOp::rename_no_replace, to);
  if (call.was_done_all_the_same()) SF_TRY(move(*process_->disk, from, to, false));
  SF_TRY(call.status());
  return move(*process_->disk, from, to, false);
}

Status FaultEnv::remove_file(const std::string& path) {
  const FaultCall call(*process_, EnvOp::remove_file, path);
  SF_TRY(call.status());
  SF_ASSIGN(const Place place, process_->disk->existing("remove file", path));
  if (process_->disk->node(place.node).is_directory) {
    return fault_error(Code::io_error, "remove file", path, "Is a directory");
  }
  process_->disk->set_names(place.parent, {{{place.name, 0}}});
  return {};
}

Status FaultEnv::remove_dir(const std::string& path) {
  const FaultCall call(*process_, EnvOp::remove_dir, path);
  SF_TRY(call.status());
  SF_ASSIGN(const Place place, process_->disk->existing("remove directory", path));
  const FaultNode& node = process_->disk->node(place.node);
  if (!node.is_directory) return fault_error(Code::io_error, "remove directory", path, "Not a directory");
  if (!node.names.empty()) return fault_error(Code::io_error, "remove directory", path, "Directory not empty");
  if (place.name.empty()) return fault_error(Code::io_error, "remove directory", path, "it is the root");
  process_->disk->set_names(place.parent, {{{place.name, 0}}});
  return {};
}

Status FaultEnv::sync_dir(const std::string& path) {
  const FaultCall call(*process_, EnvOp::sync_dir, path);
  SF_TRY(call.status());
  if (call.is_a_lie()) return {};
  SF_ASSIGN(const NodeId directory, process_->disk->directory("sync directory", path));
  process_->disk->sync_names(directory);
  return {};
}

Result<std::unique_ptr<env::Lock>> FaultEnv::try_lock(const std::string& path, env::LockMode mode) {
  SF_TRY(FaultCall(*process_, EnvOp::try_lock, path).status());
  const bool exclusive = mode == env::LockMode::exclusive;
  SF_ASSIGN(const bool there, exists(path));
  if (exclusive && !there) {  // as the system does it: the file is made first, then locked
    if (auto made = create(path); !made.ok() && made.status().code() != Code::busy) return made.status();
  }
  FaultDisk& disk = *process_->disk;
  const std::lock_guard guard(disk.mutex);
  SF_ASSIGN(const Place place, disk.existing("lock", path));
  if (disk.node(place.node).is_directory) return fault_error(Code::io_error, "lock", path, "it is not a regular file");
  for (const FaultDisk::HeldLock& held : disk.locks) {
    if (held.node == place.node && (exclusive || held.mode == env::LockMode::exclusive)) {
      return fault_error(Code::busy, "lock", path, "somebody else holds it");
    }
  }
  const std::uint64_t id = disk.next_id++;
  disk.locks.push_back({id, process_->id, place.node, mode});
  return std::unique_ptr<env::Lock>(std::make_unique<FaultLock>(process_->disk, id));
}

Result<env::SpaceInfo> FaultEnv::space(const std::string& path) {
  const FaultCall call(*process_, EnvOp::space, path);
  SF_TRY(call.status());
  SF_TRY(process_->disk->existing("read the free space at", path).status());
  return process_->disk->space;
}

Result<std::string> FaultEnv::real_path(const std::string& path) {
  const FaultCall call(*process_, EnvOp::real_path, path);
  SF_TRY(call.status());
  SF_TRY(process_->disk->existing("resolve", path).status());
  return FaultDisk::absolute(path);
}

std::uint32_t FaultEnv::user_id() { return kFaultUser; }

}  // namespace stillframe::test
