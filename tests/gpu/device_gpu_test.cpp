// The contract of devices, held by the CUDA device on the driver of this machine; skipped where there is none.
#include "contract/copy_list_contract.hpp"
#include "contract/device_contract.hpp"
#include "contract/fingerprint_contract.hpp"
#include "device/cuda_device.hpp"

namespace stillframe::device {
namespace {

DeviceUnderTest real_gpu() {
  DeviceUnderTest gpu;
  gpu.label = "gpu";
  gpu.make = []() -> Result<std::unique_ptr<Device>> {
    SF_ASSIGN(const std::shared_ptr<const CudaDriver> driver, CudaDriver::load());
    return open_cuda_device(driver, 0);
  };
  if (const auto driver = CudaDriver::load(); !driver.ok()) gpu.missing = driver.status().message();
  // About 0.5 s on a fast link: filling a queue takes a tenth of that.
  gpu.slow_copies = 400;
  return gpu;
}

INSTANTIATE_TEST_SUITE_P(Gpu, DeviceContract, testing::Values(real_gpu()),
                         [](const auto& test) { return test.param.label; });
INSTANTIATE_TEST_SUITE_P(Gpu, CopyListContract, testing::Values(real_gpu()),
                         [](const auto& test) { return test.param.label; });
INSTANTIATE_TEST_SUITE_P(Gpu, FingerprintContract, testing::Values(real_gpu()),
                         [](const auto& test) { return test.param.label; });

}  // namespace
}  // namespace stillframe::device
