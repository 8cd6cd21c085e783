#include <algorithm>
#include <limits>

#include "support/mem_env_state.hpp"

namespace stillframe::test {
namespace {

constexpr std::uint64_t kLargestFileBytes = std::numeric_limits<std::int64_t>::max();

class MemFile final : public env::File {
 public:
  MemFile(std::shared_ptr<MemEnvState> state, MemNodePtr node, std::string path, bool writable)
      : state_(std::move(state)), node_(std::move(node)), path_(std::move(path)), writable_(writable) {}

  Status write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    const std::lock_guard guard(state_->mutex);
    if (!writable_) return mem_error(Code::io_error, "write", path_, "opened for reading");
    if (given_up_) return mem_error(Code::io_error, "write", path_, "an earlier sync failed");
    if (offset > kLargestFileBytes || bytes.size() > kLargestFileBytes - offset) {
      return mem_error(Code::no_space, "write", path_, "File too large");
    }
    if (Status failure = state_->enter(EnvOp::write_at, path_); !failure.ok()) {
      put(offset, bytes.first(bytes.size() / 2));
      return failure;
    }
    put(offset, bytes);
    return {};
  }

  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) const override {
    const std::lock_guard guard(state_->mutex);
    SF_TRY(state_->enter(EnvOp::read_at, path_));
    const auto& content = node_->content;
    if (offset >= content.size()) return std::size_t{0};
    const auto part = std::span(content).subspan(offset);
    const std::size_t bytes = std::min(part.size(), into.size());
    std::ranges::copy(part.first(bytes), into.begin());
    return bytes;
  }

  Result<std::uint64_t> size() const override {
    const std::lock_guard guard(state_->mutex);
    SF_TRY(state_->enter(EnvOp::size, path_));
    return std::uint64_t{node_->content.size()};
  }

  Result<env::FileInfo> info() const override {
    const std::lock_guard guard(state_->mutex);
    SF_TRY(state_->enter(EnvOp::file_info, path_));
    return state_->tree.info_of(*node_);
  }

  Status sync() override {
    const std::lock_guard guard(state_->mutex);
    if (given_up_) return mem_error(Code::io_error, "sync", path_, "an earlier sync failed");
    if (Status failure = state_->enter(EnvOp::sync, path_); !failure.ok()) {
      given_up_ = true;
      return failure;
    }
    node_->synced_content = node_->content;
    return {};
  }

  void drop_cache() const noexcept override {}

 private:
  void put(std::uint64_t offset, std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    auto& content = node_->content;
    if (content.size() < offset + bytes.size()) content.resize(offset + bytes.size());
    std::ranges::copy(bytes, std::span(content).subspan(offset).begin());
  }

  const std::shared_ptr<MemEnvState> state_;
  const MemNodePtr node_;
  const std::string path_;
  const bool writable_;
  bool given_up_ = false;
};

}  // namespace

std::unique_ptr<env::File> make_mem_file(std::shared_ptr<MemEnvState> state, MemNodePtr node, std::string path,
                                         bool writable) {
  return std::make_unique<MemFile>(std::move(state), std::move(node), std::move(path), writable);
}

}  // namespace stillframe::test
