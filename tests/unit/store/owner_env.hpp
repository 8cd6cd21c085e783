// An Env in which chosen paths belong to somebody else: what a test without root's rights cannot make.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "env/env.hpp"

namespace stillframe::test {

class OwnerEnv final : public env::Env {
 public:
  OwnerEnv(env::Env& inner, std::uint32_t user) : inner_(inner), user_(user) {}
  // Everything else belongs to the user.
  void give(const std::string& path, std::uint32_t owner) { owners_[path] = owner; }

  Result<std::unique_ptr<env::File>> create(const std::string& path) override {
    return owned(inner_.create(path), path);
  }
  Result<std::unique_ptr<env::File>> open(const std::string& path) override { return owned(inner_.open(path), path); }
  Status make_dir(const std::string& path) override { return inner_.make_dir(path); }
  Status make_dirs_synced(const std::string& path) override { return inner_.make_dirs_synced(path); }
  Result<std::vector<env::DirEntry>> list(const std::string& path) override { return inner_.list(path); }
  Result<bool> exists(const std::string& path) override { return inner_.exists(path); }
  Result<env::FileInfo> info(const std::string& path) override { return owned(inner_.info(path), path); }
  Status link(const std::string& existing, const std::string& new_path) override {
    return inner_.link(existing, new_path);
  }
  Status rename(const std::string& from, const std::string& to) override { return inner_.rename(from, to); }
  Status rename_no_replace(const std::string& from, const std::string& to) override {
    return inner_.rename_no_replace(from, to);
  }
  Status remove_file(const std::string& path) override { return inner_.remove_file(path); }
  Status remove_dir(const std::string& path) override { return inner_.remove_dir(path); }
  Status sync_dir(const std::string& path) override { return inner_.sync_dir(path); }
  Result<std::unique_ptr<env::Lock>> try_lock(const std::string& path, env::LockMode mode) override {
    return inner_.try_lock(path, mode);
  }
  Result<env::SpaceInfo> space(const std::string& path) override { return inner_.space(path); }
  Result<std::string> real_path(const std::string& path) override { return inner_.real_path(path); }
  std::uint32_t user_id() override { return user_; }

 private:
  class OwnedFile final : public env::File {
   public:
    OwnedFile(const OwnerEnv& env, std::unique_ptr<env::File> inner, std::string path)
        : env_(env), inner_(std::move(inner)), path_(std::move(path)) {}
    Status write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
      return inner_->write_at(offset, bytes);
    }
    Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) const override {
      return inner_->read_at(offset, into);
    }
    Result<std::uint64_t> size() const override { return inner_->size(); }
    Result<env::FileInfo> info() const override { return env_.owned(inner_->info(), path_); }
    Status sync() override { return inner_->sync(); }
    void drop_cache() const noexcept override { inner_->drop_cache(); }

   private:
    const OwnerEnv& env_;
    std::unique_ptr<env::File> inner_;
    std::string path_;
  };

  Result<env::FileInfo> owned(Result<env::FileInfo> info, const std::string& path) const {
    if (!info.ok()) return info;
    const auto given = owners_.find(path);
    info->owner_uid = given == owners_.end() ? user_ : given->second;
    return info;
  }
  Result<std::unique_ptr<env::File>> owned(Result<std::unique_ptr<env::File>> file, const std::string& path) const {
    if (!file.ok()) return file;
    return std::unique_ptr<env::File>(std::make_unique<OwnedFile>(*this, *std::move(file), path));
  }

  env::Env& inner_;
  const std::uint32_t user_;
  std::map<std::string, std::uint32_t> owners_;
};

}  // namespace stillframe::test
