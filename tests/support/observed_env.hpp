// An Env that calls a function of the test before each changing call: to look, to wait, or to end the process there.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/futex.hpp"
#include "support/fault_env.hpp"

namespace stillframe::test {

// Thread-safe as far as `before` is. A rename is told by its new name.
class ObservedEnv final : public env::Env {
 public:
  using Before = std::function<void(EnvOp op, const std::string& path)>;
  explicit ObservedEnv(env::Env& inner) : inner_(inner) {}
  // Not while calls are under way.
  void observe(Before before) { before_ = std::move(before); }
  // Likewise, before a file is opened for reading.
  void observe_opens(std::function<void(const std::string& path)> before) { before_open_ = std::move(before); }
  // Likewise, before a file that was opened from here on is read, or its cache dropped.
  enum class Use : std::uint8_t { read, drop_cache };
  using BeforeUse = std::function<void(Use use, const std::string& path)>;
  void observe_uses(BeforeUse before) { before_use_ = std::move(before); }

  Result<std::unique_ptr<env::File>> create(const std::string& path) override {
    tell(EnvOp::create, path);
    SF_ASSIGN(auto file, inner_.create(path));
    return std::unique_ptr<env::File>(std::make_unique<ObservedFile>(*this, std::move(file), path));
  }
  Result<std::unique_ptr<env::File>> open(const std::string& path) override {
    if (before_open_) before_open_(path);
    SF_ASSIGN(auto file, inner_.open(path));
    if (!before_use_) return file;
    return std::unique_ptr<env::File>(std::make_unique<ObservedFile>(*this, std::move(file), path));
  }
  Status make_dir(const std::string& path) override {
    tell(EnvOp::make_dir, path);
    return inner_.make_dir(path);
  }
  Status make_dirs_synced(const std::string& path) override {
    tell(EnvOp::make_dirs_synced, path);
    return inner_.make_dirs_synced(path);
  }
  Result<std::vector<env::DirEntry>> list(const std::string& path) override { return inner_.list(path); }
  Result<bool> exists(const std::string& path) override { return inner_.exists(path); }
  Result<env::FileInfo> info(const std::string& path) override { return inner_.info(path); }
  Status link(const std::string& existing, const std::string& new_path) override {
    tell(EnvOp::link, new_path);
    return inner_.link(existing, new_path);
  }
  Status rename(const std::string& from, const std::string& to) override {
    tell(EnvOp::rename, to);
    return inner_.rename(from, to);
  }
  Status rename_no_replace(const std::string& from, const std::string& to) override {
    tell(EnvOp::rename_no_replace, to);
    return inner_.rename_no_replace(from, to);
  }
  Status remove_file(const std::string& path) override {
    tell(EnvOp::remove_file, path);
    return inner_.remove_file(path);
  }
  Status remove_dir(const std::string& path) override {
    tell(EnvOp::remove_dir, path);
    return inner_.remove_dir(path);
  }
  Status sync_dir(const std::string& path) override {
    tell(EnvOp::sync_dir, path);
    return inner_.sync_dir(path);
  }
  Result<std::unique_ptr<env::Lock>> try_lock(const std::string& path, env::LockMode mode) override {
    return inner_.try_lock(path, mode);
  }
  Result<env::SpaceInfo> space(const std::string& path) override { return inner_.space(path); }
  Result<std::string> real_path(const std::string& path) override { return inner_.real_path(path); }
  std::uint32_t user_id() override { return inner_.user_id(); }

 private:
  class ObservedFile final : public env::File {
   public:
    ObservedFile(const ObservedEnv& env, std::unique_ptr<env::File> inner, std::string path)
        : env_(env), inner_(std::move(inner)), path_(std::move(path)) {}
    Status write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
      env_.tell(EnvOp::write_at, path_);
      return inner_->write_at(offset, bytes);
    }
    Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) const override {
      env_.tell(Use::read, path_);
      return inner_->read_at(offset, into);
    }
    Result<std::uint64_t> size() const override { return inner_->size(); }
    Result<env::FileInfo> info() const override { return inner_->info(); }
    Status sync() override {
      env_.tell(EnvOp::sync, path_);
      return inner_->sync();
    }
    void drop_cache() const noexcept override {
      env_.tell(Use::drop_cache, path_);
      inner_->drop_cache();
    }

   private:
    const ObservedEnv& env_;
    std::unique_ptr<env::File> inner_;
    std::string path_;
  };

  void tell(EnvOp op, const std::string& path) const {
    if (before_) before_(op, path);
  }

  void tell(Use use, const std::string& path) const {
    if (before_use_) before_use_(use, path);
  }

  env::Env& inner_;
  Before before_;
  BeforeUse before_use_;
  std::function<void(const std::string& path)> before_open_;
};

// Holds a thread at a place until the test lets it go. Opens by itself when the test ends.
class Gate {
 public:
  Gate() = default;
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  ~Gate() { open(); }

  void pass() {
    arrived_ = true;
    while (!open_) base::futex_wait(word_, 0, base::Deadline::after_ms(100));
  }
  void open() {
    open_ = true;
    base::futex_bump(word_);
  }
  [[nodiscard]] bool arrived() const { return arrived_; }

 private:
  std::atomic<std::uint32_t> word_{0};
  std::atomic<bool> arrived_{false};
  std::atomic<bool> open_{false};
};

}  // namespace stillframe::test
