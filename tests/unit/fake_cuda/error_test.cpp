#include "unit/fake_cuda/driver.hpp"

namespace stillframe::fake_cuda {
namespace {

using FakeCudaErrors = FakeCuda;

TEST_F(FakeCudaErrors, TheNthCallOfANameIsRefused) {
  inject({"cuMemAlloc", 2, cuda::kErrorOutOfMemory, Effect::refuse});
  CUdeviceptr memory = 0;
  EXPECT_CU(cu.cuMemAlloc(&memory, 16));
  EXPECT_EQ(cu.cuMemAlloc(&memory, 16), cuda::kErrorOutOfMemory);
  EXPECT_CU(cu.cuMemAlloc(&memory, 16));
  EXPECT_EQ(statistics().allocations, 2U);
}

TEST_F(FakeCudaErrors, AFaultShowsAtTheNextQueryAndStays) {
  Config config;
  config.schedule = Schedule::lazy;
  start(config);
  Bytes host(16);
  register_host(host);
  const CUdeviceptr memory = device_memory(16);
  CUstream const on = stream();
  CUevent const before = record(on);
  await(before);
  inject({"cuMemcpyDtoHAsync", 1, cuda::kErrorIllegalAddress, Effect::fault});
  EXPECT_CU(cu.cuMemcpyDtoHAsync(host.data(), memory, 16, on));
  CUevent const after = record(on);
  EXPECT_EQ(cu.cuEventQuery(after), cuda::kErrorNotReady) << "the call and those after it know nothing";
  CUresult result = cuda::kErrorNotReady;
  while (result == cuda::kErrorNotReady) result = cu.cuEventQuery(after);
  EXPECT_EQ(result, cuda::kErrorIllegalAddress);
  EXPECT_EQ(cu.cuEventQuery(before), cuda::kErrorIllegalAddress);
  CUdeviceptr more = 0;
  EXPECT_EQ(cu.cuMemAlloc(&more, 16), cuda::kErrorIllegalAddress);
  EXPECT_EQ(cu.cuStreamSynchronize(on), cuda::kErrorIllegalAddress);
  EXPECT_EQ(host, all(kPoison, 16)) << "the copy never was";
  EXPECT_CU(cu.cuCtxPopCurrent(nullptr)) << "threads can still leave the context";
}

TEST_F(FakeCudaErrors, AFaultOfOneDeviceIsNotOneOfAnother) {
  Config config;
  config.devices = 2;
  start(config);
  inject({"cuEventRecord", 1, cuda::kErrorUnknown, Effect::fault});
  EXPECT_EQ(cu.cuEventSynchronize(record(stream())), cuda::kErrorUnknown);
  ASSERT_CU(cu.cuCtxPushCurrent(retain(1)));
  await(record(stream()));
}

TEST_F(FakeCudaErrors, AFaultGoesWithItsContext) {
  inject({"cuEventRecord", 1, cuda::kErrorUnknown, Effect::fault});
  EXPECT_EQ(cu.cuEventSynchronize(record(stream())), cuda::kErrorUnknown);
  EXPECT_CU(cu.cuDevicePrimaryCtxRelease(0));
  retain(0);
  await(record(stream()));
  await(record(nullptr));
}

TEST_F(FakeCudaErrors, AHungStreamStandsUntilItIsReleased) {
  CUstream const on = stream();
  CUstream const other = stream();
  inject({"cuEventRecord", 2, cuda::kSuccess, Effect::hang});
  CUevent const before = record(on);
  CUevent const behind = record(on);
  await(before);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(cu.cuEventQuery(behind), cuda::kErrorNotReady);
  await(record(other));
  release_streams();
  await(behind);
}

TEST_F(FakeCudaErrors, AStreamCanBeHungByItsHandle) {
  CUstream const on = stream();
  hang_stream(on);
  CUevent const behind = record(on);
  await(record(stream()));
  EXPECT_EQ(cu.cuEventQuery(behind), cuda::kErrorNotReady);
  EXPECT_CU(cu.cuStreamDestroy(on)) << "the driver does not wait either";
  release_streams();
  await(behind);
}

TEST_F(FakeCudaErrors, ResetEndsAHungStream) {
  CUstream const on = stream();
  hang_stream(on);
  record(on);
  start({});
  await(record(stream()));
}

class FakeCudaKernels : public FakeCuda {
 protected:
  CUfunction kernel = fill_kernel();
};

TEST_F(FakeCudaKernels, ATwinRunsWithTheArgumentsOfTheLaunch) {
  const CUdeviceptr memory = device_memory(16);
  CUstream const on = stream();
  hang_stream(on);
  EXPECT_CU(fill(kernel, memory + 4, 8, std::byte{7}, on));  // its arguments are gone when it runs
  release_streams();
  await(record(on));
  Bytes expected(16);
  std::fill(expected.begin() + 4, expected.begin() + 12, std::byte{7});
  EXPECT_EQ(look_at(memory, 16), expected);
}

TEST_F(FakeCudaKernels, ALaunchKnowsItsShape) {
  Launch seen;
  register_kernel({"shape",
                   {},
                   [](const Launch&) { return std::vector<Access>{}; },
                   [&seen](const Launch& launch) { seen = launch; }});
  static const Bytes kImage = all(std::byte{0x42}, 16);
  CUmodule module = nullptr;
  CUfunction shape = nullptr;
  ASSERT_CU(cu.cuModuleLoadData(&module, kImage.data()));
  ASSERT_CU(cu.cuModuleGetFunction(&shape, module, "shape"));
  EXPECT_CU(cu.cuLaunchKernel(shape, 2, 3, 4, 5, 6, 7, 8, nullptr, nullptr, nullptr));
  EXPECT_CU(cu.cuStreamSynchronize(nullptr));
  EXPECT_EQ(seen.grid[2], 4U);
  EXPECT_EQ(seen.block[0], 5U);
  EXPECT_EQ(seen.shared_bytes, 8U);
  EXPECT_EQ(cu.cuLaunchKernel(shape, 0, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr), cuda::kErrorInvalidValue);
  EXPECT_EQ(cu.cuLaunchKernel(shape, 1, 1, 1, 32, 33, 1, 0, nullptr, nullptr, nullptr), cuda::kErrorInvalidValue);
}

TEST_F(FakeCudaKernels, AnAccessOutsideOfLiveMemoryIsAFault) {
  CUstream const on = stream();
  EXPECT_CU(fill(kernel, device_memory(16), 17, std::byte{1}, on));
  EXPECT_EQ(cu.cuStreamSynchronize(on), cuda::kErrorIllegalAddress);
  EXPECT_EQ(cu.cuStreamSynchronize(on), cuda::kErrorIllegalAddress);
}

TEST_F(FakeCudaKernels, OnlyKnownImagesLoadAndOnlyKnownNamesAreFound) {
  const Bytes stranger = all(std::byte{0x43}, 16);
  CUmodule module = nullptr;
  EXPECT_EQ(cu.cuModuleLoadData(&module, stranger.data()), kErrorInvalidImage);
  register_image(stranger);
  EXPECT_CU(cu.cuModuleLoadData(&module, stranger.data()));
  CUfunction function = nullptr;
  EXPECT_EQ(cu.cuModuleGetFunction(&function, module, "no such kernel"), cuda::kErrorNotFound);
  EXPECT_CU(cu.cuModuleGetFunction(&function, module, "fill"));
  EXPECT_CU(cu.cuModuleUnload(module));
  EXPECT_EQ(cu.cuModuleUnload(module), kErrorInvalidHandle);
  EXPECT_EQ(fill(function, device_memory(1), 1, std::byte{1}, nullptr), kErrorInvalidHandle);
}

}  // namespace
}  // namespace stillframe::fake_cuda
