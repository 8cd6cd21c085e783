// A CUDA device on the driver fake, and what must hold after every test on it.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "device/cuda_device.hpp"
#include "fake_cuda/fake_cuda.hpp"
#include "unit/fake_cuda/driver.hpp"

namespace stillframe::device {

using Bytes = std::vector<std::byte>;

// All handles were let go, nothing was in a race, and nobody asked the driver to block.
inline void expect_nothing_left() {
  const fake_cuda::Statistics left = fake_cuda::statistics();
  EXPECT_EQ(left.allocations, 0U);
  EXPECT_EQ(left.registrations, 0U);
  EXPECT_EQ(left.streams, 0U);
  EXPECT_EQ(left.events, 0U);
  EXPECT_EQ(left.modules, 0U);
  EXPECT_EQ(left.contexts_retained, 0U);
  for (const auto& [name, count] : left.calls) {
    EXPECT_EQ(name.find("Synchronize"), std::string::npos) << name << " was called " << count << " times";
  }
  EXPECT_EQ(fake_cuda::races(), 0U) << fake_cuda::last_race();
}

// The usual configuration but for one member.
template <typename Member>
[[nodiscard]] fake_cuda::Config with(Member fake_cuda::Config::*member, std::type_identity_t<Member> value) {
  fake_cuda::Config config;
  config.*member = std::move(value);
  return config;
}

// In place of the gather kernel's image, which only a build with nvcc has: the fake runs the host twin of whatever image.
[[nodiscard]] inline std::span<const std::byte> stand_in_image() {
  static const Bytes image = [] {
    Bytes made(16, std::byte{0x6A});
    fake_cuda::register_image(made);
    return made;
  }();
  return image;
}

class CudaTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kDrainMs = 100;

  void SetUp() override { start({}); }
  void TearDown() override {
    device_.reset();
    EXPECT_EQ(current(), nullptr) << "a context was left current on the test's thread";
    expect_nothing_left();
    fake_cuda::reset({});
  }

  // A new driver of this kind, with its device 0 open.
  void start(fake_cuda::Config config) {
    device_.reset();
    config.races = fake_cuda::RacePolicy::count;
    fake_cuda::reset(config);
    user_ = fake_cuda::Driver();
    driver_ = load();
    device_ = open(0);
  }
  [[nodiscard]] static std::shared_ptr<const CudaDriver> load() {
    auto loaded = CudaDriver::load();
    EXPECT_TRUE(loaded.ok()) << loaded.status().message();
    return loaded.ok() ? std::move(loaded).value() : nullptr;
  }
  [[nodiscard]] std::unique_ptr<Device> open(int ordinal) const {
    return taken(
        open_cuda_device(driver_, ordinal, {.drain_deadline_ms = kDrainMs, .kernel_image = stand_in_image()}));
  }
  template <typename T>
  [[nodiscard]] static T taken(Result<T> result) {
    EXPECT_TRUE(result.ok()) << result.status().message();
    return result.ok() ? std::move(result).value() : T{};
  }
  [[nodiscard]] std::unique_ptr<Stream> stream(const std::string& name = "copies") const {
    return taken(device_->create_stream(name));
  }
  [[nodiscard]] std::unique_ptr<DeviceMemory> allocate(std::size_t bytes) const {
    return taken(device_->allocate(bytes));
  }
  [[nodiscard]] std::unique_ptr<PinnedMemory> pin(std::span<std::byte> range) const {
    return taken(device_->pin(range));
  }
  [[nodiscard]] std::unique_ptr<TrainingStream> training(fake_cuda::CUstream of = nullptr) const {
    return taken(device_->training_stream(reinterpret_cast<std::uintptr_t>(of)));
  }

  // What the trainer does with the driver, outside of our door.
  [[nodiscard]] cuda::CUcontext current() const {
    cuda::CUcontext context = nullptr;
    EXPECT_CU(user_.cuCtxGetCurrent(&context));
    return context;
  }
  [[nodiscard]] cuda::CUcontext retain(int ordinal) const {
    cuda::CUcontext context = nullptr;
    EXPECT_CU(user_.cuDevicePrimaryCtxRetain(&context, ordinal));
    return context;
  }

  [[nodiscard]] static base::Deadline soon() { return base::Deadline::after_ms(60'000); }
  static void expect_ok(const Status& status) { EXPECT_TRUE(status.ok()) << status.message(); }
  static void expect_says(const Status& status, Code code, std::initializer_list<std::string_view> words) {
    EXPECT_EQ(code_name(status.code()), code_name(code)) << status.message();
    for (const std::string_view word : words) {
      EXPECT_NE(status.message().find(word), std::string::npos) << "no '" << word << "' in: " << status.message();
    }
  }

  fake_cuda::Driver user_;
  std::shared_ptr<const CudaDriver> driver_;
  std::unique_ptr<Device> device_;
};

// A context of the trainer's that is current on this thread while it lives.
class TrainersContext {
 public:
  TrainersContext(const fake_cuda::Driver& user, int ordinal) : user_(user), ordinal_(ordinal) {
    EXPECT_CU(user_.cuDevicePrimaryCtxRetain(&context_, ordinal));
    EXPECT_CU(user_.cuCtxPushCurrent(context_));
  }
  ~TrainersContext() {
    fake_cuda::CUcontext popped = nullptr;
    EXPECT_CU(user_.cuCtxPopCurrent(&popped));
    EXPECT_EQ(popped, context_);
    EXPECT_CU(user_.cuDevicePrimaryCtxRelease(ordinal_));
  }
  TrainersContext(const TrainersContext&) = delete;
  TrainersContext& operator=(const TrainersContext&) = delete;
  [[nodiscard]] fake_cuda::CUcontext get() const { return context_; }

 private:
  const fake_cuda::Driver& user_;
  const int ordinal_;
  fake_cuda::CUcontext context_ = nullptr;
};

}  // namespace stillframe::device
