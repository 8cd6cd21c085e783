#include <algorithm>

#include "unit/fake_cuda/driver.hpp"

namespace stillframe::fake_cuda {
namespace {

constexpr int kVersionNotSufficient = 2;
constexpr int kSymbolNotFound = 1;

TEST_F(FakeCuda, EveryCallIsFoundByNameAndVersion) {
#define FAKE_CUDA_EXPECT(name, version, parameters) EXPECT_NE(cu.name, nullptr) << #name;
  SF_CUDA_CALLS(FAKE_CUDA_EXPECT)
  SF_CUDA_OPTIONAL_CALLS(FAKE_CUDA_EXPECT)
  FAKE_CUDA_TEST_CALLS(FAKE_CUDA_EXPECT)
#undef FAKE_CUDA_EXPECT
  int version = 0;
  EXPECT_CU(cu.cuDriverGetVersion(&version));
  EXPECT_EQ(version, 13000);
}

TEST_F(FakeCuda, ADriverBeforeTheBatchCallDoesNotHaveIt) {
  Config config;
  config.driver_version = 12040;
  start(config);
  EXPECT_EQ(cu.cuMemcpyBatchAsync, nullptr);
  EXPECT_NE(cu.cuMemAlloc, nullptr);
  void* address = &config;
  EXPECT_EQ(get_proc_address()("cuMemcpyBatchAsync", &address, 12080, 1, nullptr), cuda::kErrorInvalidValue);
  EXPECT_EQ(address, nullptr);
  int status = 0;
  EXPECT_CU(get_proc_address()("cuMemcpyBatchAsync", &address, 12000, 1, &status));
  EXPECT_EQ(status, kSymbolNotFound);
}

TEST_F(FakeCuda, ACallCanBeMissing) {
  Config config;
  config.missing_calls = {"cuStreamIsCapturing"};
  start(config);
  EXPECT_EQ(cu.cuStreamIsCapturing, nullptr);
  EXPECT_NE(cu.cuMemcpyBatchAsync, nullptr);
}

TEST_F(FakeCuda, ACallInAnotherFormOrOfAnotherNameHasNoAddress) {
  const GetProcAddress get = get_proc_address();
  int status = 0;
  void* address = &status;
  EXPECT_CU(get("cuMemcpyBatchAsync", &address, 13000, 1, &status));  // without the index of the failed copy
  EXPECT_EQ(address, nullptr);
  EXPECT_EQ(status, kVersionNotSufficient);
  EXPECT_CU(get("cuMemAlloc", &address, 2000, 1, &status));
  EXPECT_EQ(status, kVersionNotSufficient);
  EXPECT_CU(get("cuNoSuchCall", &address, 12000, 1, &status));
  EXPECT_EQ(address, nullptr);
  EXPECT_EQ(status, kSymbolNotFound);
  EXPECT_EQ(get("cuInit", &address, 99000, 1, &status), cuda::kErrorInvalidValue);
}

TEST_F(FakeCuda, NothingWorksBeforeInit) {
  reset(counting({}));
  int count = 0;
  EXPECT_EQ(cu.cuDeviceGetCount(&count), cuda::kErrorNotInitialized);
  EXPECT_CU(cu.cuInit(0));
  EXPECT_CU(cu.cuDeviceGetCount(&count));
  EXPECT_EQ(count, 1);
}

TEST_F(FakeCuda, AMachineMayHaveNoDevice) {
  Config config;
  config.devices = 0;
  reset(counting(config));
  EXPECT_EQ(cu.cuInit(0), cuda::kErrorNoDevice);
}

TEST_F(FakeCuda, ErrorsHaveNamesAndTexts) {
  const char* text = nullptr;
  EXPECT_CU(cu.cuGetErrorName(cuda::kErrorIllegalAddress, &text));
  EXPECT_STREQ(text, "CUDA_ERROR_ILLEGAL_ADDRESS");
  EXPECT_CU(cu.cuGetErrorString(cuda::kErrorOutOfMemory, &text));
  EXPECT_STREQ(text, "out of memory");
  EXPECT_EQ(cu.cuGetErrorName(123456, &text), cuda::kErrorInvalidValue);
  EXPECT_EQ(text, nullptr);
}

TEST_F(FakeCuda, DevicesHaveNamesAndAttributes) {
  char name[8];
  EXPECT_CU(cu.cuDeviceGetName(name, sizeof name, 0));
  EXPECT_STREQ(name, "CUDA dr");
  int major = 0;
  EXPECT_CU(cu.cuDeviceGetAttribute(&major, cuda::kAttributeComputeCapabilityMajor, 0));
  EXPECT_EQ(major, 9);
  EXPECT_EQ(cu.cuDeviceGetAttribute(&major, cuda::kAttributeComputeCapabilityMajor, 1), cuda::kErrorInvalidDevice);
}

}  // namespace
}  // namespace stillframe::fake_cuda
