// The CUDA driver, loaded at run time: the program starts, and says what is missing, on a machine that has none.
#pragma once

#include <memory>
#include <string>

#include "device/cuda_api.hpp"
#include "stillframe/status.hpp"

namespace stillframe::device {

namespace cuda {

// One pointer for each call of cuda_api.hpp, under the driver's own name. Those of SF_CUDA_OPTIONAL_CALLS may be null.
struct Calls {
#define SF_DECLARE_CALL(name, version, parameters) CUresult(*name) parameters = nullptr;
  SF_CUDA_CALLS(SF_DECLARE_CALL)
  SF_CUDA_OPTIONAL_CALLS(SF_DECLARE_CALL)
#undef SF_DECLARE_CALL
};

}  // namespace cuda

// Immutable and thread-safe. The library stays loaded for the process: its own threads may run in it.
class CudaDriver {
 public:
  // Loads, asks for the form of every call that this build knows, and initialises. unavailable: there is no driver or
  // no device (a machine without a GPU). unsupported: the driver is too old, or lacks a call, which the message names.
  [[nodiscard]] static Result<std::shared_ptr<const CudaDriver>> load(const std::string& library = "libcuda.so.1");

  // Calls that somebody else resolved, on a driver that is initialised.
  CudaDriver(const cuda::Calls& calls, int version) : calls_(calls), version_(version) {}

  [[nodiscard]] const cuda::Calls& calls() const noexcept { return calls_; }
  // 1000 * major + 10 * minor: 12080 is CUDA 12.8.
  [[nodiscard]] int version() const noexcept { return version_; }
  [[nodiscard]] Result<int> device_count() const;

 private:
  cuda::Calls calls_;
  int version_;
};

}  // namespace stillframe::device
