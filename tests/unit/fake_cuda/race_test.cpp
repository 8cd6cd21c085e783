#include <random>
#include <thread>

#include "fake_cuda/clocks.hpp"
#include "unit/fake_cuda/driver.hpp"

namespace stillframe::fake_cuda {
namespace {

constexpr std::size_t kBytes = 4096;

// What a trainer and a snapshot do: a kernel writes the parameters on the training stream, a copy stream takes them to
// the host, the next step's kernel waits for the copy. Each wait can be left out.
struct Waits {
  bool copy_for_step = true;
  bool step_for_copy = true;
};

class FakeCudaRaces : public FakeCuda {
 protected:
  // Late enough for a copy that was not told to wait to come first for certain.
  static Config with(Schedule schedule, std::uint64_t seed, std::uint64_t delay_ms = 3'600'000) {
    Config config;
    config.schedule = schedule;
    config.seed = seed;
    config.delay_ms = delay_ms;
    return config;
  }

  void set_up(const Config& config) {
    start(config);
    kernel = fill_kernel();
    host = Bytes(kBytes);
    register_host(host);
    parameters = device_memory(kBytes);
    training = stream();
    copies = stream();
  }

  // The number of steps whose bytes on the host are not those of the step.
  int train(int steps, const Waits& waits) {
    int stale = 0;
    CUevent copied = nullptr;
    for (int step = 1; step <= steps; ++step) {
      const auto value = static_cast<std::byte>(step);
      if (copied != nullptr && waits.step_for_copy) wait_for(training, copied);
      EXPECT_CU(fill(kernel, parameters, kBytes, value, training));
      CUevent const stepped = record(training);
      if (waits.copy_for_step) wait_for(copies, stepped);
      EXPECT_CU(cu.cuMemcpyDtoHAsync(host.data(), parameters, kBytes, copies));
      copied = record(copies);
      next_step_before_the_copy(waits, copied);
      await(copied);
      if (host != all(value, kBytes)) ++stale;
      await(record(training));
    }
    return stale;
  }

  CUfunction kernel = nullptr;
  Bytes host;
  CUdeviceptr parameters = 0;
  CUstream training = nullptr;
  CUstream copies = nullptr;

 private:
  void wait_for(CUstream on, CUevent of) const { EXPECT_CU(cu.cuStreamWaitEvent(on, of, 0)); }
  // The next step is given while the copy is under way, and is waited for first.
  void next_step_before_the_copy(const Waits& waits, CUevent copied) const {
    if (waits.step_for_copy) wait_for(training, copied);
    EXPECT_CU(fill(kernel, parameters, kBytes, std::byte{0xEE}, training));
    await(record(training));
  }
};

class FakeCudaSchedules : public FakeCudaRaces, public testing::WithParamInterface<Schedule> {};

INSTANTIATE_TEST_SUITE_P(Each, FakeCudaSchedules,
                         testing::Values(Schedule::eager, Schedule::adversarial, Schedule::lazy));

#if defined(__SANITIZE_THREAD__)
#define FAKE_CUDA_SKIP_RACE_OF_WORKERS() \
  if (GetParam() == Schedule::eager) GTEST_SKIP() << "the thread sanitizer finds the race of the streams' threads too"
#else
#define FAKE_CUDA_SKIP_RACE_OF_WORKERS()
#endif

TEST_P(FakeCudaSchedules, ACorrectPipelineHasNoneInManySeeds) {
  constexpr std::uint64_t kSeeds = 200;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    set_up(with(GetParam(), seed, 1 + seed % 3));
    EXPECT_EQ(train(3, {}), 0) << "seed " << seed;
    ASSERT_EQ(races(), 0U) << "seed " << seed << ": " << last_race();
  }
}

TEST_P(FakeCudaSchedules, ACopyThatDoesNotWaitForTheStepIsFound) {
  FAKE_CUDA_SKIP_RACE_OF_WORKERS();
  set_up(with(GetParam(), 1));
  const CUdeviceptr other = device_memory(kBytes);
  EXPECT_CU(fill(kernel, other, kBytes, std::byte{1}, training));
  EXPECT_EQ(races(), 0U);
  EXPECT_CU(fill(kernel, parameters, kBytes, std::byte{1}, training));
  EXPECT_CU(cu.cuMemcpyDtoHAsync(host.data(), parameters, kBytes, copies));
  EXPECT_EQ(races(), 1U) << "reported when the copy is given, whatever has run by then";
  EXPECT_NE(last_race().find("cuMemcpyDtoHAsync reads 4096 bytes"), std::string::npos) << last_race();
  EXPECT_NE(last_race().find("not ordered after cuLaunchKernel, which writes"), std::string::npos) << last_race();
  if (GetParam() == Schedule::eager) return;
  await(record(copies));
  EXPECT_EQ(host, Bytes(kBytes)) << "the step's bytes, which the copy did not wait for";
}

TEST_P(FakeCudaSchedules, AStepThatDoesNotWaitForTheCopyIsFound) {
  FAKE_CUDA_SKIP_RACE_OF_WORKERS();
  set_up(with(GetParam(), 1));
  const int stale = train(5, {.copy_for_step = true, .step_for_copy = false});
  EXPECT_GE(races(), 5U);
  EXPECT_NE(last_race().find("cuLaunchKernel writes"), std::string::npos) << last_race();
  if (GetParam() == Schedule::eager) return;
  EXPECT_EQ(stale, 5);
}

TEST_F(FakeCudaRaces, OnlyTheBytesThatBothTouchCount) {
  set_up(with(Schedule::lazy, 1));
  EXPECT_CU(fill(kernel, parameters, 100, std::byte{1}, training));
  EXPECT_CU(cu.cuMemcpyDtoHAsync(host.data(), parameters + 100, 100, copies));
  EXPECT_EQ(races(), 0U);
  EXPECT_CU(cu.cuMemcpyDtoHAsync(host.data() + 100, parameters + 99, 1, copies));
  EXPECT_EQ(races(), 1U);
}

TEST_F(FakeCudaRaces, TwoReadsAreNone) {
  set_up(with(Schedule::lazy, 1));
  const CUdeviceptr other = device_memory(kBytes);
  EXPECT_CU(cu.cuMemcpyDtoHAsync(host.data(), parameters, kBytes, copies));
  EXPECT_CU(cu.cuMemcpyDtoDAsync(other, parameters, kBytes, training));
  EXPECT_EQ(races(), 0U);
}

TEST_F(FakeCudaRaces, WhatTheHostHasWaitedForIsInOrder) {
  set_up(with(Schedule::lazy, 1));
  EXPECT_CU(fill(kernel, parameters, kBytes, std::byte{1}, training));
  await(record(training));
  EXPECT_CU(cu.cuMemcpyDtoHAsync(host.data(), parameters, kBytes, copies));
  EXPECT_EQ(races(), 0U);
  host_reads(host.data(), 1);
  EXPECT_EQ(races(), 1U) << "a host that reads too early";
  await(record(copies));
  host_reads(host.data(), kBytes);
  host_writes(host.data(), kBytes);
  EXPECT_EQ(races(), 1U);
}

TEST_F(FakeCudaRaces, LettingMemoryGoWhileWorkUsesItIsOne) {
  set_up(with(Schedule::lazy, 1));
  EXPECT_CU(cu.cuMemcpyDtoHAsync(host.data(), parameters, kBytes, copies));
  CUevent const copied = record(copies);
  EXPECT_CU(cu.cuMemHostUnregister(host.data()));
  EXPECT_EQ(races(), 1U) << last_race();
  EXPECT_CU(cu.cuMemFree(parameters));
  EXPECT_EQ(races(), 2U) << last_race();
  await(copied);
  EXPECT_CU(cu.cuMemFree(device_memory(kBytes)));
  EXPECT_EQ(races(), 2U);
}

// With one clock for the host, a thread that polls covers a wait that another thread should have given; with one for
// each thread it does not.
TEST_F(FakeCudaRaces, AThreadThatPollsDoesNotSpeakForAnother) {
  for (const HostClock host_clock : {HostClock::shared, HostClock::per_thread}) {
    Config config = with(Schedule::lazy, 1);
    config.host_clock = host_clock;
    set_up(config);
    EXPECT_CU(cu.cuMemcpyDtoHAsync(host.data(), parameters, kBytes, copies));
    CUevent const copied = record(copies);
    std::thread([&] {
      EXPECT_CU(cu.cuCtxPushCurrent(context));
      await(copied);
    }).join();
    EXPECT_CU(fill(kernel, parameters, 1, std::byte{1}, training));
    EXPECT_EQ(races(), host_clock == HostClock::shared ? 0U : 1U);
    host_threads_met();
    EXPECT_CU(fill(kernel, parameters, kBytes, std::byte{1}, training));
    EXPECT_EQ(races(), host_clock == HostClock::shared ? 0U : 1U);
  }
}

TEST_F(FakeCudaRaces, AnEventSaysNothingAboutWhatTheHostDidAfterIt) {
  for (const bool written_first : {true, false}) {
    Config config = with(Schedule::lazy, 1);
    config.host_clock = HostClock::per_thread;
    set_up(config);
    if (written_first) host_writes(host.data(), kBytes);
    CUevent const before = record(training);
    if (!written_first) host_writes(host.data(), kBytes);
    std::thread([&] {
      EXPECT_CU(cu.cuCtxPushCurrent(context));
      EXPECT_CU(cu.cuStreamWaitEvent(copies, before, 0));
      EXPECT_CU(cu.cuMemcpyDtoHAsync(host.data(), parameters, kBytes, copies));
    }).join();
    EXPECT_EQ(races(), written_first ? 0U : 1U);
  }
}

TEST_F(FakeCudaRaces, TheDetectorCanBeTurnedOffAndBeFatal) {
  const auto one_race = [this](RacePolicy policy) {
    Config config = with(Schedule::lazy, 1);
    config.races = policy;
    reset(config);
    cu = Driver();
    EXPECT_CU(cu.cuInit(0));
    EXPECT_CU(cu.cuCtxPushCurrent(retain(0)));
    parameters = device_memory(kBytes);
    EXPECT_CU(cu.cuMemcpyDtoDAsync(parameters, parameters + kBytes / 2, 1, stream()));
    EXPECT_CU(cu.cuMemcpyDtoDAsync(parameters, parameters + kBytes / 2, 1, stream()));
  };
  one_race(RacePolicy::off);
  EXPECT_EQ(races(), 0U);
  reset({});  // no thread is there when the death test makes a process
  EXPECT_DEATH(one_race(RacePolicy::fatal), "race: cuMemcpyDtoDAsync writes 1 bytes");
}

// The detector against one that remembers every access to every byte.
TEST(RaceDetector, AgreesWithOneThatForgetsNothing) {
  struct Known {
    Moment moment;
    bool writes;
  };
  constexpr std::uintptr_t kSpace = 40;
  constexpr Entity kEntities = 3;
  std::mt19937 dice(7);
  for (int round = 0; round < 300; ++round) {
    RaceDetector detector;
    std::vector<std::vector<Known>> bytes(kSpace);
    std::vector<VectorClock> clocks(kEntities);
    for (int act = 0; act < 60; ++act) {
      const Entity entity = static_cast<Entity>(dice() % kEntities);
      VectorClock& clock = clocks[entity];
      if (dice() % 3 == 0) clock.join(clocks[dice() % kEntities]);
      const Moment moment{entity, clock.at(entity) + 1, "act"};
      clock.raise(entity, moment.time);
      const std::uintptr_t begin = dice() % kSpace;
      const ByteRange range{begin, begin + dice() % (kSpace - begin + 1)};
      const bool writes = dice() % 2 == 0;
      bool expected = false;
      for (std::uintptr_t at = range.begin; at < range.end; ++at) {
        // What was reported once is past: the access that came after stands for it.
        for (const Known& known : bytes[at]) {
          expected = expected || ((known.writes || writes) && clock.at(known.moment.entity) < known.moment.time);
        }
        if (writes) bytes[at].clear();
        bytes[at].push_back({moment, writes});
      }
      ASSERT_EQ(detector.access(range, writes, moment, clock).has_value(), expected) << "round " << round;
    }
  }
}

}  // namespace
}  // namespace stillframe::fake_cuda
