#include "support/fault_process.hpp"

#include <algorithm>

namespace stillframe::test {
namespace {

bool changes_the_disk(EnvOp op) noexcept {
  switch (op) {
    case EnvOp::create:
    case EnvOp::write_at:
    case EnvOp::sync:
    case EnvOp::make_dir:
    case EnvOp::link:
    case EnvOp::rename:
    case EnvOp::rename_no_replace:
    case EnvOp::remove_file:
    case EnvOp::remove_dir:
    case EnvOp::sync_dir:
      return true;
    default:
      return false;
  }
}

bool needs_room(EnvOp op) noexcept {
  return changes_the_disk(op) && op != EnvOp::remove_file && op != EnvOp::remove_dir;
}

bool matches(const EnvFailure& failure, EnvOp op, const std::string& path) {
  if (failure.op == EnvOp::any_change) {
    if (failure.code == Code::no_space ? !needs_room(op) : !changes_the_disk(op)) return false;
  } else if (failure.op != op) {
    return false;
  }
  std::string_view part = failure.path_contains;
  if (!part.ends_with('$')) return path.find(part) != std::string::npos;
  part.remove_suffix(1);
  return std::string_view(path).ends_with(part);
}

}  // namespace

std::string_view env_op_name(EnvOp op) noexcept {
  constexpr std::array<std::string_view, static_cast<std::size_t>(EnvOp::count_)> kNames{
      "create",   "open",     "write_at",          "read_at",     "size",       "file_info",
      "sync",     "make_dir", "make_dirs_synced",  "list",        "exists",     "info",
      "link",     "rename",   "rename_no_replace", "remove_file", "remove_dir", "sync_dir",
      "try_lock", "space",    "real_path",         "any_change"};
  return op < EnvOp::count_ ? kNames[static_cast<std::size_t>(op)] : "unknown";
}

void FaultProcess::die() {
  dead = true;
  std::erase_if(disk->locks, [this](const FaultDisk::HeldLock& lock) { return lock.process == id; });
}

FaultCall::FaultCall(FaultProcess& process, EnvOp op, const std::string& path) : process_(process) {
  const bool is_change = changes_the_disk(op);
  if (process.call_observer) process.call_observer(op, path);
  if (is_change && process.observer) process.observer(op, path);
  lock_ = std::unique_lock(process.disk->mutex);
  if (process.dead) {
    status_ = fault_error(Code::io_error, env_op_name(op), path, "this process is dead");
    return;
  }
  ++process.calls[static_cast<std::size_t>(op)];
  if (is_change && process.trace != nullptr) (*process.trace)(process.id, op, path);
  if (is_change && ++process.changes == process.dies_at_change) {
    process.die();
    cut_off_ = true;
    status_ = fault_error(Code::io_error, env_op_name(op), path, "the process is killed here, as planned by the test");
    return;
  }
  status_ = planned_failure(op, path);
  cut_off_ = !status_.ok();
}

Status FaultCall::planned_failure(EnvOp op, const std::string& path) {
  for (EnvFailure& failure : process_.failures) {
    if (!matches(failure, op, path)) continue;
    const bool failing_for_ever = failure.for_ever && failure.nth_call == 0;
    const bool due = failure.nth_call > 0 && --failure.nth_call == 0;
    if (due || failing_for_ever) {
      lie_ = failure.code == Code::ok;
      if (lie_) return {};
      done_ = failure.done_all_the_same;
      return fault_error(failure.code, env_op_name(op), path, "a failure planned by the test");
    }
  }
  return {};
}

}  // namespace stillframe::test
