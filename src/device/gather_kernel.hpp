// The gather kernel (cuda/gather.cu) on one device: loaded once, launched over lists of copies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "cuda/gather_body.hpp"
#include "device/cuda_handles.hpp"

namespace stillframe::device {

// As nvcc made it for the architectures that CMakeLists.txt names, embedded in this library; empty in a build without
// nvcc.
[[nodiscard]] std::span<const std::byte> embedded_gather_image() noexcept;

namespace cuda {

// Immutable and thread-safe.
class GatherKernel {
 public:
  // unsupported, with the reason: an empty image, or one that the driver does not take for this device.
  [[nodiscard]] static Result<std::shared_ptr<const GatherKernel>> load(const std::shared_ptr<Context>& context,
                                                                        std::span<const std::byte> image);
  GatherKernel(ModuleHandle module, CUfunction function) : module_(std::move(module)), function_(function) {}

  // `entries` in the memory of the device, as many grains of work as gather::total_grains() says, and no less than one.
  // In the context of the device.
  [[nodiscard]] CUresult launch(const Calls& calls, CUstream stream, CUdeviceptr entries, std::uint64_t count,
                                std::uint64_t grains) const;

 private:
  ModuleHandle module_;
  CUfunction function_;
};

}  // namespace cuda
}  // namespace stillframe::device
