// The kernel's requests to a FUSE file system, answered out of a Tree. One thread; a request that is held simply waits in a
// list, and nothing else does.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "support/fault_fs/faults.hpp"
#include "support/fault_fs/tree.hpp"

struct fuse_attr;
struct fuse_in_header;

namespace stillframe::test {

class Server {
 public:
  // `device`: /dev/fuse, not blocking.
  explicit Server(base::UniqueFd device) : device_(std::move(device)), buffer_(kBufferBytes) {}

  [[nodiscard]] int native_handle() const noexcept { return device_.get(); }
  // Answers what waits to be read; false once the file system is gone.
  [[nodiscard]] bool serve();
  // A line of faults.hpp; what is to be said to whoever gave it, or nothing when that is said later.
  [[nodiscard]] std::string take(const std::string& line);
  [[nodiscard]] bool holds_any() const noexcept { return !held_.empty(); }

 private:
  static constexpr std::size_t kMaxWriteBytes = 1 << 20;
  static constexpr std::size_t kBufferBytes = kMaxWriteBytes + (64 << 10);

  using Bytes = std::string;
  // What is answered: an errno, or the bytes after the header.
  struct Answer {
    int error = 0;
    Bytes bytes;
  };

  void request(const Bytes& request);
  void answer(const fuse_in_header& header, const Answer& answer) const;
  [[nodiscard]] Answer dispatch(const fuse_in_header& header, const Bytes& body);
  [[nodiscard]] Answer init(const Bytes& body) const;
  [[nodiscard]] Answer make(const fuse_in_header& header, const Bytes& body);
  [[nodiscard]] Answer create(const fuse_in_header& header, const Bytes& body);
  [[nodiscard]] Answer rename(const fuse_in_header& header, const Bytes& body);
  [[nodiscard]] Answer open(NodeId id);
  [[nodiscard]] Answer read(NodeId id, const Bytes& body);
  [[nodiscard]] Answer write(NodeId id, const Bytes& body);
  [[nodiscard]] Answer list(NodeId id, const Bytes& body);
  [[nodiscard]] Answer set_attributes(NodeId id, const Bytes& body);
  [[nodiscard]] Answer statistics() const;
  [[nodiscard]] Answer entry(NodeId id);
  [[nodiscard]] Answer attributes(NodeId id);
  [[nodiscard]] static fuse_attr attributes_of(NodeId id, const Node& node);
  void power_loss(const std::string& seed);

  base::UniqueFd device_;
  std::vector<char> buffer_;
  Tree tree_;
  Faults faults_;
  std::vector<Bytes> held_;
};

}  // namespace stillframe::test
