#include <array>

#include "unit/fake_cuda/driver.hpp"

namespace stillframe::fake_cuda {
namespace {

constexpr std::byte kOld{0x11};
constexpr std::byte kNew{0x22};
constexpr std::size_t kBytes = 10'000;

class FakeCudaMemory : public FakeCuda {
 protected:
  FakeCudaMemory() {
    Config config;
    config.schedule = Schedule::lazy;
    config.memory_bytes = 1 << 20;
    start(config);
  }
};

TEST_F(FakeCudaMemory, TheHostFaultsWhereItTouchesDeviceMemory) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the thread sanitizer takes the signal of the deliberate fault";
#endif
  const CUdeviceptr memory = device_memory(kBytes);
  EXPECT_DEATH(*reinterpret_cast<volatile char*>(memory) = 1, "");
}

TEST_F(FakeCudaMemory, MemoryHasALimitAndComesBackWhenItIsFreed) {
  const CUdeviceptr memory = device_memory((1 << 20) - 100);
  CUdeviceptr more = 0;
  EXPECT_EQ(cu.cuMemAlloc(&more, 101), cuda::kErrorOutOfMemory);
  EXPECT_CU(cu.cuMemAlloc(&more, 100));
  EXPECT_CU(cu.cuMemFree(memory));
  device_memory(1000);
  EXPECT_EQ(cu.cuMemFree(memory + 1), cuda::kErrorInvalidValue);
  EXPECT_CU(cu.cuMemFree(0));
  EXPECT_EQ(cu.cuMemAlloc(&more, 0), cuda::kErrorInvalidValue);
}

TEST_F(FakeCudaMemory, EachDeviceHasMemoryOfItsOwn) {
  Config config;
  config.devices = 2;
  config.memory_bytes = 1000;
  start(config);
  device_memory(1000);
  ASSERT_CU(cu.cuCtxPushCurrent(retain(1)));
  device_memory(1000);
  EXPECT_EQ(statistics().allocated_bytes, 2000U);
}

TEST_F(FakeCudaMemory, ACopyMayNotLeaveItsAllocation) {
  Bytes host(kBytes + 1);
  const CUdeviceptr memory = device_memory(kBytes);
  CUstream const on = stream();
  EXPECT_EQ(cu.cuMemcpyDtoHAsync(host.data(), memory, kBytes + 1, on), cuda::kErrorInvalidValue);
  EXPECT_EQ(cu.cuMemcpyHtoDAsync(memory + 1, host.data(), kBytes, on), cuda::kErrorInvalidValue);
  EXPECT_EQ(cu.cuMemcpyDtoDAsync(memory, memory - 1, 1, on), cuda::kErrorInvalidValue);
  const auto address = reinterpret_cast<CUdeviceptr>(host.data());
  EXPECT_EQ(cu.cuMemcpyDtoHAsync(host.data(), address, 1, on), cuda::kErrorInvalidValue) << "that is no device memory";
  EXPECT_CU(cu.cuMemcpyDtoHAsync(host.data(), memory, 0, on));
}

TEST_F(FakeCudaMemory, BytesGoThereAndBack) {
  Bytes there(kBytes);
  for (std::size_t i = 0; i < kBytes; ++i) there[i] = static_cast<std::byte>(i % 251);
  Bytes back(kBytes);
  register_host(there);
  register_host(back);
  const CUdeviceptr first = device_memory(kBytes);
  const CUdeviceptr second = device_memory(kBytes);
  CUstream const on = stream();
  EXPECT_CU(cu.cuMemcpyHtoDAsync(first, there.data(), kBytes, on));
  EXPECT_CU(cu.cuMemcpyDtoDAsync(second, first, kBytes, on));
  EXPECT_CU(cu.cuMemcpyDtoHAsync(back.data(), second, kBytes, on));
  await(record(on));
  EXPECT_EQ(back, there);
  EXPECT_EQ(races(), 0U);
}

TEST_F(FakeCudaMemory, ATargetIsPoisonedUntilTheCopyIsDone) {
  Bytes host = all(kOld, kBytes);
  register_host(host);
  const CUdeviceptr memory = device_memory(kBytes);
  CUstream const on = stream();
  EXPECT_CU(cu.cuMemcpyDtoHAsync(host.data(), memory, kBytes, on));
  EXPECT_EQ(host, all(kPoison, kBytes));
  await(record(on));
  EXPECT_EQ(host, Bytes(kBytes));
}

TEST_F(FakeCudaMemory, ATargetThatWorkStillReadsIsNotPoisoned) {
  Bytes host = all(kNew, kBytes);
  register_host(host);
  const CUdeviceptr memory = device_memory(kBytes);
  const CUdeviceptr zeros = device_memory(kBytes);
  CUstream const on = stream();
  EXPECT_CU(cu.cuMemcpyHtoDAsync(memory, host.data(), kBytes, on));
  EXPECT_CU(cu.cuMemcpyDtoHAsync(host.data(), zeros, kBytes, on));
  await(record(on));
  EXPECT_EQ(look_at(memory, kBytes), all(kNew, kBytes));
  EXPECT_EQ(host, Bytes(kBytes));
}

// The list of a kernel was poisoned so, and the kernel read for minutes what the poison said.
TEST_F(FakeCudaMemory, WithoutTheDetectorNothingIsPoisonedThatWorkMayStillRead) {
  Config config;
  config.races = RacePolicy::off;
  start_with_policy(config);
  Bytes host = all(kNew, kBytes);
  register_host(host);
  const CUdeviceptr memory = device_memory(kBytes);
  const CUdeviceptr zeros = device_memory(kBytes);
  CUstream const on = stream();
  hang_stream(on);
  EXPECT_CU(cu.cuMemcpyHtoDAsync(memory, host.data(), kBytes, on));
  EXPECT_CU(cu.cuMemcpyDtoHAsync(host.data(), zeros, kBytes, on));
  release_streams();
  await(record(on));
  EXPECT_EQ(look_at(memory, kBytes), all(kNew, kBytes));
  EXPECT_EQ(host, Bytes(kBytes));
}

TEST_F(FakeCudaMemory, PoisonCanBeTurnedOff) {
  Config config;
  config.schedule = Schedule::lazy;
  config.poison = false;
  start(config);
  Bytes host = all(kOld, kBytes);
  register_host(host);
  EXPECT_CU(cu.cuMemcpyDtoHAsync(host.data(), device_memory(kBytes), kBytes, stream()));
  EXPECT_EQ(host, all(kOld, kBytes));
}

TEST_F(FakeCudaMemory, ACopyToPageableMemoryIsDoneWhenTheCallReturns) {
  Bytes host = all(kOld, kBytes);
  EXPECT_CU(cu.cuMemcpyDtoHAsync(host.data(), device_memory(kBytes), kBytes, stream()));
  EXPECT_EQ(host, Bytes(kBytes));
}

TEST_F(FakeCudaMemory, ASourceInPageableMemoryIsReadBeforeTheCallReturnsARegisteredOneLater) {
  Bytes pageable = all(kOld, kBytes);
  Bytes registered = all(kOld, kBytes);
  register_host(registered);
  const CUdeviceptr from_pageable = device_memory(kBytes);
  const CUdeviceptr from_registered = device_memory(kBytes);
  CUstream const on = stream();
  EXPECT_CU(cu.cuMemcpyHtoDAsync(from_pageable, pageable.data(), kBytes, on));
  EXPECT_CU(cu.cuMemcpyHtoDAsync(from_registered, registered.data(), kBytes, on));
  pageable = all(kNew, kBytes);
  std::fill(registered.begin(), registered.end(), kNew);
  await(record(on));
  EXPECT_EQ(look_at(from_pageable, kBytes), all(kOld, kBytes));
  EXPECT_EQ(look_at(from_registered, kBytes), all(kNew, kBytes));
}

TEST_F(FakeCudaMemory, RegistrationsDoNotOverlap) {
  Bytes host(4 * kBytes);
  ASSERT_CU(cu.cuMemHostRegister(host.data() + kBytes, kBytes, cuda::kHostRegisterPortable));
  const auto add = [&](std::size_t at, std::size_t bytes) {
    return cu.cuMemHostRegister(host.data() + at, bytes, cuda::kHostRegisterPortable);
  };
  EXPECT_EQ(add(kBytes, kBytes), cuda::kErrorHostMemoryAlreadyRegistered);
  EXPECT_EQ(add(0, kBytes + 1), cuda::kErrorHostMemoryAlreadyRegistered);
  EXPECT_EQ(add(2 * kBytes - 1, 1), cuda::kErrorHostMemoryAlreadyRegistered);
  EXPECT_EQ(add(0, 4 * kBytes), cuda::kErrorHostMemoryAlreadyRegistered);
  EXPECT_CU(add(0, kBytes));
  EXPECT_CU(add(2 * kBytes, kBytes));
  EXPECT_EQ(cu.cuMemHostUnregister(host.data() + 1), cuda::kErrorHostMemoryNotRegistered);
  EXPECT_CU(cu.cuMemHostUnregister(host.data()));
  EXPECT_EQ(cu.cuMemHostUnregister(host.data()), cuda::kErrorHostMemoryNotRegistered);
  EXPECT_EQ(cu.cuMemHostRegister(nullptr, 1, 0), cuda::kErrorInvalidValue);
}

// Registered is what the target of a copy needs to be for the copy not to be waited for.
TEST_F(FakeCudaMemory, RangesThatMeetAreRegisteredAsOne) {
  Bytes host = all(kOld, 3 * kBytes);
  const CUdeviceptr memory = device_memory(3 * kBytes);
  CUstream const on = stream();
  ASSERT_CU(cu.cuMemHostRegister(host.data(), kBytes, cuda::kHostRegisterPortable));
  ASSERT_CU(cu.cuMemHostRegister(host.data() + kBytes, kBytes, cuda::kHostRegisterPortable));
  EXPECT_CU(cu.cuMemcpyDtoHAsync(host.data(), memory, 2 * kBytes, on));
  EXPECT_EQ(host[2 * kBytes - 1], kPoison);
  EXPECT_CU(cu.cuMemcpyDtoHAsync(host.data(), memory, 3 * kBytes, on));
  EXPECT_EQ(host, Bytes(3 * kBytes)) << "not all of it is registered";
}

TEST_F(FakeCudaMemory, OnlyPortableRegistrationsCountForOtherDevices) {
  Config config;
  config.schedule = Schedule::lazy;
  config.devices = 2;
  start(config);
  Bytes of_one(kBytes, kOld);
  Bytes of_all(kBytes, kOld);
  register_host(of_one, 0);
  register_host(of_all);
  ASSERT_CU(cu.cuCtxPushCurrent(retain(1)));
  const CUdeviceptr memory = device_memory(kBytes);
  CUstream const on = stream();
  EXPECT_CU(cu.cuMemcpyDtoHAsync(of_all.data(), memory, kBytes, on));
  EXPECT_EQ(of_all, all(kPoison, kBytes));
  EXPECT_CU(cu.cuMemcpyDtoHAsync(of_one.data(), memory, kBytes, on));
  EXPECT_EQ(of_one, Bytes(kBytes)) << "to that device it is pageable";
}

class FakeCudaBatch : public FakeCudaMemory {
 protected:
  CUresult batch(std::vector<CUdeviceptr> to, std::vector<CUdeviceptr> from, std::vector<std::size_t> bytes,
                 CUstream on) {
    MemcpyAttributes attributes{cuda::kSourceOrderStream, {}, {}, 0};
    std::size_t start = 0;
    return cu.cuMemcpyBatchAsync(to.data(), from.data(), bytes.data(), to.size(), &attributes, &start, 1, &failed, on);
  }
  std::size_t failed = 0;
};

TEST_F(FakeCudaBatch, CopiesAllAndIsRefusedOnTheLegacyStream) {
  Bytes host = all(kOld, 2 * kBytes);
  register_host(host);
  const CUdeviceptr memory = device_memory(2 * kBytes);
  const auto to = reinterpret_cast<CUdeviceptr>(host.data());
  const std::vector<CUdeviceptr> targets{to + kBytes, to};
  const std::vector<CUdeviceptr> sources{memory, memory + kBytes};
  EXPECT_EQ(batch(targets, sources, {kBytes, kBytes}, nullptr), cuda::kErrorInvalidValue);
  EXPECT_EQ(batch(targets, sources, {kBytes, kBytes}, reinterpret_cast<CUstream>(cuda::kStreamLegacy)),
            cuda::kErrorInvalidValue);
  CUstream const on = stream();
  EXPECT_CU(batch(targets, sources, {kBytes, kBytes}, on));
  EXPECT_EQ(host, all(kPoison, 2 * kBytes));
  await(record(on));
  EXPECT_EQ(host, Bytes(2 * kBytes));
  EXPECT_CU(batch(targets, sources, {kBytes, kBytes}, reinterpret_cast<CUstream>(cuda::kStreamPerThread)));
}

TEST_F(FakeCudaBatch, NamesTheCopyThatIsWrong) {
  Bytes host(kBytes);
  register_host(host);
  const CUdeviceptr memory = device_memory(kBytes);
  const auto to = reinterpret_cast<CUdeviceptr>(host.data());
  EXPECT_EQ(batch({to, to}, {memory, memory + 1}, {1, kBytes}, stream()), cuda::kErrorInvalidValue);
  EXPECT_EQ(failed, 1U);
  EXPECT_EQ(batch({}, {}, {}, stream()), cuda::kErrorInvalidValue);
  EXPECT_EQ(failed, SIZE_MAX);
  EXPECT_EQ(host, Bytes(kBytes)) << "nothing was given";
}

TEST_F(FakeCudaBatch, WantsAttributesForEveryCopy) {
  const CUdeviceptr memory = device_memory(kBytes);
  CUstream const on = stream();
  std::array<CUdeviceptr, 2> to{memory, memory + 1};
  std::array<CUdeviceptr, 2> from{memory + 2, memory + 3};
  std::array<std::size_t, 2> bytes{1, 1};
  std::array<MemcpyAttributes, 2> attributes{MemcpyAttributes{cuda::kSourceOrderStream, {}, {}, 0},
                                             MemcpyAttributes{cuda::kSourceOrderStream, {}, {}, 0}};
  const auto given = [&](std::array<std::size_t, 2> starts, std::size_t count) {
    return cu.cuMemcpyBatchAsync(to.data(), from.data(), bytes.data(), 2, attributes.data(), starts.data(), count,
                                 &failed, on);
  };
  EXPECT_CU(given({0, 1}, 2));
  EXPECT_CU(given({0, 9}, 1));
  EXPECT_EQ(given({0, 0}, 0), cuda::kErrorInvalidValue);
  EXPECT_EQ(given({1, 0}, 1), cuda::kErrorInvalidValue);
  EXPECT_EQ(given({0, 0}, 2), cuda::kErrorInvalidValue);
  EXPECT_EQ(given({0, 2}, 2), cuda::kErrorInvalidValue);
  attributes[0].source_access_order = 0;
  EXPECT_EQ(given({0, 1}, 2), cuda::kErrorInvalidValue);
}

// A chain of copies in one batch: what it yields depends on the order, which the seed decides.
TEST_F(FakeCudaBatch, ItsCopiesRunInAnOrderOfTheSeedAndMayNotDependOnEachOther) {
  std::vector<Bytes> outcomes;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Config config;
    config.seed = seed;
    start(config);
    const CUdeviceptr memory = device_memory(3);
    *backing(memory) = kNew;
    CUstream const on = stream();
    EXPECT_CU(batch({memory + 1, memory + 2}, {memory, memory + 1}, {1, 1}, on));
    EXPECT_EQ(races(), 1U) << "seed " << seed;
    await(record(on));
    outcomes.push_back(look_at(memory, 3));
  }
  EXPECT_NE(std::count(outcomes.begin(), outcomes.end(), outcomes.front()), 20) << "one order for all seeds";
}

}  // namespace
}  // namespace stillframe::fake_cuda
