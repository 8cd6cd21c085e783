// A list of copies on a CUDA device: written in host memory, sent to the device's, read there by the gather kernel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "device/cuda_list_memory.hpp"
#include "device/device.hpp"
#include "device/kernels.hpp"

namespace stillframe::device::cuda {

class CudaCopyList final : public CopyList {
 public:
  [[nodiscard]] static Result<std::unique_ptr<CopyList>> create(const std::shared_ptr<Context>& context,
                                                                std::shared_ptr<const Kernel> kernel,
                                                                std::size_t most_copies);

  [[nodiscard]] std::size_t most_copies() const noexcept override { return most_copies_; }
  [[nodiscard]] std::size_t listed() const noexcept { return listed_; }
  [[nodiscard]] ListMemory& memory() noexcept { return memory_; }

  // Waits until the last ones have been sent.
  [[nodiscard]] Status write(std::span<const DeviceCopy> copies, std::string_view where,
                             const base::Deadline& deadline);
  // Of what is listed, in the context of the device.
  [[nodiscard]] CUresult send(const Calls& calls, CUstream stream) const;
  [[nodiscard]] std::uint64_t grains(std::size_t first, std::size_t count) const noexcept;
  [[nodiscard]] CUresult launch(const Calls& calls, CUstream stream, std::size_t first, std::size_t count) const;

 private:
  CudaCopyList(ListMemory memory, std::shared_ptr<const Kernel> kernel, std::size_t most_copies)
      : memory_(std::move(memory)), kernel_(std::move(kernel)), most_copies_(most_copies) {}
  [[nodiscard]] gather::Entry* entries() const noexcept { return static_cast<gather::Entry*>(memory_.on_host()); }

  ListMemory memory_;
  const std::shared_ptr<const Kernel> kernel_;
  const std::size_t most_copies_;
  std::size_t listed_ = 0;
};

// `list` as one of that device, or invalid_argument.
[[nodiscard]] Result<CudaCopyList*> as_cuda_list(CopyList& list, const Context& context, std::string_view where);

}  // namespace stillframe::device::cuda
