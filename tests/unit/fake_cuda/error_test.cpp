#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>

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

// Host memory that stays when the process dies: two tests at once may not share it.
class FakeCudaDeath : public FakeCuda {
 protected:
  static constexpr std::size_t kBytes = std::size_t{3} << 20;
  static constexpr std::byte kCopied{0x77};

  FakeCudaDeath() : path_(testing::TempDir() + "fake_cuda_death") {
    const int file = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    EXPECT_EQ(::ftruncate(file, kBytes), 0);
    memory_ = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    ::close(file);
  }
  ~FakeCudaDeath() override {
    ::munmap(memory_, kBytes);
    ::unlink(path_.c_str());
  }

  // In a process of its own: two copies to the host, with a death announced in the second.
  [[noreturn]] void copy_and_die(std::uint64_t after_bytes) {
    std::memset(memory_, 0, kBytes);
    EXPECT_CU(cu.cuMemHostRegister(memory_, kBytes, cuda::kHostRegisterPortable));
    CUstream const on = stream();
    const CUdeviceptr from = device_memory(kBytes);
    const Bytes values = all(kCopied, kBytes);
    EXPECT_CU(cu.cuMemcpyHtoDAsync(from, values.data(), kBytes, on));
    EXPECT_CU(cu.cuMemcpyDtoHAsync(memory_, from, 1000, on));
    await(record(on));
    die_after_dtoh_bytes(after_bytes);
    EXPECT_CU(cu.cuMemcpyDtoHAsync(static_cast<std::byte*>(memory_) + 1000, from, kBytes - 1000, on));
    await(record(on));
    std::exit(0);
  }
  [[nodiscard]] std::size_t bytes_copied() const {
    const auto* const bytes = static_cast<const std::byte*>(memory_);
    return static_cast<std::size_t>(std::find_if(bytes, bytes + kBytes, [](std::byte b) { return b != kCopied; }) -
                                    bytes);
  }

 private:
  const std::string path_;
  void* memory_ = nullptr;
};

TEST_F(FakeCudaDeath, TheProcessDiesBehindThatByteOfTheCopiesToTheHost) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const std::uint64_t after : {0UL, 1UL, (1UL << 20) - 1, 1UL << 20, (1UL << 20) + 1, kBytes - 1000}) {
    EXPECT_EXIT(copy_and_die(after), testing::KilledBySignal(SIGKILL), "") << after;
    EXPECT_EQ(bytes_copied(), 1000 + after);
  }
  EXPECT_EXIT(copy_and_die(kBytes - 999), testing::ExitedWithCode(0), "");
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
