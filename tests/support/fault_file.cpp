#include <limits>
#include <mutex>

#include "support/fault_process.hpp"

namespace stillframe::test {
namespace {

constexpr std::uint64_t kLargestFileBytes = std::numeric_limits<std::int64_t>::max();

class FaultFile final : public env::File {
 public:
  FaultFile(std::shared_ptr<FaultProcess> process, NodeId node, std::string path, bool writable)
      : process_(std::move(process)), node_(node), path_(std::move(path)), writable_(writable) {}

  Status write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    if (!writable_) return fault_error(Code::io_error, "write", path_, "opened for reading");
    if (given_up_) return fault_error(Code::io_error, "write", path_, "an earlier sync failed");
    if (offset > kLargestFileBytes || bytes.size() > kLargestFileBytes - offset) {
      return fault_error(Code::no_space, "write", path_, "File too large");
    }
    const FaultCall call(*process_, EnvOp::write_at, path_);
    if (call.was_cut_off()) put(offset, bytes.first(bytes.size() / 2));
    SF_TRY(call.status());
    put(offset, bytes);
    return {};
  }

  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) const override {
    const FaultCall call(*process_, EnvOp::read_at, path_);
    SF_TRY(call.status());
    return node().content.now().read(offset, into);
  }

  Result<std::uint64_t> size() const override {
    const FaultCall call(*process_, EnvOp::size, path_);
    SF_TRY(call.status());
    return node().content.now().size;
  }

  Result<env::FileInfo> info() const override {
    const FaultCall call(*process_, EnvOp::file_info, path_);
    SF_TRY(call.status());
    return process_->disk->info(node_);
  }

  Status sync() override {
    if (given_up_) return fault_error(Code::io_error, "sync", path_, "an earlier sync failed");
    const FaultCall call(*process_, EnvOp::sync, path_);
    if (!call.status().ok()) {
      given_up_ = true;
      if (!process_->dead) process_->disk->edit(node_).content.lose_a_sync();
      return call.status();
    }
    if (!node().content.has_unsynced()) return {};
    FaultContent& content = process_->disk->edit(node_).content;
    if (call.is_a_lie()) {
      content.believe_a_lie();
    } else {
      content.sync();
    }
    return {};
  }

  void drop_cache() const noexcept override {
    const std::lock_guard guard(process_->disk->mutex);
    if (!process_->dead && node().content.dropping_shows()) process_->disk->edit(node_).content.drop_cache();
  }

 private:
  const FaultNode& node() const { return process_->disk->node(node_); }
  void put(std::uint64_t offset, std::span<const std::byte> bytes) {
    process_->disk->edit(node_).content.write(offset, bytes);
  }

  const std::shared_ptr<FaultProcess> process_;
  const NodeId node_;
  const std::string path_;
  const bool writable_;
  bool given_up_ = false;
};

}  // namespace

std::unique_ptr<env::File> make_fault_file(std::shared_ptr<FaultProcess> process, NodeId node, std::string path,
                                           bool writable) {
  return std::make_unique<FaultFile>(std::move(process), node, std::move(path), writable);
}

}  // namespace stillframe::test
