// A list of copies on a CUDA device: written in host memory, sent to the device's, read there by the gather kernel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "device/cuda_event.hpp"
#include "device/device.hpp"
#include "device/gather_kernel.hpp"

namespace stillframe::device::cuda {

struct UnmapEntries {
  std::size_t bytes = 0;
  void operator()(gather::Entry* entries) const noexcept;
};

class CudaCopyList final : public CopyList {
 public:
  // Without a pin (it is logged) the driver copies what is sent at the call.
  [[nodiscard]] static Result<std::unique_ptr<CopyList>> create(const std::shared_ptr<Context>& context,
                                                                std::shared_ptr<const GatherKernel> kernel,
                                                                std::size_t most_copies);
  ~CudaCopyList() override;
  CudaCopyList(const CudaCopyList&) = delete;
  CudaCopyList& operator=(const CudaCopyList&) = delete;

  [[nodiscard]] std::size_t most_copies() const noexcept override { return most_copies_; }
  [[nodiscard]] std::size_t listed() const noexcept { return listed_; }
  [[nodiscard]] const std::shared_ptr<Context>& context() const noexcept { return context_; }

  // Waits until the last ones have been sent.
  [[nodiscard]] Status write(std::span<const DeviceCopy> copies, std::string_view where,
                             const base::Deadline& deadline);
  // A send may have been given that nothing is known to be behind: set_sent() comes before the next write().
  [[nodiscard]] bool is_unfollowed() const noexcept { return unfollowed_; }
  void set_unfollowed() noexcept { unfollowed_ = true; }
  // Of what is listed, in the context of the device.
  [[nodiscard]] CUresult send(const Calls& calls, CUstream stream) const;
  // `sent` is behind the send.
  void set_sent(std::shared_ptr<const Event> sent) noexcept {
    sent_ = std::move(sent);
    unfollowed_ = false;
  }

  [[nodiscard]] std::uint64_t grains(std::size_t first, std::size_t count) const noexcept;
  [[nodiscard]] CUresult launch(const Calls& calls, CUstream stream, std::size_t first, std::size_t count) const;

 private:
  using HostEntries = std::unique_ptr<gather::Entry[], UnmapEntries>;  // a mapping of its own, which no child inherits

  CudaCopyList(std::shared_ptr<Context> context, std::shared_ptr<const GatherKernel> kernel, std::size_t most_copies)
      : context_(std::move(context)), kernel_(std::move(kernel)), most_copies_(most_copies) {}
  [[nodiscard]] Status allocate();
  void pin(std::size_t bytes);

  const std::shared_ptr<Context> context_;
  const std::shared_ptr<const GatherKernel> kernel_;
  const std::size_t most_copies_;
  HostEntries entries_;
  RegistrationHandle pinned_;
  AllocationHandle on_device_;
  std::size_t listed_ = 0;
  std::shared_ptr<const Event> sent_;
  bool unfollowed_ = false;
};

// `list` as one of that device, or invalid_argument.
[[nodiscard]] Result<CudaCopyList*> as_cuda_list(CopyList& list, const Context& context, std::string_view where);

}  // namespace stillframe::device::cuda
