// The contract of devices, held by the CUDA device on the driver fake, in each of its schedules.
#include "contract/copy_list_contract.hpp"
#include "contract/device_contract.hpp"
#include "contract/fingerprint_contract.hpp"
#include "unit/device/cuda_fixture.hpp"

namespace stillframe::device {
namespace {

DeviceUnderTest on_fake(const std::string& label, const fake_cuda::Config& config) {
  DeviceUnderTest device;
  device.label = label;
  device.make = [config]() -> Result<std::unique_ptr<Device>> {
    fake_cuda::reset(config);
    SF_ASSIGN(const std::shared_ptr<const CudaDriver> driver, CudaDriver::load());
    return open_cuda_device(driver, 0, {.kernel_image = stand_in_image()});
  };
  device.check_left = expect_nothing_left;
  device.hold_next_copy = [] { fake_cuda::inject({"cuMemcpyHtoDAsync", 1, cuda::kSuccess, fake_cuda::Effect::hang}); };
  device.let_go = fake_cuda::release_streams;
  return device;
}

fake_cuda::Config scheduled(fake_cuda::Schedule schedule) {
  fake_cuda::Config config;
  config.schedule = schedule;
  config.delay_ms = 4;
  return config;
}

const auto kFakes = testing::Values(
    on_fake("eager", scheduled(fake_cuda::Schedule::eager)),
    on_fake("adversarial", scheduled(fake_cuda::Schedule::adversarial)),
    on_fake("lazy", scheduled(fake_cuda::Schedule::lazy)),
    on_fake("oldest_driver", with(&fake_cuda::Config::driver_version, cuda::kOldestDriverVersion)));

INSTANTIATE_TEST_SUITE_P(Fake, DeviceContract, kFakes, [](const auto& test) { return test.param.label; });
INSTANTIATE_TEST_SUITE_P(Fake, CopyListContract, kFakes, [](const auto& test) { return test.param.label; });
INSTANTIATE_TEST_SUITE_P(Fake, FingerprintContract, kFakes, [](const auto& test) { return test.param.label; });

}  // namespace
}  // namespace stillframe::device
