#include "support/mem_env.hpp"

#include <numeric>

#include "env/make_dirs.hpp"
#include "support/mem_env_state.hpp"

namespace stillframe::test {
namespace {

class MemLock final : public env::Lock {
 public:
  MemLock(std::shared_ptr<MemEnvState> state, MemNodePtr node, env::LockMode mode)
      : state_(std::move(state)), node_(std::move(node)), mode_(mode) {}
  ~MemLock() override {
    const std::lock_guard guard(state_->mutex);
    if (mode_ == env::LockMode::exclusive) {
      node_->exclusive_lock = false;
    } else {
      --node_->shared_locks;
    }
  }
  MemLock(const MemLock&) = delete;
  MemLock& operator=(const MemLock&) = delete;

 private:
  const std::shared_ptr<MemEnvState> state_;
  const MemNodePtr node_;
  const env::LockMode mode_;
};

Result<MemNodePtr> add_new(const MemTree& tree, std::string_view doing, const std::string& path, bool is_directory) {
  SF_ASSIGN(const MemTree::Place place, tree.place(doing, path));
  if (place.node != nullptr) return mem_error(Code::busy, doing, path, "File exists");
  auto node = std::make_shared<MemNode>();
  node->is_directory = is_directory;
  place.parent->names[place.name] = node;
  return node;
}

bool holds(const MemNode& directory, const MemNode* wanted) {
  if (&directory == wanted) return true;
  for (const auto& [name, child] : directory.names) {
    if (holds(*child, wanted)) return true;
  }
  return false;
}

Status check_replaceable(const MemNode& from, const MemNode& to, const std::string& path) {
  if (from.is_directory && !to.is_directory) return mem_error(Code::io_error, "rename to", path, "Not a directory");
  if (!from.is_directory && to.is_directory) return mem_error(Code::io_error, "rename to", path, "Is a directory");
  if (!to.names.empty()) return mem_error(Code::io_error, "rename to", path, "Directory not empty");
  return {};
}

Status move(const MemTree& tree, const std::string& from, const std::string& to, bool replace) {
  SF_ASSIGN(const MemTree::Place source, tree.existing("rename", from));
  SF_ASSIGN(const MemTree::Place target, tree.place("rename to", to));
  if (target.node != nullptr && !replace)
    return mem_error(Code::busy, "rename to", to, "it exists; nothing has changed");
  if (target.node == source.node) return {};
  if (source.name.empty() || target.name.empty() || holds(*source.node, target.parent.get())) {
    return mem_error(Code::io_error, "rename to", to, "Invalid argument");
  }
  if (target.node != nullptr) SF_TRY(check_replaceable(*source.node, *target.node, to));
  target.parent->names[target.name] = source.node;
  source.parent->names.erase(source.name);
  return {};
}

}  // namespace

std::string_view env_op_name(EnvOp op) noexcept {
  constexpr std::array<std::string_view, static_cast<std::size_t>(EnvOp::count_)> kNames{
      "create",   "open",     "write_at",          "read_at",     "size",       "file_info",
      "sync",     "make_dir", "make_dirs_synced",  "list",        "exists",     "info",
      "link",     "rename",   "rename_no_replace", "remove_file", "remove_dir", "sync_dir",
      "try_lock", "space",    "real_path"};
  return op < EnvOp::count_ ? kNames[static_cast<std::size_t>(op)] : "unknown";
}

Status MemEnvState::enter(EnvOp op, const std::string& path) {
  ++calls[static_cast<std::size_t>(op)];
  for (EnvFailure& failure : failures) {
    if (failure.op != op || path.find(failure.path_contains) == std::string::npos) continue;
    const bool failing_for_ever = failure.for_ever && failure.nth_call == 0;
    const bool due = failure.nth_call > 0 && --failure.nth_call == 0;
    if (due || failing_for_ever) return mem_error(failure.code, env_op_name(op), path, "a failure planned by the test");
  }
  return {};
}

MemEnv::MemEnv() : MemEnv(std::make_shared<MemEnvState>()) {}
MemEnv::MemEnv(std::shared_ptr<MemEnvState> state) : state_(std::move(state)) {}
MemEnv::~MemEnv() = default;

std::unique_ptr<MemEnv> MemEnv::crash() const {
  auto after = std::make_shared<MemEnvState>();
  const std::lock_guard guard(state_->mutex);
  after->tree = state_->tree.survivors();
  after->space = state_->space;
  return std::unique_ptr<MemEnv>(new MemEnv(std::move(after)));
}

void MemEnv::fail(EnvFailure failure) {
  const std::lock_guard guard(state_->mutex);
  state_->failures.push_back(std::move(failure));
}

void MemEnv::fail_nothing() {
  const std::lock_guard guard(state_->mutex);
  state_->failures.clear();
}

std::uint64_t MemEnv::calls(EnvOp op) const {
  const std::lock_guard guard(state_->mutex);
  return state_->calls.at(static_cast<std::size_t>(op));
}

std::uint64_t MemEnv::calls() const {
  const std::lock_guard guard(state_->mutex);
  return std::accumulate(state_->calls.begin(), state_->calls.end(), std::uint64_t{0});
}

void MemEnv::set_space(env::SpaceInfo space) {
  const std::lock_guard guard(state_->mutex);
  state_->space = std::move(space);
}

Result<std::unique_ptr<env::File>> MemEnv::create(const std::string& path) {
  const std::lock_guard guard(state_->mutex);
  SF_TRY(state_->enter(EnvOp::create, path));
  SF_ASSIGN(MemNodePtr node, add_new(state_->tree, "create file", path, false));
  return make_mem_file(state_, std::move(node), path, true);
}

Result<std::unique_ptr<env::File>> MemEnv::open(const std::string& path) {
  const std::lock_guard guard(state_->mutex);
  SF_TRY(state_->enter(EnvOp::open, path));
  SF_ASSIGN(const MemTree::Place place, state_->tree.existing("open", path));
  if (place.node->is_directory) return mem_error(Code::io_error, "open", path, "it is not a regular file");
  return make_mem_file(state_, place.node, path, false);
}

Status MemEnv::make_dir(const std::string& path) {
  const std::lock_guard guard(state_->mutex);
  SF_TRY(state_->enter(EnvOp::make_dir, path));
  const auto made = add_new(state_->tree, "make directory", path, true);
  return made.status();
}

Status MemEnv::make_dirs_synced(const std::string& path) {
  {
    const std::lock_guard guard(state_->mutex);
    SF_TRY(state_->enter(EnvOp::make_dirs_synced, path));
  }
  return env::make_dirs_synced_over(*this, path);
}

Result<std::vector<env::DirEntry>> MemEnv::list(const std::string& path) {
  const std::lock_guard guard(state_->mutex);
  SF_TRY(state_->enter(EnvOp::list, path));
  SF_ASSIGN(const MemNodePtr directory, state_->tree.directory("list directory", path));
  std::vector<env::DirEntry> entries;
  for (const auto& [name, node] : directory->names) entries.push_back({name, node->is_directory});
  return entries;
}

Result<bool> MemEnv::exists(const std::string& path) {
  const std::lock_guard guard(state_->mutex);
  SF_TRY(state_->enter(EnvOp::exists, path));
  return state_->tree.existing("look up", path).ok();
}

Result<env::FileInfo> MemEnv::info(const std::string& path) {
  const std::lock_guard guard(state_->mutex);
  SF_TRY(state_->enter(EnvOp::info, path));
  SF_ASSIGN(const MemTree::Place place, state_->tree.existing("inspect", path));
  return state_->tree.info_of(*place.node);
}

Status MemEnv::link(const std::string& existing, const std::string& new_path) {
  const std::lock_guard guard(state_->mutex);
  SF_TRY(state_->enter(EnvOp::link, new_path));
  SF_ASSIGN(const MemTree::Place source, state_->tree.existing("link", existing));
  SF_ASSIGN(const MemTree::Place target, state_->tree.place("link to", new_path));
  if (source.node->is_directory) return mem_error(Code::io_error, "link", existing, "it is not a regular file");
  if (target.node != nullptr) return mem_error(Code::busy, "link to", new_path, "File exists");
  target.parent->names[target.name] = source.node;
  return {};
}

Status MemEnv::rename(const std::string& from, const std::string& to) {
  const std::lock_guard guard(state_->mutex);
  SF_TRY(state_->enter(EnvOp::rename, to));
  return move(state_->tree, from, to, true);
}

Status MemEnv::rename_no_replace(const std::string& from, const std::string& to) {
  const std::lock_guard guard(state_->mutex);
  SF_TRY(state_->enter(EnvOp::rename_no_replace, to));
  return move(state_->tree, from, to, false);
}

Status MemEnv::remove_file(const std::string& path) {
  const std::lock_guard guard(state_->mutex);
  SF_TRY(state_->enter(EnvOp::remove_file, path));
  SF_ASSIGN(const MemTree::Place place, state_->tree.existing("remove file", path));
  if (place.node->is_directory) return mem_error(Code::io_error, "remove file", path, "Is a directory");
  place.parent->names.erase(place.name);
  return {};
}

Status MemEnv::remove_dir(const std::string& path) {
  const std::lock_guard guard(state_->mutex);
  SF_TRY(state_->enter(EnvOp::remove_dir, path));
  SF_ASSIGN(const MemTree::Place place, state_->tree.existing("remove directory", path));
  if (!place.node->is_directory) return mem_error(Code::io_error, "remove directory", path, "Not a directory");
  if (!place.node->names.empty()) return mem_error(Code::io_error, "remove directory", path, "Directory not empty");
  if (place.name.empty()) return mem_error(Code::io_error, "remove directory", path, "it is the root");
  place.parent->names.erase(place.name);
  return {};
}

Status MemEnv::sync_dir(const std::string& path) {
  const std::lock_guard guard(state_->mutex);
  SF_TRY(state_->enter(EnvOp::sync_dir, path));
  SF_ASSIGN(const MemNodePtr directory, state_->tree.directory("sync directory", path));
  directory->synced_names = directory->names;
  return {};
}

Result<std::unique_ptr<env::Lock>> MemEnv::try_lock(const std::string& path, env::LockMode mode) {
  const std::lock_guard guard(state_->mutex);
  SF_TRY(state_->enter(EnvOp::try_lock, path));
  SF_ASSIGN(MemTree::Place place, state_->tree.place("lock", path));
  if (place.node == nullptr) {
    if (mode == env::LockMode::shared) return mem_error(Code::not_found, "lock", path, "No such file or directory");
    SF_ASSIGN(place.node, add_new(state_->tree, "create lock file", path, false));
  }
  MemNode& node = *place.node;
  if (node.is_directory) return mem_error(Code::io_error, "lock", path, "it is not a regular file");
  const bool exclusive = mode == env::LockMode::exclusive;
  if (node.exclusive_lock || (exclusive && node.shared_locks > 0)) {
    return mem_error(Code::busy, "lock", path, "somebody else holds it");
  }
  if (exclusive) {
    node.exclusive_lock = true;
  } else {
    ++node.shared_locks;
  }
  return std::unique_ptr<env::Lock>(std::make_unique<MemLock>(state_, place.node, mode));
}

Result<env::SpaceInfo> MemEnv::space(const std::string& path) {
  const std::lock_guard guard(state_->mutex);
  SF_TRY(state_->enter(EnvOp::space, path));
  SF_TRY(state_->tree.existing("read the free space at", path).status());
  return state_->space;
}

Result<std::string> MemEnv::real_path(const std::string& path) {
  const std::lock_guard guard(state_->mutex);
  SF_TRY(state_->enter(EnvOp::real_path, path));
  SF_TRY(state_->tree.existing("resolve", path).status());
  return MemTree::absolute(path);
}

std::uint32_t MemEnv::user_id() { return kMemUser; }

}  // namespace stillframe::test
