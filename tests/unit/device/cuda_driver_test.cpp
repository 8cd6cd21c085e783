#include "device/cuda_driver.hpp"

#include "device/cuda_error.hpp"
#include "unit/device/cuda_fixture.hpp"

namespace stillframe::device {
namespace {

using fake_cuda::Config;

class CudaDriverTest : public CudaTest {
 protected:
  [[nodiscard]] static Status load_from(const fake_cuda::Config& config) {
    fake_cuda::reset(config);
    return CudaDriver::load().status();
  }
  void SetUp() override {
    fake_cuda::reset({});
    user_ = fake_cuda::Driver();
    EXPECT_CU(user_.cuInit(0));
  }
  void TearDown() override {
    expect_nothing_left();
    fake_cuda::reset({});
  }
};

TEST_F(CudaDriverTest, HasEveryCallOfANewDriver) {
  const auto driver = load();
  ASSERT_NE(driver, nullptr);
  EXPECT_EQ(driver->version(), 13000);
  EXPECT_EQ(taken(driver->device_count()), 1);
#define SF_EXPECT_CALL(name, version, parameters) EXPECT_NE(driver->calls().name, nullptr) << #name;
  SF_CUDA_CALLS(SF_EXPECT_CALL)
  SF_CUDA_OPTIONAL_CALLS(SF_EXPECT_CALL)
#undef SF_EXPECT_CALL
}

TEST_F(CudaDriverTest, TheOldestDriverLacksTheOptionalCallsOnly) {
  fake_cuda::reset(with(&Config::driver_version, cuda::kOldestDriverVersion));
  const auto driver = load();
  ASSERT_NE(driver, nullptr);
  EXPECT_EQ(driver->calls().cuMemcpyBatchAsync, nullptr);
}

TEST_F(CudaDriverTest, AMachineWithoutADriverSaysSo) {
  expect_says(CudaDriver::load("libcuda-of-nobody.so.1").status(), Code::unavailable,
              {"no NVIDIA driver", "libcuda-of-nobody.so.1", "install the driver", "container"});
}

TEST_F(CudaDriverTest, AnotherLibraryIsNotADriver) {
  expect_says(CudaDriver::load("libm.so.6").status(), Code::unavailable, {"libm.so.6", "not an NVIDIA driver"});
}

TEST_F(CudaDriverTest, ADriverThatIsTooOldIsToldApartWithItsVersionAndTheOneNeeded) {
  expect_says(load_from(with(&Config::driver_version, 11080)), Code::unsupported,
              {"too old", "CUDA 11.8", "12.0", "525"});
}

TEST_F(CudaDriverTest, ADriverWithoutADeviceSaysSo) {
  expect_says(load_from(with(&Config::devices, 0)), Code::unavailable, {"no device", "CUDA_VISIBLE_DEVICES"});
}

TEST_F(CudaDriverTest, EachMissingCallIsNamed) {
#define SF_NAME_CALL(name, version, parameters) #name,
  constexpr const char* kNames[] = {SF_CUDA_CALLS(SF_NAME_CALL)};
#undef SF_NAME_CALL
  for (const std::string name : kNames) {
    expect_says(load_from(with(&Config::missing_calls, std::vector<std::string>(1, name))), Code::unsupported,
                {"no call " + name + ";", "525"});
  }
}

TEST_F(CudaDriverTest, AnErrorHasItsNameItsTextWhatWasDoneAndWhatToDo) {
  const auto driver = load();
  const auto words = [&](cuda::CUresult result) {
    return cuda::status_of(driver->calls(), result, {"copying to the host on", "stream 's' of cuda:0"});
  };
  expect_ok(words(cuda::kSuccess));
  expect_says(
      words(cuda::kErrorInvalidValue), Code::invalid_argument,
      {"copying to the host on stream 's' of cuda:0: CUDA_ERROR_INVALID_VALUE (1), invalid argument", "allocated"});
  expect_says(words(cuda::kErrorOutOfMemory), Code::no_space, {"CUDA_ERROR_OUT_OF_MEMORY (2)", "free memory"});
  expect_says(words(cuda::kErrorStreamCaptureUnsupported), Code::busy, {"capture"});
  expect_says(words(cuda::kErrorIllegalAddress), Code::io_error,
              {"CUDA_ERROR_ILLEGAL_ADDRESS (700)", "lost for this process", "captured are safe", "restore"});
  expect_says(words(12345), Code::io_error, {"an error without a name (12345)", "nvidia-smi"});
}

TEST_F(CudaDriverTest, OnlyErrorsThatEndAContextAreSticky) {
  for (const cuda::CUresult result : {cuda::kErrorIllegalAddress, 702, 710, 719, 214})
    EXPECT_TRUE(cuda::is_sticky(result));
  for (const cuda::CUresult result : {cuda::kSuccess, cuda::kErrorNotReady, cuda::kErrorOutOfMemory,
                                      cuda::kErrorStreamCaptureInvalidated, cuda::kErrorUnknown}) {
    EXPECT_FALSE(cuda::is_sticky(result)) << result;
  }
}

}  // namespace
}  // namespace stillframe::device
