#include "capture/devices.hpp"

#include "device/cuda_device.hpp"

namespace stillframe::capture {

Result<device::Device*> Devices::get(std::int32_t device) {
  const auto known = devices_.find(device);
  if (known != devices_.end()) return known->second.get();
  if (device < 0) return Status(Code::invalid_argument, "there is no device " + std::to_string(device));
  SF_ASSIGN(std::unique_ptr<device::Device> opened, open_gpu_(device));
  return devices_.emplace(device, std::move(opened)).first->second.get();
}

std::unique_ptr<Devices> devices_of_this_machine(std::shared_ptr<device::CopyCrew> crew) {
  auto driver = std::make_shared<std::shared_ptr<const device::CudaDriver>>();
  return std::make_unique<Devices>(
      device::make_host_device(crew),
      [driver](std::int32_t ordinal) -> Result<std::unique_ptr<device::Device>> {
        if (*driver == nullptr) {
          SF_ASSIGN(*driver, device::CudaDriver::load());
        }
        return device::open_cuda_device(*driver, ordinal);
      },
      crew);
}

}  // namespace stillframe::capture
