// A FaultEnv that keeps, after each changing call, what a power loss at that moment would leave.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "support/fault_env.hpp"

namespace stillframe::test {

struct CrashPoint {
  std::string after;  // "sync_dir /runs/gpt", for the message of a failing test
  std::unique_ptr<FaultEnv> world;
};

// One thread at a time. Calls of the ops in `dropped` on paths that hold `dropped_path` say ok and do nothing: a
// mutation that the crash tests must find.
class CrashRecorder final : public env::Env {
 public:
  explicit CrashRecorder(FaultEnv& inner) : inner_(inner) {}

  void drop(EnvOp op, std::string path_contains) { dropped_.push_back({op, std::move(path_contains)}); }
  [[nodiscard]] std::vector<CrashPoint>& points() noexcept { return points_; }

  Result<std::unique_ptr<env::File>> create(const std::string& path) override {
    SF_ASSIGN(auto file, inner_.create(path));
    record(EnvOp::create, path);
    return std::unique_ptr<env::File>(std::make_unique<RecordingFile>(*this, std::move(file), path));
  }
  Result<std::unique_ptr<env::File>> open(const std::string& path) override { return inner_.open(path); }
  Status make_dir(const std::string& path) override {
    return run(EnvOp::make_dir, path, [&] { return inner_.make_dir(path); });
  }
  Status make_dirs_synced(const std::string& path) override { return inner_.make_dirs_synced(path); }
  Result<std::vector<env::DirEntry>> list(const std::string& path) override { return inner_.list(path); }
  Result<bool> exists(const std::string& path) override { return inner_.exists(path); }
  Result<env::FileInfo> info(const std::string& path) override { return inner_.info(path); }
  Status link(const std::string& existing, const std::string& new_path) override {
    return run(EnvOp::link, new_path, [&] { return inner_.link(existing, new_path); });
  }
  Status rename(const std::string& from, const std::string& to) override {
    return run(EnvOp::rename, to, [&] { return inner_.rename(from, to); });
  }
  Status rename_no_replace(const std::string& from, const std::string& to) override {
    return run(EnvOp::rename_no_replace, to, [&] { return inner_.rename_no_replace(from, to); });
  }
  Status remove_file(const std::string& path) override {
    return run(EnvOp::remove_file, path, [&] { return inner_.remove_file(path); });
  }
  Status remove_dir(const std::string& path) override {
    return run(EnvOp::remove_dir, path, [&] { return inner_.remove_dir(path); });
  }
  Status sync_dir(const std::string& path) override {
    return run(EnvOp::sync_dir, path, [&] { return inner_.sync_dir(path); });
  }
  Result<std::unique_ptr<env::Lock>> try_lock(const std::string& path, env::LockMode mode) override {
    return inner_.try_lock(path, mode);
  }
  Result<env::SpaceInfo> space(const std::string& path) override { return inner_.space(path); }
  Result<std::string> real_path(const std::string& path) override { return inner_.real_path(path); }
  std::uint32_t user_id() override { return inner_.user_id(); }

 private:
  class RecordingFile final : public env::File {
   public:
    RecordingFile(CrashRecorder& recorder, std::unique_ptr<env::File> inner, std::string path)
        : recorder_(recorder), inner_(std::move(inner)), path_(std::move(path)) {}
    Status write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
      return recorder_.run(EnvOp::write_at, path_, [&] { return inner_->write_at(offset, bytes); });
    }
    Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) const override {
      return inner_->read_at(offset, into);
    }
    Result<std::uint64_t> size() const override { return inner_->size(); }
    Result<env::FileInfo> info() const override { return inner_->info(); }
    Status sync() override {
      return recorder_.run(EnvOp::sync, path_, [&] { return inner_->sync(); });
    }
    void drop_cache() const noexcept override { inner_->drop_cache(); }

   private:
    CrashRecorder& recorder_;
    std::unique_ptr<env::File> inner_;
    std::string path_;
  };

  Status run(EnvOp op, const std::string& path, const std::function<Status()>& call) {
    for (const auto& [dropped, contains] : dropped_) {
      if (op == dropped && path.find(contains) != std::string::npos) return Status();
    }
    const Status done = call();
    record(op, path);
    return done;
  }
  void record(EnvOp op, const std::string& path) {
    points_.push_back({std::string(env_op_name(op)) + " " + path, inner_.survivor(FaultEnv::kOnlySynced)});
  }

  FaultEnv& inner_;
  std::vector<std::pair<EnvOp, std::string>> dropped_;
  std::vector<CrashPoint> points_;
};

}  // namespace stillframe::test
