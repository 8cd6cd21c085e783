// A trainer on a GPU for measurements: a stream of its own, a state, and work on the device that lasts as long as is
// wanted. Copies on the device stand for forward and backward: they need no kernel, and the driver fake gives them a
// set speed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "device/cuda_device.hpp"
#include "device/cuda_driver.hpp"
#include "device/device.hpp"

namespace stillframe::bench {

// Seconds on the monotonic clock since it was made.
class Stopwatch {
 public:
  Stopwatch() : begun_ns_(base::system_clock().monotonic_ns()) {}
  [[nodiscard]] double seconds() const {
    return static_cast<double>(base::system_clock().monotonic_ns() - begun_ns_) * 1e-9;
  }

 private:
  std::int64_t begun_ns_;
};

// Of every single wait here.
[[nodiscard]] base::Deadline patience();

// One tensor of the state, at an address of the device.
struct Tensor {
  std::string name;
  void* data = nullptr;
  std::size_t bytes = 0;
};

// For one thread, which has the device's primary context current from open() on.
class GpuRig {
 public:
  // unavailable where there is no driver or no device.
  [[nodiscard]] static Result<std::unique_ptr<GpuRig>> open(int ordinal);
  ~GpuRig();
  GpuRig(const GpuRig&) = delete;
  GpuRig& operator=(const GpuRig&) = delete;

  [[nodiscard]] device::Device& device() const noexcept { return *device_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] int cuda_version() const noexcept { return driver_->version(); }
  [[nodiscard]] std::uintptr_t stream() const noexcept { return reinterpret_cast<std::uintptr_t>(stream_); }

  // `count` tensors of equal size in one allocation, filled with random bytes; alive as long as this object.
  [[nodiscard]] Result<std::vector<Tensor>> make_state(std::size_t bytes, std::size_t count);
  // The memory that the work copies to and fro, and how often it must for `seconds`.
  [[nodiscard]] Status prepare_work(std::size_t bytes, double seconds);

  // On the trainer's stream; the host does not wait.
  [[nodiscard]] Status work();
  // Changes the first bytes of each tensor in place.
  [[nodiscard]] Status update(const std::vector<Tensor>& state);
  // The host waits for all that the trainer's stream was given.
  [[nodiscard]] Status settle();

 private:
  GpuRig(std::shared_ptr<const device::CudaDriver> driver, int ordinal);
  [[nodiscard]] Status start();
  [[nodiscard]] Status check(device::cuda::CUresult result, const char* call) const;

  std::shared_ptr<const device::CudaDriver> driver_;
  const int ordinal_;
  std::string name_;
  device::cuda::CUcontext context_ = nullptr;
  device::cuda::CUstream stream_ = nullptr;
  std::unique_ptr<device::Device> device_;
  std::unique_ptr<device::TrainingStream> training_;
  std::unique_ptr<device::DeviceMemory> state_;
  std::unique_ptr<device::DeviceMemory> work_;
  std::size_t work_copies_ = 0;
};

}  // namespace stillframe::bench
