// The kernels (cuda/*.cu) on one device: each loaded once, launched over lists.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "cuda/fingerprint_body.hpp"
#include "cuda/gather_body.hpp"
#include "device/cuda_handles.hpp"

namespace stillframe::device {

// As nvcc made it for the architectures that CMakeLists.txt names, embedded in this library; empty in a build without
// nvcc.
[[nodiscard]] std::span<const std::byte> embedded_kernel_image() noexcept;

namespace cuda {

// "gather" or "fingerprint": stillframe_<name> in the image, a function of a list's entries and their number. Immutable
// and thread-safe.
class Kernel {
 public:
  // unsupported, with the reason: an empty image, or one that the driver does not take for this device.
  [[nodiscard]] static Result<std::shared_ptr<const Kernel>> load(const std::shared_ptr<Context>& context,
                                                                  std::span<const std::byte> image,
                                                                  const std::string& name);
  Kernel(ModuleHandle module, CUfunction function) : module_(std::move(module)), function_(function) {}

  // `entries` in the memory of the device, with that many tiles of work, and no less than one. In the context of the
  // device.
  [[nodiscard]] CUresult launch(const Calls& calls, CUstream stream, CUdeviceptr entries, std::uint64_t count,
                                std::uint64_t tiles) const;

 private:
  ModuleHandle module_;
  CUfunction function_;
};

}  // namespace cuda
}  // namespace stillframe::device
