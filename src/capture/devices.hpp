// The devices that a training state lives on: the host, and GPUs by ordinal, opened when a plan first names them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "device/copy_crew.hpp"
#include "device/device.hpp"
#include "stillframe/types.hpp"

namespace stillframe::capture {

// The stream of the trainer's that computes on a GPU at this moment.
struct StreamRef {
  std::int32_t device = kHost;  // ordinal
  std::uintptr_t handle = 0;    // CUstream; 0: the legacy default stream
};

// For the training thread; devices live as long as this object.
class Devices {
 public:
  using OpenGpu = std::function<Result<std::unique_ptr<device::Device>>(std::int32_t ordinal)>;
  // `crew`: what copies host memory in the call.
  Devices(std::shared_ptr<device::Device> host, OpenGpu open_gpu,
          std::shared_ptr<device::CopyCrew> crew = device::CopyCrew::of_the_caller())
      : open_gpu_(std::move(open_gpu)), crew_(std::move(crew)) {
    devices_.emplace(kHost, std::move(host));
  }

  // The error of opening it, each time anew.
  [[nodiscard]] Result<device::Device*> get(std::int32_t device);
  [[nodiscard]] device::CopyCrew& crew() const noexcept { return *crew_; }

 private:
  const OpenGpu open_gpu_;
  const std::shared_ptr<device::CopyCrew> crew_;
  std::map<std::int32_t, std::shared_ptr<device::Device>> devices_;
};

// The host, of which `crew` copies the memory, and the GPUs of the driver, which is loaded when the first is asked for.
[[nodiscard]] std::unique_ptr<Devices> devices_of_this_machine(std::shared_ptr<device::CopyCrew> crew);

}  // namespace stillframe::capture
