#include <thread>

#include "unit/fake_cuda/driver.hpp"

namespace stillframe::fake_cuda {
namespace {

TEST_F(FakeCuda, ACallWithoutACurrentContextIsRefused) {
  CUcontext popped = nullptr;
  ASSERT_CU(cu.cuCtxPopCurrent(&popped));
  EXPECT_EQ(popped, context);
  CUdeviceptr memory = 0;
  CUstream made = nullptr;
  EXPECT_EQ(cu.cuMemAlloc(&memory, 16), cuda::kErrorInvalidContext);
  EXPECT_EQ(cu.cuStreamCreate(&made, 0), cuda::kErrorInvalidContext);
  EXPECT_EQ(cu.cuCtxPopCurrent(&popped), cuda::kErrorInvalidContext);
  EXPECT_CU(cu.cuCtxGetCurrent(&popped));
  EXPECT_EQ(popped, nullptr);
}

TEST_F(FakeCuda, EachThreadHasAStackOfContexts) {
  CUresult of_other_thread = cuda::kSuccess;
  CUdevice device = 0;
  std::thread([&] { of_other_thread = cu.cuCtxGetDevice(&device); }).join();
  EXPECT_EQ(of_other_thread, cuda::kErrorInvalidContext);
  EXPECT_CU(cu.cuCtxGetDevice(&device));
}

TEST_F(FakeCuda, APushedContextIsCurrentUntilItIsPopped) {
  Config config;
  config.devices = 2;
  start(config);
  CUcontext other = retain(1);
  ASSERT_NE(other, context);
  CUdevice device = -1;
  EXPECT_CU(cu.cuCtxPushCurrent(other));
  EXPECT_CU(cu.cuCtxGetDevice(&device));
  EXPECT_EQ(device, 1);
  EXPECT_CU(cu.cuCtxPopCurrent(nullptr));
  EXPECT_CU(cu.cuCtxGetDevice(&device));
  EXPECT_EQ(device, 0);
  EXPECT_CU(cu.cuCtxSetCurrent(other));
  EXPECT_CU(cu.cuCtxGetDevice(&device));
  EXPECT_EQ(device, 1);
  EXPECT_EQ(cu.cuCtxPushCurrent(nullptr), cuda::kErrorInvalidContext);
}

TEST_F(FakeCuda, APrimaryContextLivesAsLongAsItIsRetained) {
  unsigned flags = 1;
  int active = 0;
  EXPECT_EQ(retain(0), context);
  EXPECT_EQ(statistics().contexts_retained, 2U);
  EXPECT_CU(cu.cuDevicePrimaryCtxRelease(0));
  EXPECT_CU(cu.cuDevicePrimaryCtxGetState(0, &flags, &active));
  EXPECT_EQ(active, 1);
  const CUdeviceptr memory = device_memory(16);
  stream();
  event();
  EXPECT_CU(cu.cuDevicePrimaryCtxRelease(0));
  EXPECT_CU(cu.cuDevicePrimaryCtxGetState(0, &flags, &active));
  EXPECT_EQ(active, 0);
  EXPECT_EQ(cu.cuMemFree(memory), kErrorContextIsDestroyed);
  EXPECT_EQ(statistics().allocations + statistics().streams + statistics().events, 0U);
  EXPECT_EQ(cu.cuDevicePrimaryCtxRelease(0), cuda::kErrorInvalidContext);
}

TEST_F(FakeCuda, AStreamOrEventOfAnotherContextIsRefused) {
  Config config;
  config.devices = 2;
  start(config);
  CUstream const own_stream = stream();
  CUevent const own_event = record(own_stream);
  ASSERT_CU(cu.cuCtxPushCurrent(retain(1)));
  CUstream const other_stream = stream();
  const CUdeviceptr memory = device_memory(16);
  EXPECT_EQ(cu.cuEventRecord(own_event, own_stream), kErrorInvalidHandle);
  EXPECT_EQ(cu.cuEventRecord(own_event, other_stream), kErrorInvalidHandle);
  EXPECT_EQ(cu.cuMemcpyDtoDAsync(memory, memory, 16, own_stream), kErrorInvalidHandle);
  EXPECT_EQ(cu.cuStreamDestroy(own_stream), kErrorInvalidHandle);
  EXPECT_CU(cu.cuStreamWaitEvent(other_stream, own_event, 0)) << "the driver lets streams wait across devices";
  await(record(other_stream));
}

TEST_F(FakeCuda, AHandleThatHasGoneIsNeverGoodAgain) {
  CUstream const gone_stream = stream();
  CUevent const gone_event = event();
  ASSERT_CU(cu.cuStreamDestroy(gone_stream));
  ASSERT_CU(cu.cuEventDestroy(gone_event));
  stream();
  event();
  EXPECT_EQ(cu.cuStreamDestroy(gone_stream), kErrorInvalidHandle);
  EXPECT_EQ(cu.cuEventDestroy(gone_event), kErrorInvalidHandle);
  EXPECT_EQ(cu.cuEventQuery(gone_event), kErrorInvalidHandle);
  EXPECT_EQ(cu.cuStreamDestroy(nullptr), kErrorInvalidHandle);
}

TEST_F(FakeCuda, StatisticsShowWhatIsLeftAndWhatWasCalled) {
  Bytes host(64);
  const CUdeviceptr memory = device_memory(100);
  CUstream const made_stream = stream();
  CUevent const made_event = event();
  register_host(host);
  Statistics now = statistics();
  EXPECT_EQ(now.allocations, 1U);
  EXPECT_EQ(now.allocated_bytes, 100U);
  EXPECT_EQ(now.streams, 1U);
  EXPECT_EQ(now.events, 1U);
  EXPECT_EQ(now.registrations, 1U);
  EXPECT_EQ(now.registered_bytes, 64U);
  EXPECT_EQ(now.calls_of("cuMemAlloc"), 1U);
  EXPECT_EQ(now.calls_of("cuCtxSynchronize"), 0U);
  EXPECT_CU(cu.cuMemHostUnregister(host.data()));
  EXPECT_CU(cu.cuEventDestroy(made_event));
  EXPECT_CU(cu.cuStreamDestroy(made_stream));
  EXPECT_CU(cu.cuMemFree(memory));
  EXPECT_CU(cu.cuCtxSynchronize());
  now = statistics();
  EXPECT_EQ(now.allocations + now.allocated_bytes + now.streams + now.events + now.registrations, 0U);
  EXPECT_EQ(now.calls_of("cuCtxSynchronize"), 1U);
}

}  // namespace
}  // namespace stillframe::fake_cuda
