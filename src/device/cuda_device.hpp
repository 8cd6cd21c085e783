// A CUDA device behind the interface of device.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "device/cuda_driver.hpp"
#include "device/device.hpp"
#include "device/kernels.hpp"

namespace stillframe::device {

struct CudaDeviceOptions {
  // How long the destruction of a stream waits for its work.
  std::uint64_t drain_deadline_ms = 10'000;
  // The kernels that work on lists, in any form that the driver loads. It outlives the device; empty: there are none.
  std::span<const std::byte> kernel_image = embedded_kernel_image();
};

// Thread-safe, as is all that it makes but for TrainingStream. not_found when there is no such device.
//
// The context current on the calling thread is used when it belongs to the device, else the device's primary one, as
// CUDA's runtime and torch use it. No call changes a thread's current context or capture mode, a graph capture
// elsewhere in the process goes on undisturbed, and nothing waits for the device but where a deadline is given (and in
// a copy to or from memory that is not pinned, which the driver may do before it returns).
//
// A fault of the device (a bad address in any kernel of the process, an error of its hardware) is final: from then on
// every call fails, says so, and says what to do.
//
// When it cannot be found out by drain_deadline_ms at a stream's destruction that its work is done, the device is taken
// as one that no longer answers: it is logged (device.stream.abandoned), and the handles, the pinned ranges and the
// memory of this Device are left to the end of the process, as the driver might wait for it without end. The copies may
// still be written: who destroys a stream before an event after its last copy was reached must then leave the memory
// they go to in place.
[[nodiscard]] Result<std::unique_ptr<Device>> open_cuda_device(const std::shared_ptr<const CudaDriver>& driver,
                                                               int ordinal, const CudaDeviceOptions& options = {});

}  // namespace stillframe::device
