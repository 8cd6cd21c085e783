// What the tests of the fake stand on.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "fake_cuda/driver.hpp"

namespace stillframe::fake_cuda {

#define EXPECT_CU(call) EXPECT_EQ(call, cuda::kSuccess)
#define ASSERT_CU(call) ASSERT_EQ(call, cuda::kSuccess)

using Bytes = std::vector<std::byte>;

// A driver with the primary context of device 0 current. Races are counted; each test says how many it wants.
class FakeCuda : public testing::Test {
 protected:
  FakeCuda() { start({}); }
  ~FakeCuda() override { reset(counting({})); }

  static Config counting(Config config) {
    config.races = RacePolicy::count;
    return config;
  }

  // Starts over with this configuration.
  void start(Config config) { start_with_policy(counting(std::move(config))); }
  void start_with_policy(const Config& config) {
    reset(config);
    cu = Driver();
    EXPECT_CU(cu.cuInit(0));
    context = retain(0);
    EXPECT_CU(cu.cuCtxPushCurrent(context));
  }

  CUcontext retain(CUdevice device) const {
    CUcontext retained = nullptr;
    EXPECT_CU(cu.cuDevicePrimaryCtxRetain(&retained, device));
    return retained;
  }
  CUstream stream(unsigned flags = cuda::kStreamNonBlocking) const {
    CUstream made = nullptr;
    EXPECT_CU(cu.cuStreamCreate(&made, flags));
    return made;
  }
  CUevent event() const {
    CUevent made = nullptr;
    EXPECT_CU(cu.cuEventCreate(&made, cuda::kEventDisableTiming));
    return made;
  }
  CUevent record(CUstream on) const {
    CUevent made = event();
    EXPECT_CU(cu.cuEventRecord(made, on));
    return made;
  }
  CUdeviceptr device_memory(std::size_t bytes) const {
    CUdeviceptr made = 0;
    EXPECT_CU(cu.cuMemAlloc(&made, bytes));
    return made;
  }
  void register_host(Bytes& bytes, unsigned flags = cuda::kHostRegisterPortable) const {
    EXPECT_CU(cu.cuMemHostRegister(bytes.data(), bytes.size(), flags));
  }
  // Polls, as the product does, which never blocks in the driver.
  void await(CUevent of) const {
    CUresult result = cuda::kErrorNotReady;
    while (result == cuda::kErrorNotReady) result = cu.cuEventQuery(of);
    EXPECT_CU(result);
  }
  // What is in device memory now, with no call of the driver.
  static Bytes look_at(CUdeviceptr address, std::size_t bytes) {
    const std::byte* const data = backing(address);
    return data == nullptr ? Bytes{} : Bytes(data, data + bytes);
  }
  static Bytes all(std::byte value, std::size_t bytes) { return Bytes(bytes, value); }

  // Registers, once for the process, a kernel that fills memory with one value: (address, bytes, value).
  CUfunction fill_kernel() const {
    static const Bytes kImage = all(std::byte{0x42}, 16);
    register_image(kImage);
    register_kernel(
        {"fill",
         {sizeof(CUdeviceptr), sizeof(std::size_t), sizeof(std::byte)},
         [](const Launch& launch) {
           return std::vector<Access>{{launch.argument<CUdeviceptr>(0), launch.argument<std::size_t>(1), true}};
         },
         [](const Launch& launch) {
           std::memset(backing(launch.argument<CUdeviceptr>(0)), std::to_integer<int>(launch.argument<std::byte>(2)),
                       launch.argument<std::size_t>(1));
         }});
    CUmodule module = nullptr;
    CUfunction function = nullptr;
    EXPECT_CU(cu.cuModuleLoadData(&module, kImage.data()));
    EXPECT_CU(cu.cuModuleGetFunction(&function, module, "fill"));
    return function;
  }
  CUresult fill(CUfunction kernel, CUdeviceptr address, std::size_t bytes, std::byte value, CUstream on) const {
    void* parameters[] = {&address, &bytes, &value};
    return cu.cuLaunchKernel(kernel, 1, 1, 1, 32, 1, 1, 0, on, parameters, nullptr);
  }

  Driver cu;
  CUcontext context = nullptr;
};

}  // namespace stillframe::fake_cuda
