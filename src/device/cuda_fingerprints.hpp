// Fingerprints on a CUDA device: the ranges are written in host memory and sent to the device's, where the kernel adds
// each range's sum to its entry; from there they come back into the same host memory.
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

class CudaFingerprints final : public Fingerprints {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Fingerprints>> create(const std::shared_ptr<Context>& context,
                                                                    std::shared_ptr<const Kernel> kernel,
                                                                    std::size_t most_ranges);

  [[nodiscard]] std::size_t most_ranges() const noexcept override { return most_ranges_; }
  [[nodiscard]] std::uint64_t value(std::size_t index) const noexcept override { return entries()[index].sum; }
  [[nodiscard]] std::size_t listed() const noexcept { return listed_; }
  [[nodiscard]] ListMemory& memory() noexcept { return memory_; }

  // Waits until the last values have been fetched.
  [[nodiscard]] Status write(std::span<const DeviceRange> ranges, std::string_view where,
                             const base::Deadline& deadline);
  // Of what is listed, in the context of the device. Sending is what sets the sums there to 0.
  [[nodiscard]] CUresult send(const Calls& calls, CUstream stream) const;
  [[nodiscard]] CUresult launch(const Calls& calls, CUstream stream) const;
  [[nodiscard]] CUresult fetch(const Calls& calls, CUstream stream) const;

 private:
  CudaFingerprints(ListMemory memory, std::shared_ptr<const Kernel> kernel, std::size_t most_ranges)
      : memory_(std::move(memory)), kernel_(std::move(kernel)), most_ranges_(most_ranges) {}
  [[nodiscard]] fingerprint::Entry* entries() const noexcept {
    return static_cast<fingerprint::Entry*>(memory_.on_host());
  }

  ListMemory memory_;
  const std::shared_ptr<const Kernel> kernel_;
  const std::size_t most_ranges_;
  std::size_t listed_ = 0;
  std::uint64_t tiles_ = 0;
};

// `prints` as those of that device, or invalid_argument.
[[nodiscard]] Result<CudaFingerprints*> as_cuda_fingerprints(Fingerprints& prints, const Context& context,
                                                             std::string_view where);

}  // namespace stillframe::device::cuda
