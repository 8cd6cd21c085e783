// What every Device promises (src/device/device.hpp), as a suite. A program instantiates it for each device it has.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/thread.hpp"
#include "device/device.hpp"

namespace stillframe::device {

struct DeviceUnderTest {
  std::string label;
  std::function<Result<std::unique_ptr<Device>>()> make;
  // Why there is no such device here, and every test is skipped; empty when there is one.
  std::string missing;
  // After the device and all of it are gone.
  std::function<void()> check_left;
  // Copies of 64 MiB to the device that take longer than a queue takes to be filled.
  std::size_t slow_copies = 1;
  // Makes the next copy to the device stand until let_go(), where the device can be told to.
  std::function<void()> hold_next_copy;
  std::function<void()> let_go;

  friend void PrintTo(const DeviceUnderTest& device, std::ostream* out) { *out << device.label; }
};

// In each test the streams stand after the memory: a failing test then leaves no copy under way into what has gone.
class DeviceContract : public testing::TestWithParam<DeviceUnderTest> {
 protected:
  using Bytes = std::vector<std::byte>;
  static constexpr std::size_t kMiB = std::size_t{1} << 20;

  void SetUp() override {
    if (!GetParam().missing.empty()) GTEST_SKIP() << GetParam().missing;
    auto made = GetParam().make();
    ASSERT_TRUE(made.ok()) << made.status().message();
    device_ = std::move(made).value();
  }
  void TearDown() override {
    device_.reset();
    if (GetParam().missing.empty() && GetParam().check_left) GetParam().check_left();
  }

  [[nodiscard]] std::unique_ptr<Stream> stream(const std::string& name) const {
    auto created = device_->create_stream(name);
    EXPECT_TRUE(created.ok()) << created.status().message();
    return created.ok() ? std::move(created).value() : nullptr;
  }
  // The suite touches it through streams only.
  [[nodiscard]] std::unique_ptr<DeviceMemory> allocate(std::size_t bytes) const {
    auto memory = device_->allocate(bytes);
    EXPECT_TRUE(memory.ok()) << memory.status().message();
    return memory.ok() ? std::move(memory).value() : nullptr;
  }
  // Without a pin a copy may be done before the call returns. Bytes stand before their pin, the pin before the streams.
  template <typename Range>
  [[nodiscard]] std::unique_ptr<PinnedMemory> pin(Range& range) const {
    auto pinned = device_->pin(std::as_writable_bytes(std::span(range)));
    EXPECT_TRUE(pinned.ok()) << pinned.status().message();
    return pinned.ok() ? std::move(pinned).value() : nullptr;
  }
  [[nodiscard]] std::unique_ptr<TrainingStream> training_stream() const {
    auto made = device_->training_stream(0);
    EXPECT_TRUE(made.ok()) << made.status().message();
    return made.ok() ? std::move(made).value() : nullptr;
  }
  [[nodiscard]] static base::Deadline soon() { return base::Deadline::after_ms(60'000); }
  [[nodiscard]] static base::Deadline now() { return base::Deadline::after_ms(0); }

  [[nodiscard]] static Bytes pattern(std::size_t bytes, unsigned seed) {
    Bytes data(bytes);
    for (std::size_t i = 0; i < bytes; ++i)
      data[i] = static_cast<std::byte>((i * 131 + i / 251 + std::size_t{seed} * 17) & 0xffU);
    return data;
  }
  template <typename AnyStream>
  [[nodiscard]] static std::shared_ptr<Event> record(AnyStream& stream) {
    auto event = stream.record();
    EXPECT_TRUE(event.ok()) << event.status().message();
    return event.ok() ? std::move(event).value() : nullptr;
  }
  static void expect_ok(const Status& status) { EXPECT_TRUE(status.ok()) << status.message(); }

  std::unique_ptr<Device> device_;
};

TEST_P(DeviceContract, BytesGoToTheDeviceAndBackUnchanged) {
  const Bytes source = pattern(3 * kMiB + 7, 1);
  Bytes back(source.size());
  const auto memory = allocate(source.size());
  const auto copies = stream("round trip");
  expect_ok(copies->copy_to_device(memory->data(), source, soon()));
  expect_ok(copies->copy_to_host(back, memory->data(), soon()));
  expect_ok(record(*copies)->wait(soon()));
  EXPECT_EQ(back, source);
}

TEST_P(DeviceContract, WorkOfOneStreamHappensInTheOrderGiven) {
  constexpr unsigned kRounds = 32;
  const auto memory = allocate(kMiB);
  std::vector<Bytes> sources;
  std::vector<Bytes> seen(kRounds, Bytes(kMiB));
  const auto copies = stream("in order");
  for (unsigned round = 0; round < kRounds; ++round) sources.push_back(pattern(kMiB, round));
  for (unsigned round = 0; round < kRounds; ++round) {
    expect_ok(copies->copy_to_device(memory->data(), sources[round], soon()));
    expect_ok(copies->copy_to_host(seen[round], memory->data(), soon()));
  }
  expect_ok(record(*copies)->wait(soon()));
  for (unsigned round = 0; round < kRounds; ++round) EXPECT_EQ(seen[round], sources[round]) << "round " << round;
}

TEST_P(DeviceContract, AnEventIsReachedOnlyAfterTheCopiesBeforeIt) {
  constexpr std::size_t kCopies = 16;
  const Bytes source = pattern(4 * kMiB, 3);
  const auto memory = allocate(source.size());
  std::vector<Bytes> targets(kCopies, Bytes(source.size()));
  std::vector<std::unique_ptr<PinnedMemory>> pins;
  pins.reserve(kCopies);
  for (Bytes& target : targets) pins.push_back(pin(target));
  const auto copies = stream("events");
  expect_ok(copies->copy_to_device(memory->data(), source, soon()));
  std::vector<std::shared_ptr<Event>> events;
  for (Bytes& target : targets) {
    expect_ok(copies->copy_to_host(target, memory->data(), soon()));
    events.push_back(record(*copies));
  }
  const base::Deadline deadline = soon();
  for (std::size_t i = 0; i < kCopies; ++i) {
    while (!events[i]->reached()) ASSERT_FALSE(deadline.expired()) << "event " << i << " is never reached";
    ASSERT_EQ(targets[i].back(), source.back()) << "event " << i << " was reached before its copy was done";
    ASSERT_EQ(targets[i], source) << "event " << i;
  }
}

TEST_P(DeviceContract, WaitingForAnEventEndsAtTheDeadlineAndTheWorkGoesOn) {
  const Bytes source = pattern(64 * kMiB, 4);
  Bytes target(source.size());
  const auto pinned = pin(target);
  const auto memory = allocate(source.size());
  const auto copies = stream("deadline");
  expect_ok(copies->copy_to_device(memory->data(), source, soon()));
  expect_ok(copies->copy_to_host(target, memory->data(), soon()));
  const auto event = record(*copies);
  EXPECT_EQ(event->wait(now()).code(), Code::deadline);
  expect_ok(event->wait(soon()));
  EXPECT_TRUE(event->reached());
  expect_ok(event->wait(now()));
  EXPECT_EQ(target, source);
}

TEST_P(DeviceContract, AnEventOfAStreamWithoutWorkIsReached) {
  const auto copies = stream("idle");
  const auto event = record(*copies);
  expect_ok(event->wait(soon()));
  EXPECT_TRUE(event->reached());
}

TEST_P(DeviceContract, AStreamThatWaitsForAnEventOfAnotherSeesItsCopies) {
  const Bytes source = pattern(64 * kMiB, 5);
  const auto memory = allocate(source.size());
  const auto hop = allocate(source.size());
  Bytes middle(source.size());
  Bytes target(source.size());
  const auto pinned_middle = pin(middle);
  const auto pinned_target = pin(target);
  const auto producer = stream("producer");
  const auto relay = stream("relay");
  const auto consumer = stream("consumer");

  expect_ok(producer->copy_to_device(memory->data(), source, soon()));
  expect_ok(relay->wait(record(*producer)));
  expect_ok(relay->copy_to_host(middle, memory->data(), soon()));
  expect_ok(relay->copy_to_device(hop->data(), middle, soon()));
  expect_ok(consumer->wait(record(*relay)));
  expect_ok(consumer->copy_to_host(target, hop->data(), soon()));
  expect_ok(record(*consumer)->wait(soon()));
  EXPECT_EQ(target, source);
}

TEST_P(DeviceContract, WaitingForAnEventLongReachedHoldsNothingUp) {
  const auto first = stream("first");
  const auto event = record(*first);
  expect_ok(event->wait(soon()));
  const auto second = stream("second");
  for (int i = 0; i < 5000; ++i) expect_ok(second->wait(event));
  expect_ok(record(*second)->wait(soon()));
}

TEST_P(DeviceContract, AFullQueueRefusesACopyAtTheDeadlineAndFinishesTheRest) {
  constexpr std::size_t kMostTries = 100'000;
  Bytes large = pattern(64 * kMiB, 6);
  const auto pinned_large = pin(large);
  const auto large_memory = allocate(large.size());
  const Bytes source = pattern(4096, 7);
  const auto memory = allocate(source.size());
  Bytes target(source.size());
  Bytes later_target(source.size());
  const auto pinned_target = pin(target);
  const auto pinned_later_target = pin(later_target);
  const auto slow = stream("slow");
  const auto copies = stream("full");
  if (GetParam().hold_next_copy) GetParam().hold_next_copy();
  for (std::size_t i = 0; i < GetParam().slow_copies; ++i) {
    expect_ok(slow->copy_to_device(large_memory->data(), large, soon()));
  }
  expect_ok(copies->wait(record(*slow)));
  expect_ok(copies->copy_to_device(memory->data(), source, soon()));
  Status refused;
  for (std::size_t i = 0; i < kMostTries && refused.ok(); ++i) {
    refused = copies->copy_to_host(target, memory->data(), now());
  }
  if (GetParam().let_go) GetParam().let_go();
  ASSERT_EQ(refused.code(), Code::deadline) << "the queue has no bound: " << refused.message();
  const auto event = record(*copies);
  expect_ok(copies->copy_to_host(later_target, memory->data(), soon()));
  expect_ok(event->wait(soon()));
  EXPECT_EQ(target, source);
  expect_ok(record(*copies)->wait(soon()));
  EXPECT_EQ(later_target, source);
}

TEST_P(DeviceContract, DestroyingAStreamFinishesItsWorkAndItsEventsLiveOn) {
  constexpr std::size_t kCopies = 32;
  const Bytes source = pattern(2 * kMiB, 7);
  const auto memory = allocate(source.size());
  std::vector<Bytes> targets(kCopies, Bytes(source.size()));
  std::vector<std::unique_ptr<PinnedMemory>> pins;
  pins.reserve(kCopies);
  for (Bytes& target : targets) pins.push_back(pin(target));
  auto copies = stream("short-lived");
  expect_ok(copies->copy_to_device(memory->data(), source, soon()));
  for (Bytes& target : targets) expect_ok(copies->copy_to_host(target, memory->data(), soon()));
  const auto event = record(*copies);
  copies.reset();
  EXPECT_TRUE(event->reached());
  expect_ok(event->wait(now()));
  for (const Bytes& target : targets) EXPECT_EQ(target, source);
}

TEST_P(DeviceContract, SeveralThreadsMayGiveWorkToOneStream) {
  constexpr std::size_t kThreads = 4;
  constexpr std::size_t kRounds = 50;
  std::vector<Bytes> sources;
  std::vector<Bytes> targets(kThreads, Bytes(kMiB / 16));
  std::vector<std::unique_ptr<DeviceMemory>> memory;
  const auto copies = stream("shared");
  for (std::size_t i = 0; i < kThreads; ++i) {
    sources.push_back(pattern(kMiB / 16, static_cast<unsigned>(i)));
    memory.push_back(allocate(kMiB / 16));
  }
  {
    std::vector<base::Thread> threads;
    for (std::size_t i = 0; i < kThreads; ++i) {
      auto thread = base::Thread::start("giver", [&, i] {
        for (std::size_t round = 0; round < kRounds; ++round) {
          expect_ok(copies->copy_to_device(memory[i]->data(), sources[i], soon()));
          expect_ok(copies->copy_to_host(targets[i], memory[i]->data(), soon()));
          expect_ok(record(*copies)->wait(soon()));
        }
      });
      ASSERT_TRUE(thread.ok()) << thread.status().message();
      threads.push_back(std::move(thread).value());
    }
  }
  EXPECT_EQ(targets, sources);
}

TEST_P(DeviceContract, CopiesIntoPinnedMemoryWorkAndTheMemoryOutlivesItsPin) {
  const Bytes source = pattern(kMiB, 8);
  Bytes target(source.size());
  const auto memory = allocate(source.size());
  const auto copies = stream("pinned");
  {
    auto pinned = device_->pin(target);
    ASSERT_TRUE(pinned.ok()) << pinned.status().message();
    expect_ok(copies->copy_to_device(memory->data(), source, soon()));
    expect_ok(copies->copy_to_host(target, memory->data(), soon()));
    expect_ok(record(*copies)->wait(soon()));
  }
  EXPECT_EQ(target, source);
  auto again = device_->pin(target);
  EXPECT_TRUE(again.ok()) << "pinning a second time, after the first pin went: " << again.status().message();
}

TEST_P(DeviceContract, ManyCopiesGivenAtOnceAllArrive) {
  constexpr std::size_t kCopies = 5000;
  constexpr std::size_t kMostBytes = 200;
  const Bytes source = pattern(kCopies * kMostBytes, 9);
  Bytes target(source.size());
  Bytes expected(source.size());
  std::vector<HostCopy> copies;
  const auto pinned = pin(target);
  const auto memory = allocate(source.size());
  for (std::size_t i = 0; i < kCopies; ++i) {
    const std::size_t offset = i * kMostBytes;
    const std::size_t bytes = i % kMostBytes;  // every 200th copies nothing
    copies.push_back({std::span(target).subspan(offset, bytes), static_cast<std::byte*>(memory->data()) + offset});
    std::memcpy(expected.data() + offset, source.data() + offset, bytes);
  }
  const auto work = stream("many");
  expect_ok(work->copy_to_device(memory->data(), source, soon()));
  expect_ok(work->copy_to_host(copies, soon()));
  expect_ok(record(*work)->wait(soon()));
  EXPECT_EQ(target, expected);
}

TEST_P(DeviceContract, OneNullAddressAmongManyCopiesRefusesThemAll) {
  Bytes bytes(64, std::byte{1});
  const auto memory = allocate(bytes.size());
  const HostCopy copies[] = {{bytes, memory->data()}, {bytes, nullptr}};
  const auto work = stream("many");
  EXPECT_EQ(work->copy_to_host(copies, soon()).code(), Code::invalid_argument);
  expect_ok(record(*work)->wait(soon()));
  EXPECT_EQ(bytes, Bytes(64, std::byte{1}));
  expect_ok(work->copy_to_host(std::span<const HostCopy>(), soon()));
}

TEST_P(DeviceContract, AllocatedMemoryHasTheSizeAskedForAndNothingIsRefused) {
  const auto memory = allocate(12'345);
  EXPECT_EQ(memory->bytes(), 12'345U);
  EXPECT_NE(memory->data(), nullptr);
  EXPECT_EQ(device_->allocate(0).status().code(), Code::invalid_argument);
}

TEST_P(DeviceContract, AnEventOfTheTrainingStreamIsReachedAndCopiesMayWaitForIt) {
  const Bytes source = pattern(kMiB, 10);
  Bytes target(source.size());
  const auto memory = allocate(source.size());
  const auto training = training_stream();
  const auto copies = stream("behind training");
  const auto produced = record(*training);
  expect_ok(copies->wait(produced));
  expect_ok(copies->copy_to_device(memory->data(), source, soon()));
  expect_ok(copies->copy_to_host(target, memory->data(), soon()));
  expect_ok(record(*copies)->wait(soon()));
  EXPECT_TRUE(produced->reached());
  EXPECT_EQ(target, source);
}

TEST_P(DeviceContract, WorkOfTheTrainingStreamAfterAWaitComesAfterTheCopies) {
  const Bytes source = pattern(32 * kMiB, 11);
  Bytes target(source.size());
  const auto pinned = pin(target);
  const auto memory = allocate(source.size());
  const auto training = training_stream();
  const auto copies = stream("before training");
  expect_ok(copies->copy_to_device(memory->data(), source, soon()));
  expect_ok(copies->copy_to_host(target, memory->data(), soon()));
  const auto copied = record(*copies);
  expect_ok(training->wait(copied, soon()));
  expect_ok(record(*training)->wait(soon()));
  EXPECT_TRUE(copied->reached());
  EXPECT_EQ(target, source);
}

TEST_P(DeviceContract, NoGraphIsBeingCapturedFromATrainingStreamThatComputes) {
  const auto capturing = training_stream()->capturing();
  ASSERT_TRUE(capturing.ok()) << capturing.status().message();
  EXPECT_FALSE(*capturing);
}

TEST_P(DeviceContract, AnEventOfAnotherKindOfDeviceIsRefused) {
  class ForeignEvent final : public Event {
   public:
    [[nodiscard]] bool reached() const noexcept override { return true; }
    [[nodiscard]] Status wait(const base::Deadline& /*deadline*/) const override { return {}; }
  };
  EXPECT_EQ(stream("copies")->wait(std::make_shared<ForeignEvent>()).code(), Code::invalid_argument);
  EXPECT_EQ(training_stream()->wait(std::make_shared<ForeignEvent>(), soon()).code(), Code::invalid_argument);
  EXPECT_EQ(training_stream()->wait(nullptr, soon()).code(), Code::invalid_argument);
}

TEST_P(DeviceContract, ACopyOfNothingIsAllowed) {
  const auto copies = stream("empty");
  expect_ok(copies->copy_to_host({}, nullptr, soon()));
  expect_ok(copies->copy_to_device(nullptr, {}, soon()));
  expect_ok(record(*copies)->wait(soon()));
}

TEST_P(DeviceContract, ANullAddressOrEventIsRefused) {
  const auto copies = stream("null");
  Bytes bytes(16);
  EXPECT_EQ(copies->copy_to_host(bytes, nullptr, soon()).code(), Code::invalid_argument);
  EXPECT_EQ(copies->copy_to_device(nullptr, bytes, soon()).code(), Code::invalid_argument);
  EXPECT_EQ(copies->wait(nullptr).code(), Code::invalid_argument);
}

}  // namespace stillframe::device
