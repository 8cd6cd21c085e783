// What orders the trainer's kernels and our copies, in every schedule of the driver fake and for many seeds. The
// detector of races looks at the order that was asked for, not at what happened to come first.
#include "unit/device/cuda_fixture.hpp"

namespace stillframe::device {
namespace {

using fake_cuda::CUfunction;
using fake_cuda::CUstream;
using fake_cuda::Schedule;

#ifdef __SANITIZE_THREAD__
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif

enum class Leave { nothing_out, the_wait_of_the_copies, the_wait_of_the_trainer };

class CudaOrderTest : public CudaTest, public testing::WithParamInterface<Schedule> {
 protected:
  static constexpr std::size_t kBytes = 4096;
  static constexpr std::uint64_t kSeeds = 200;
  static constexpr int kSteps = 4;

  void start_with_seed(std::uint64_t seed) {
    fake_cuda::Config config;
    config.schedule = GetParam();
    config.seed = seed;
    config.delay_ms = 1;
    start(config);
  }

  // A kernel that sets memory to one value.
  [[nodiscard]] CUfunction load_fill() {
    static const Bytes kImage(16, std::byte{0x46});
    fake_cuda::register_image(kImage);
    fake_cuda::register_kernel(
        {"fill",
         {sizeof(cuda::CUdeviceptr), sizeof(std::byte)},
         [](const fake_cuda::Launch& launch) {
           return std::vector<fake_cuda::Access>{{launch.argument<cuda::CUdeviceptr>(0), kBytes, true}};
         },
         [](const fake_cuda::Launch& launch) {
           std::memset(fake_cuda::backing(launch.argument<cuda::CUdeviceptr>(0)),
                       std::to_integer<int>(launch.argument<std::byte>(1)), kBytes);
         }});
    CUfunction fill = nullptr;
    EXPECT_CU(user_.cuModuleLoadData(&module_, kImage.data()));
    EXPECT_CU(user_.cuModuleGetFunction(&fill, module_, "fill"));
    return fill;
  }

  // A trainer that sets its weights to 1, 2, 3, 4, and a snapshot of each. The number of snapshots that hold their
  // step.
  int run_training(Leave leave) {
    const TrainersContext trainers(user_, 0);
    const CUfunction fill = load_fill();
    CUstream compute = nullptr;
    EXPECT_CU(user_.cuStreamCreate(&compute, cuda::kStreamNonBlocking));
    int whole = 0;
    {
      std::vector<Bytes> images(kSteps, Bytes(kBytes));
      std::vector<std::unique_ptr<PinnedMemory>> pins;
      pins.reserve(kSteps);
      for (Bytes& image : images) pins.push_back(pin(image));
      const auto weights = allocate(kBytes);
      const auto work = stream();
      const auto of_trainer = training(compute);
      auto address = static_cast<cuda::CUdeviceptr>(reinterpret_cast<std::uintptr_t>(weights->data()));
      for (int step = 1; step <= kSteps; ++step) {
        auto value = static_cast<std::byte>(step);
        void* parameters[] = {&address, &value};
        EXPECT_CU(user_.cuLaunchKernel(fill, 1, 1, 1, 1, 1, 1, 0, compute, parameters, nullptr));
        const auto computed = taken(of_trainer->record());
        if (leave != Leave::the_wait_of_the_copies) expect_ok(work->wait(computed));
        Bytes& image = images[static_cast<std::size_t>(step - 1)];
        const HostCopy halves[] = {
            {std::span(image).first(kBytes / 2), weights->data()},
            {std::span(image).subspan(kBytes / 2), static_cast<std::byte*>(weights->data()) + kBytes / 2}};
        expect_ok(work->copy_to_host(halves, soon()));
        const auto copied = taken(work->record());
        if (leave != Leave::the_wait_of_the_trainer) expect_ok(of_trainer->wait(copied, soon()));
      }
      expect_ok(taken(work->record())->wait(soon()));
      expect_ok(taken(of_trainer->record())->wait(soon()));
      for (int step = 1; step <= kSteps; ++step) {
        whole += images[static_cast<std::size_t>(step - 1)] == Bytes(kBytes, static_cast<std::byte>(step)) ? 1 : 0;
      }
    }
    EXPECT_CU(user_.cuStreamDestroy(compute));
    EXPECT_CU(user_.cuModuleUnload(module_));
    return whole;
  }

  cuda::CUmodule module_ = nullptr;
};

TEST_P(CudaOrderTest, EverySnapshotHoldsItsStepAndNothingRaces) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    start_with_seed(seed);
    ASSERT_EQ(run_training(Leave::nothing_out), kSteps) << "seed " << seed;
    ASSERT_EQ(fake_cuda::races(), 0U) << "seed " << seed << ": " << fake_cuda::last_race();
  }
}

TEST_P(CudaOrderTest, CopiesThatDoNotWaitForTheTrainerRaceForEverySeed) {
  if (kThreadSanitizer) GTEST_SKIP() << "the bytes race in earnest, and the thread sanitizer ends the program for it";
  for (std::uint64_t seed = 1; seed <= kSeeds / 10; ++seed) {
    start_with_seed(seed);
    static_cast<void>(run_training(Leave::the_wait_of_the_copies));
    ASSERT_GT(fake_cuda::races(), 0U) << "seed " << seed;
  }
  start_with_seed(1);
}

// Not for every seed: a copy whose end the host happens to see (where it asks whether a list is free) is ordered by that.
TEST_P(CudaOrderTest, ATrainerThatDoesNotWaitForTheCopiesRaces) {
  if (kThreadSanitizer) GTEST_SKIP() << "the bytes race in earnest, and the thread sanitizer ends the program for it";
  constexpr std::uint64_t kTries = kSeeds / 10;
  std::uint64_t found = 0;
  for (std::uint64_t seed = 1; seed <= kTries; ++seed) {
    start_with_seed(seed);
    static_cast<void>(run_training(Leave::the_wait_of_the_trainer));
    found += fake_cuda::races() > 0 ? 1U : 0U;
  }
  EXPECT_GE(found, kTries / 2);
  start_with_seed(1);
}

std::string name_of(Schedule schedule) {
  if (schedule == Schedule::eager) return "eager";
  return schedule == Schedule::lazy ? "lazy" : "adversarial";
}

INSTANTIATE_TEST_SUITE_P(Schedules, CudaOrderTest,
                         testing::Values(Schedule::eager, Schedule::adversarial, Schedule::lazy),
                         [](const auto& test) { return name_of(test.param); });

}  // namespace
}  // namespace stillframe::device
