#include <chrono>
#include <thread>

#include "unit/fake_cuda/driver.hpp"

namespace stillframe::fake_cuda {
namespace {

constexpr std::byte kOne{0x11};
constexpr std::byte kTwo{0x22};
constexpr std::size_t kBytes = 4096;

// Nothing runs unless something waits for it: what has run tells what was waited for.
class FakeCudaStreams : public FakeCuda {
 protected:
  FakeCudaStreams() { start_lazy(); }

  void start_lazy() {
    Config config;
    config.schedule = Schedule::lazy;
    start(config);
    kernel = fill_kernel();
    memory = device_memory(kBytes);
  }
  void fill_with(std::byte value, CUstream on) const { EXPECT_CU(fill(kernel, memory, kBytes, value, on)); }
  [[nodiscard]] std::byte seen() const { return *backing(memory); }
  static CUstream handle(std::uintptr_t value) { return reinterpret_cast<CUstream>(value); }

  CUfunction kernel = nullptr;
  CUdeviceptr memory = 0;
};

TEST_F(FakeCudaStreams, WorkOfOneStreamHappensInOrder) {
  CUstream const on = stream();
  fill_with(kOne, on);
  CUevent const between = record(on);
  fill_with(kTwo, on);
  EXPECT_EQ(seen(), std::byte{0});
  await(between);
  EXPECT_EQ(seen(), kOne) << "what comes after the event is not waited for";
  await(record(on));
  EXPECT_EQ(seen(), kTwo);
  EXPECT_EQ(races(), 0U);
}

TEST_F(FakeCudaStreams, AQueriedEventIsWaitedFor) {
  CUstream const on = stream();
  fill_with(kOne, on);
  CUevent const after = record(on);
  EXPECT_EQ(cu.cuEventQuery(after), cuda::kErrorNotReady);
  await(after);
  EXPECT_EQ(seen(), kOne);
  EXPECT_CU(cu.cuEventQuery(event())) << "an event that was never recorded has nothing to wait for";
}

TEST_F(FakeCudaStreams, AQueriedStreamIsWaitedFor) {
  CUstream const on = stream();
  fill_with(kOne, on);
  EXPECT_EQ(cu.cuStreamQuery(on), cuda::kErrorNotReady);
  while (cu.cuStreamQuery(on) == cuda::kErrorNotReady) {
  }
  EXPECT_EQ(seen(), kOne);
}

TEST_F(FakeCudaStreams, SynchronisingWaits) {
  CUstream const on = stream();
  fill_with(kOne, on);
  EXPECT_CU(cu.cuEventSynchronize(record(on)));
  EXPECT_EQ(seen(), kOne);
  fill_with(kTwo, on);
  EXPECT_CU(cu.cuStreamSynchronize(on));
  EXPECT_EQ(seen(), kTwo);
  fill_with(kOne, on);
  EXPECT_CU(cu.cuCtxSynchronize());
  EXPECT_EQ(seen(), kOne);
}

TEST_F(FakeCudaStreams, AStreamWaitsForAnEventOfAnother) {
  CUstream const first = stream();
  CUstream const second = stream();
  fill_with(kOne, first);
  EXPECT_CU(cu.cuStreamWaitEvent(second, record(first), 0));
  fill_with(kTwo, second);
  await(record(second));
  EXPECT_EQ(seen(), kTwo);
  EXPECT_EQ(races(), 0U);
  EXPECT_EQ(cu.cuStreamWaitEvent(second, nullptr, 0), kErrorInvalidHandle);
}

TEST_F(FakeCudaStreams, AWaitIsForWhatTheEventMeantWhenItWasGiven) {
  CUstream const first = stream();
  CUstream const second = stream();
  CUevent const again = record(first);
  EXPECT_CU(cu.cuStreamWaitEvent(second, again, 0));
  fill_with(kOne, first);
  EXPECT_CU(cu.cuEventRecord(again, first));
  await(record(second));
  EXPECT_EQ(seen(), std::byte{0});
  await(again);
  EXPECT_EQ(seen(), kOne);
}

TEST_F(FakeCudaStreams, TheLegacyStreamAndBlockingStreamsWaitForEachOther) {
  CUstream const blocking = stream(0);
  fill_with(kOne, blocking);
  fill_with(kTwo, handle(cuda::kStreamLegacy));
  await(record(nullptr));
  await(record(blocking));
  EXPECT_EQ(seen(), kTwo);
  fill_with(kOne, nullptr);
  await(record(blocking));
  EXPECT_EQ(seen(), kOne);
  EXPECT_EQ(races(), 0U);
}

TEST_F(FakeCudaStreams, TheLegacyStreamAndNonBlockingStreamsDoNot) {
  CUstream const own = stream(cuda::kStreamNonBlocking);
  fill_with(kOne, own);
  fill_with(kTwo, nullptr);
  EXPECT_EQ(races(), 1U);
  await(record(nullptr));
  EXPECT_EQ(seen(), kTwo);
  await(record(own));
  EXPECT_EQ(seen(), kOne) << "which was given first and ran last";
}

TEST_F(FakeCudaStreams, EachThreadHasADefaultStreamOfItsOwn) {
  CUstream const own = handle(cuda::kStreamPerThread);
  fill_with(kOne, own);
  std::thread([&] {
    EXPECT_CU(cu.cuCtxPushCurrent(context));
    fill_with(kTwo, own);
    await(record(own));
    EXPECT_EQ(seen(), kTwo);
  }).join();
  EXPECT_EQ(races(), 1U) << "two streams";
  await(record(own));
  EXPECT_EQ(seen(), kOne);
  await(record(nullptr));
  fill_with(kTwo, nullptr);
  EXPECT_EQ(races(), 1U) << "the legacy stream comes after both";
}

TEST_F(FakeCudaStreams, ADestroyedStreamFinishesItsWork) {
  CUstream const on = stream();
  fill_with(kOne, on);
  CUevent const after = record(on);
  EXPECT_CU(cu.cuStreamDestroy(on));
  while (statistics().operations_done < 2) std::this_thread::yield();  // though nothing waits for it
  EXPECT_EQ(seen(), kOne);
  await(after);
  EXPECT_EQ(cu.cuEventRecord(after, on), kErrorInvalidHandle);
}

TEST_F(FakeCudaStreams, WorkKeepsTheMemoryThatItUses) {
  CUstream const on = stream();
  fill_with(kOne, on);
  const CUdeviceptr copy_of = device_memory(kBytes);
  EXPECT_CU(cu.cuMemcpyDtoDAsync(copy_of, memory, kBytes, on));
  EXPECT_CU(cu.cuMemFree(memory));
  EXPECT_EQ(races(), 1U) << fake_cuda::last_race();
}

TEST_F(FakeCudaStreams, LateWorkRunsInTheEnd) {
  Config config;
  config.schedule = Schedule::adversarial;
  config.delay_ms = 2;
  start(config);
  CUstream const on = stream();
  record(on);
  while (statistics().operations_done == 0) std::this_thread::yield();
}

TEST_F(FakeCudaStreams, EagerWorkRunsWithoutBeingAskedFor) {
  start({});
  CUstream const first = stream();
  CUstream const second = stream();
  EXPECT_CU(cu.cuStreamWaitEvent(second, record(first), 0));
  while (statistics().operations_done < 2) std::this_thread::yield();
}

// The upper side only: a slow machine may take longer, the fake never less.
TEST_F(FakeCudaStreams, CopiesTakeTheirTime) {
  Config config;
  config.device_to_host_bytes_per_s = 1'000'000;
  config.latency_us = 5'000;
  start(config);
  Bytes host(20'000);
  register_host(host);
  const CUdeviceptr from = device_memory(host.size());
  CUstream const first = stream();
  CUstream const second = stream();
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_CU(cu.cuMemcpyDtoHAsync(host.data(), from, 10'000, first));
  EXPECT_CU(cu.cuMemcpyDtoHAsync(host.data() + 10'000, from, 10'000, second));
  EXPECT_CU(cu.cuStreamSynchronize(first));
  EXPECT_CU(cu.cuStreamSynchronize(second));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(30)) << "one engine for both";
  const auto up = std::chrono::steady_clock::now();
  EXPECT_CU(cu.cuMemcpyHtoDAsync(from, host.data(), host.size(), first));
  EXPECT_CU(cu.cuStreamSynchronize(first));
  EXPECT_GE(std::chrono::steady_clock::now() - up, std::chrono::milliseconds(5));
}

TEST_F(FakeCudaStreams, ResetStopsWorkUnderWay) {
  Config config;
  config.device_to_host_bytes_per_s = 1;
  start(config);
  Bytes host(1000);
  register_host(host);
  EXPECT_CU(cu.cuMemcpyDtoHAsync(host.data(), device_memory(1000), 1000, stream()));
  start({});  // does not take the 1,000 seconds that the copy would
  EXPECT_EQ(statistics().streams, 0U);
}

}  // namespace
}  // namespace stillframe::fake_cuda
