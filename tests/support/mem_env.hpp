// An Env in memory. It passes the contract suite of PosixEnv, counts every call, fails the calls it is told to fail,
// and keeps what was synced apart from what was written, so that crash() can show what a power loss would leave.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "env/env.hpp"

namespace stillframe::test {

enum class EnvOp : std::uint8_t {
  create,
  open,
  write_at,
  read_at,
  size,
  file_info,
  sync,
  make_dir,
  make_dirs_synced,
  list,
  exists,
  info,
  link,
  rename,
  rename_no_replace,
  remove_file,
  remove_dir,
  sync_dir,
  try_lock,
  space,
  real_path,
  count_,  // how many there are
};
[[nodiscard]] std::string_view env_op_name(EnvOp op) noexcept;

// One planned failure. A failing write_at still writes the first half of its bytes, as a full disk does; every other
// failing call changes nothing. After a failing sync the open file is given up: its later writes and syncs fail too.
struct EnvFailure {
  EnvOp op;
  Code code;
  std::uint64_t nth_call = 1;      // from now, among the calls that match; 1 is the next
  bool for_ever = false;           // that call and every matching one after it
  std::string path_contains = {};  // empty matches every path; a rename matches by its new name
};

struct MemEnvState;

// Thread-safe. "/" is there from the start and relative paths begin there; there are no symbolic links.
// make_dirs_synced goes through make_dir and sync_dir, so these are counted and failed one by one.
class MemEnv final : public env::Env {
 public:
  MemEnv();
  ~MemEnv() override;

  // What would stand after a power loss now: only what was synced. No locks, no planned failures, counters at zero.
  // This one, and files opened in it, stay usable: they are the world in which the power did not fail.
  [[nodiscard]] std::unique_ptr<MemEnv> crash() const;

  void fail(EnvFailure failure);
  void fail_nothing();
  [[nodiscard]] std::uint64_t calls(EnvOp op) const;
  [[nodiscard]] std::uint64_t calls() const;
  void set_space(env::SpaceInfo space);

  [[nodiscard]] Result<std::unique_ptr<env::File>> create(const std::string& path) override;
  [[nodiscard]] Result<std::unique_ptr<env::File>> open(const std::string& path) override;
  [[nodiscard]] Status make_dir(const std::string& path) override;
  [[nodiscard]] Status make_dirs_synced(const std::string& path) override;
  [[nodiscard]] Result<std::vector<env::DirEntry>> list(const std::string& path) override;
  [[nodiscard]] Result<bool> exists(const std::string& path) override;
  [[nodiscard]] Result<env::FileInfo> info(const std::string& path) override;
  [[nodiscard]] Status link(const std::string& existing, const std::string& new_path) override;
  [[nodiscard]] Status rename(const std::string& from, const std::string& to) override;
  [[nodiscard]] Status rename_no_replace(const std::string& from, const std::string& to) override;
  [[nodiscard]] Status remove_file(const std::string& path) override;
  [[nodiscard]] Status remove_dir(const std::string& path) override;
  [[nodiscard]] Status sync_dir(const std::string& path) override;
  [[nodiscard]] Result<std::unique_ptr<env::Lock>> try_lock(const std::string& path, env::LockMode mode) override;
  [[nodiscard]] Result<env::SpaceInfo> space(const std::string& path) override;
  [[nodiscard]] Result<std::string> real_path(const std::string& path) override;
  [[nodiscard]] std::uint32_t user_id() override;

 private:
  explicit MemEnv(std::shared_ptr<MemEnvState> state);

  std::shared_ptr<MemEnvState> state_;
};

}  // namespace stillframe::test
