#include <cstdlib>

#include "unit/fake_cuda/driver.hpp"

namespace stillframe::fake_cuda {
namespace {

// A variable for as long as the object lives.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Variable() { unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

TEST(FakeCudaEnvironment, ConfiguresTheDriver) {
  const Variable schedule("FAKE_CUDA_SCHEDULE", "adversarial");
  const Variable seed("FAKE_CUDA_SEED", "18446744073709551615");
  const Variable bandwidth("FAKE_CUDA_DTOH_BYTES_PER_S", "123");
  const Variable devices("FAKE_CUDA_DEVICES", "2");
  const Variable missing("FAKE_CUDA_MISSING_CALLS", "cuMemcpyBatchAsync,cuMemFree");
  const Variable policy("FAKE_CUDA_RACES", "count");
  const Variable poison("FAKE_CUDA_POISON", "0");
  const Config config = config_from_environment();
  EXPECT_EQ(config.schedule, Schedule::adversarial);
  EXPECT_EQ(config.seed, UINT64_MAX);
  EXPECT_EQ(config.device_to_host_bytes_per_s, 123U);
  EXPECT_EQ(config.devices, 2);
  EXPECT_EQ(config.missing_calls, (std::vector<std::string>{"cuMemcpyBatchAsync", "cuMemFree"}));
  EXPECT_EQ(config.races, RacePolicy::count);
  EXPECT_FALSE(config.poison);
}

TEST(FakeCudaEnvironment, RacesAreFatalUnlessSaidOtherwise) {
  EXPECT_EQ(config_from_environment().races, RacePolicy::fatal);
}

TEST(FakeCudaEnvironment, AValueThatMeansNothingEndsTheProgram) {
  EXPECT_DEATH(
      {
        const Variable schedule("FAKE_CUDA_SCHEDULE", "sometimes");
        static_cast<void>(config_from_environment());
      },
      "FAKE_CUDA_SCHEDULE=sometimes: not eager, adversarial or lazy");
  EXPECT_DEATH(
      {
        const Variable seed("FAKE_CUDA_SEED", "-1");
        static_cast<void>(config_from_environment());
      },
      "FAKE_CUDA_SEED=-1: not a number");
}

// A program that knows nothing of the fake. It ends with work and threads under way.
[[noreturn]] void run_program() {
  const Driver cu;
  CUcontext context = nullptr;
  CUdeviceptr memory = 0;
  CUmodule module = nullptr;
  CUfunction kernel = nullptr;
  const unsigned fat_binary = 0xBA55ED50;
  CUresult result = cu.cuInit(0);
  if (result == cuda::kSuccess) result = cu.cuDevicePrimaryCtxRetain(&context, 0);
  if (result == cuda::kSuccess) result = cu.cuCtxPushCurrent(context);
  if (result == cuda::kSuccess) result = cu.cuMemAlloc(&memory, 1);
  if (result == cuda::kSuccess) result = cu.cuModuleLoadData(&module, &fat_binary);
  if (result == cuda::kSuccess) result = cu.cuModuleGetFunction(&kernel, module, "seven");
  void* parameters[] = {&memory};
  if (result == cuda::kSuccess) {
    result = cu.cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, nullptr, parameters, nullptr);
  }
  std::byte value{0};
  if (result == cuda::kSuccess) result = cu.cuMemcpyDtoHAsync(&value, memory, 1, nullptr);
  std::exit(result == cuda::kSuccess ? std::to_integer<int>(value) : 100 + result);
}

TEST(FakeCudaEnvironment, AWholeProgramRunsOnIt) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a process of its own, which reads the variables at first use
  const Variable kernels("FAKE_CUDA_KERNELS", FAKE_CUDA_TEST_KERNELS);
  const Variable schedule("FAKE_CUDA_SCHEDULE", "lazy");
  EXPECT_EXIT(run_program(), testing::ExitedWithCode(7), "");
  const Variable injection("FAKE_CUDA_INJECT", "cuInit:2:1,cuMemAlloc:1:2,cuMemFree:1:1:hang");
  EXPECT_EXIT(run_program(), testing::ExitedWithCode(100 + cuda::kErrorOutOfMemory), "");
}

TEST(FakeCudaEnvironment, AKernelLibraryThatIsNotThereEndsTheProgram) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const Variable kernels("FAKE_CUDA_KERNELS", "/no/such/library.so");
  EXPECT_DEATH(run_program(), "FAKE_CUDA_KERNELS=/no/such/library.so: .*cannot open");
}

}  // namespace
}  // namespace stillframe::fake_cuda
