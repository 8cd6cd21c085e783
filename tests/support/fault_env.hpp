// An Env in memory that dies, fails and forgets when told to. It passes the contract suite of PosixEnv
// (tests/contract/env_contract.hpp). One FaultEnv is one process; several may work on one disk.
//
// What is certain after a power loss: the bytes and the size of a file as of its last sync (not its name), the names in
// a directory as of its last sync. Of everything since, survivor() keeps some: any 4 KiB blocks, torn between 512-byte
// sectors, of any version; any size the file had; the first changes of a directory, or any of them; a directory under
// one of its two names when a rename was cut off. A file whose sync failed never becomes certain again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "env/env.hpp"
#include "support/fault_dice.hpp"

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
  any_change,  // in an EnvFailure: every call that changes the disk; with no_space, those that need room
  count_,      // how many there are
};
[[nodiscard]] std::string_view env_op_name(EnvOp op) noexcept;

// One planned failure. A failing write_at still writes the first half of its bytes, as a full disk does; every other
// failing call changes nothing. With Code::ok the call says ok and does nothing: a sync of a disk that lies. After a
// failing sync the open file is given up: its later writes and syncs fail too.
struct EnvFailure {
  EnvOp op;
  Code code;
  std::uint64_t nth_call = 1;  // from now, among the calls that match; 1 is the next
  bool for_ever = false;       // that call and every matching one after it
  // Empty matches every path; a '$' at the end means the end of the path; a rename or link matches by its new name.
  std::string path_contains = {};
  bool done_all_the_same = false;  // of rename_no_replace: it takes effect and the answer is lost, as on a network
};

class FaultDisk;
struct FaultProcess;

// Thread-safe. "/" is there from the start and relative paths begin there; there are no symbolic links.
// make_dirs_synced goes through make_dir and sync_dir, so these are counted and failed one by one.
class FaultEnv final : public env::Env {
 public:
  // Survivors with a name; every other seed draws one.
  static constexpr std::uint64_t kOnlySynced = FaultDice::kOnlySynced;
  static constexpr std::uint64_t kEverything = FaultDice::kEverything;

  FaultEnv();  // an empty disk of its own
  ~FaultEnv() override;

  // Another process on the same disk: locks conflict, and each dies for itself.
  [[nodiscard]] std::unique_ptr<FaultEnv> new_process() const;
  // This process is killed: its locks are free, every later call of it fails; what it did stays, synced or not.
  void die();
  // It is killed in its n-th changing call from now; 1 is the next. A write that is cut off so has written its first
  // half, every other call has done nothing.
  void die_at(std::uint64_t nth_change);
  [[nodiscard]] bool is_dead() const;
  // Calls of this process that changed the disk, or would have, so far.
  [[nodiscard]] std::uint64_t changes() const;

  // The disk after a power loss now: one of the legal ones, the same for the same calls and seed. A disk of its own,
  // with one process, no locks, no planned failures. This one stays as it is: the world in which the power did not
  // fail.
  [[nodiscard]] std::unique_ptr<FaultEnv> survivor(std::uint64_t seed) const;
  // Of the choices that made this survivor: survivors of one disk with equal fingerprints are equal.
  [[nodiscard]] std::uint64_t fingerprint() const noexcept { return fingerprint_; }
  // The disk as it is, certain or not, for another experiment.
  [[nodiscard]] std::unique_ptr<FaultEnv> copy() const;

  void fail(EnvFailure failure);
  void fail_nothing();
  [[nodiscard]] std::uint64_t calls(EnvOp op) const;
  [[nodiscard]] std::uint64_t calls() const;
  void set_space(env::SpaceInfo space);
  // Called before each changing call of this process, which may use the disk through another one. Not while calls are
  // under way.
  void before_change(std::function<void(EnvOp op, const std::string& path)> observer);
  // The same before every call, also one that only looks.
  void before_call(std::function<void(EnvOp op, const std::string& path)> observer);
  // Called in each changing call of this process and of those made from it, with the process's number; must not use the
  // disk.
  using Trace = std::function<void(std::uint64_t process, EnvOp op, const std::string& path)>;
  void trace_changes(Trace trace);

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
  FaultEnv(std::shared_ptr<FaultDisk> disk, std::uint64_t fingerprint);

  std::shared_ptr<FaultProcess> process_;
  std::uint64_t fingerprint_ = 0;
};

}  // namespace stillframe::test
