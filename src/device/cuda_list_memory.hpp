// The memory of a list for a kernel: written on the host, sent to the device, read there, and fetched back where the
// kernel writes into it.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "device/cuda_event.hpp"
#include "device/cuda_handles.hpp"

namespace stillframe::device::cuda {

// For one thread at a time. Destroyed after the work on it has ended.
class ListMemory {
 public:
  // `called` names it in messages: "a list of copies". Without a pin (it is logged) the driver copies what is sent at
  // the call, and a fetch holds its caller up until all before it has run.
  [[nodiscard]] static Result<ListMemory> create(std::shared_ptr<Context> context, std::size_t bytes,
                                                 const std::string& called);
  ListMemory(ListMemory&&) noexcept = default;
  ListMemory& operator=(ListMemory&&) = delete;
  ~ListMemory();

  [[nodiscard]] const std::shared_ptr<Context>& context() const noexcept { return context_; }
  [[nodiscard]] void* on_host() const noexcept { return host_.get(); }
  [[nodiscard]] CUdeviceptr on_device() const noexcept { return on_device_.get(); }

  // Until the last transfer has ended: before the host's side is written or read anew.
  [[nodiscard]] Status wait_transferred(const base::Deadline& deadline);
  // A transfer may have been given that nothing is known to be behind: set_transferred() comes before
  // wait_transferred().
  [[nodiscard]] bool is_unfollowed() const noexcept { return unfollowed_; }
  void set_unfollowed() noexcept { unfollowed_ = true; }
  // `transferred` is behind the transfer.
  void set_transferred(std::shared_ptr<const Event> transferred) noexcept;

  // Of the first `bytes`, in the context of the device.
  [[nodiscard]] CUresult send(const Calls& calls, CUstream stream, std::size_t bytes) const;
  [[nodiscard]] CUresult fetch(const Calls& calls, CUstream stream, std::size_t bytes) const;

 private:
  struct Unmap {
    std::size_t bytes = 0;
    void operator()(void* memory) const noexcept;
  };
  using HostMemory = std::unique_ptr<void, Unmap>;  // a mapping of its own, which no child inherits

  ListMemory(std::shared_ptr<Context> context, HostMemory host)
      : context_(std::move(context)), host_(std::move(host)) {}
  void pin(std::size_t bytes, const std::string& called);

  std::shared_ptr<Context> context_;
  HostMemory host_;
  RegistrationHandle pinned_;
  AllocationHandle on_device_;
  std::shared_ptr<const Event> transferred_;
  bool unfollowed_ = false;
};

}  // namespace stillframe::device::cuda
