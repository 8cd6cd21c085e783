// What every Device promises (src/device/device.hpp), as a suite. A program instantiates it for each device it has.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/thread.hpp"
#include "device/device.hpp"

namespace stillframe::device {

struct DeviceUnderTest {
  std::string label;
  std::function<std::unique_ptr<Device>()> make;
  // Device memory that is let go with the pointer; the suite touches it through streams only.
  std::function<std::shared_ptr<void>(std::size_t bytes)> allocate;

  friend void PrintTo(const DeviceUnderTest& device, std::ostream* out) { *out << device.label; }
};

// In each test the streams stand after the memory: a failing test then leaves no copy under way into what has gone.
class DeviceContract : public testing::TestWithParam<DeviceUnderTest> {
 protected:
  using Bytes = std::vector<std::byte>;
  static constexpr std::size_t kMiB = std::size_t{1} << 20;

  void SetUp() override { device_ = GetParam().make(); }

  [[nodiscard]] std::unique_ptr<Stream> stream(const std::string& name) const {
    auto created = device_->create_stream(name);
    EXPECT_TRUE(created.ok()) << created.status().message();
    return created.ok() ? std::move(created).value() : nullptr;
  }
  [[nodiscard]] std::shared_ptr<std::byte> allocate(std::size_t bytes) const {
    return std::static_pointer_cast<std::byte>(GetParam().allocate(bytes));
  }
  [[nodiscard]] static base::Deadline soon() { return base::Deadline::after_ms(60'000); }
  [[nodiscard]] static base::Deadline now() { return base::Deadline::after_ms(0); }

  [[nodiscard]] static Bytes pattern(std::size_t bytes, unsigned seed) {
    Bytes data(bytes);
    for (std::size_t i = 0; i < bytes; ++i) data[i] = static_cast<std::byte>((i * 131 + i / 251 + seed * 17) & 0xffU);
    return data;
  }
  [[nodiscard]] static std::shared_ptr<Event> record(Stream& stream) {
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
  expect_ok(copies->copy_to_device(memory.get(), source, soon()));
  expect_ok(copies->copy_to_host(back, memory.get(), soon()));
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
    expect_ok(copies->copy_to_device(memory.get(), sources[round], soon()));
    expect_ok(copies->copy_to_host(seen[round], memory.get(), soon()));
  }
  expect_ok(record(*copies)->wait(soon()));
  for (unsigned round = 0; round < kRounds; ++round) EXPECT_EQ(seen[round], sources[round]) << "round " << round;
}

TEST_P(DeviceContract, AnEventIsReachedOnlyAfterTheCopiesBeforeIt) {
  constexpr std::size_t kCopies = 16;
  const Bytes source = pattern(4 * kMiB, 3);
  const auto memory = allocate(source.size());
  std::vector<Bytes> targets(kCopies, Bytes(source.size()));
  const auto copies = stream("events");
  expect_ok(copies->copy_to_device(memory.get(), source, soon()));
  std::vector<std::shared_ptr<Event>> events;
  for (Bytes& target : targets) {
    expect_ok(copies->copy_to_host(target, memory.get(), soon()));
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
  const auto memory = allocate(source.size());
  const auto copies = stream("deadline");
  expect_ok(copies->copy_to_device(memory.get(), source, soon()));
  expect_ok(copies->copy_to_host(target, memory.get(), soon()));
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
  const auto producer = stream("producer");
  const auto relay = stream("relay");
  const auto consumer = stream("consumer");

  expect_ok(producer->copy_to_device(memory.get(), source, soon()));
  expect_ok(relay->wait(record(*producer)));
  expect_ok(relay->copy_to_host(middle, memory.get(), soon()));
  expect_ok(relay->copy_to_device(hop.get(), middle, soon()));
  expect_ok(consumer->wait(record(*relay)));
  expect_ok(consumer->copy_to_host(target, hop.get(), soon()));
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
  const Bytes large = pattern(64 * kMiB, 6);
  const auto large_memory = allocate(large.size());
  const Bytes source = pattern(4096, 7);
  const auto memory = allocate(source.size());
  Bytes target(source.size());
  Bytes later_target(source.size());
  const auto slow = stream("slow");
  const auto copies = stream("full");
  expect_ok(slow->copy_to_device(large_memory.get(), large, soon()));
  expect_ok(copies->wait(record(*slow)));
  expect_ok(copies->copy_to_device(memory.get(), source, soon()));
  Status refused;
  for (std::size_t i = 0; i < kMostTries && refused.ok(); ++i) {
    refused = copies->copy_to_host(target, memory.get(), now());
  }
  ASSERT_EQ(refused.code(), Code::deadline) << "the queue has no bound: " << refused.message();
  const auto event = record(*copies);
  expect_ok(copies->copy_to_host(later_target, memory.get(), soon()));
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
  auto copies = stream("short-lived");
  expect_ok(copies->copy_to_device(memory.get(), source, soon()));
  for (Bytes& target : targets) expect_ok(copies->copy_to_host(target, memory.get(), soon()));
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
  std::vector<std::shared_ptr<std::byte>> memory;
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
          expect_ok(copies->copy_to_device(memory[i].get(), sources[i], soon()));
          expect_ok(copies->copy_to_host(targets[i], memory[i].get(), soon()));
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
    expect_ok(copies->copy_to_device(memory.get(), source, soon()));
    expect_ok(copies->copy_to_host(target, memory.get(), soon()));
    expect_ok(record(*copies)->wait(soon()));
  }
  EXPECT_EQ(target, source);
  auto again = device_->pin(target);
  EXPECT_TRUE(again.ok()) << "pinning a second time, after the first pin went: " << again.status().message();
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
