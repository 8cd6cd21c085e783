// What every device promises about lists of copies (src/device/device.hpp), as a part of the device's contract.
#pragma once

#include <algorithm>
#include <limits>
#include <random>

#include "contract/device_contract.hpp"

namespace stillframe::device {

class CopyListContract : public DeviceContract {
 protected:
  // What stands between the targets, and must still stand there afterwards.
  static constexpr std::byte kUntouched{0xE7};

  void SetUp() override {
    DeviceContract::SetUp();
    if (device_ == nullptr) return;
    const auto made = device_->make_copy_list(1);
    if (made.status().code() == Code::unsupported) GTEST_SKIP() << made.status().message();
  }

  [[nodiscard]] std::unique_ptr<CopyList> list(std::size_t most_copies) const {
    auto made = device_->make_copy_list(most_copies);
    EXPECT_TRUE(made.ok()) << made.status().message();
    return made.ok() ? std::move(made).value() : nullptr;
  }

  struct Range {
    std::size_t to = 0;
    std::size_t from = 0;
    std::size_t bytes = 0;
  };
  // Of every size and alignment, with holes between the targets, which fill no more than `room` bytes.
  [[nodiscard]] static std::vector<Range> any_ranges(unsigned seed, std::size_t count, std::size_t room) {
    constexpr std::size_t kLimits[] = {1, 2, 9, 17, 64, 511, 513, 5'000, 40'000};
    std::mt19937 dice(seed);
    std::vector<Range> ranges;
    std::size_t at = 0;
    while (ranges.size() < count) {
      const std::size_t bytes = dice() % (kLimits[dice() % std::size(kLimits)] + 1);
      const std::size_t hole = dice() % 40;
      if (at + hole + bytes > room) break;
      ranges.push_back({at + hole, dice() % (room - bytes), bytes});
      at += hole + bytes;
    }
    return ranges;
  }
  [[nodiscard]] static std::vector<DeviceCopy> on_device(const std::vector<Range>& ranges, const DeviceMemory& to,
                                                         const DeviceMemory& from) {
    std::vector<DeviceCopy> copies;
    for (const Range& range : ranges) {
      copies.push_back({static_cast<std::byte*>(to.data()) + range.to,
                        static_cast<const std::byte*>(from.data()) + range.from, range.bytes});
    }
    return copies;
  }
  static void copy_in(Bytes& expected, const Bytes& source, std::span<const Range> ranges) {
    for (const Range& range : ranges) {
      std::copy_n(source.begin() + static_cast<std::ptrdiff_t>(range.from), range.bytes,
                  expected.begin() + static_cast<std::ptrdiff_t>(range.to));
    }
  }
  [[nodiscard]] static Bytes read(Stream& stream, const DeviceMemory& memory) {
    Bytes bytes(memory.bytes());
    expect_ok(stream.copy_to_host(bytes, memory.data(), soon()));
    expect_ok(record(stream)->wait(soon()));
    return bytes;
  }
};

TEST_P(CopyListContract, RangesOfEverySizeAndAlignmentArriveAndNothingElseIsTouched) {
  const Bytes source = pattern(kMiB, 21);
  const auto from = allocate(source.size());
  const auto to = allocate(source.size());
  for (unsigned seed = 1; seed <= 8; ++seed) {
    const std::vector<Range> ranges = any_ranges(seed, 3000, source.size());
    const auto copies = list(ranges.size());
    const Bytes untouched(source.size(), kUntouched);
    Bytes expected = untouched;
    const auto work = stream("listed");
    expect_ok(work->copy_to_device(from->data(), source, soon()));
    expect_ok(work->copy_to_device(to->data(), untouched, soon()));
    expect_ok(work->write_list(*copies, on_device(ranges, *to, *from), soon()));
    expect_ok(work->perform(*copies, 0, ranges.size(), soon()));
    copy_in(expected, source, ranges);
    ASSERT_EQ(read(*work, *to), expected) << "seed " << seed;
  }
}

TEST_P(CopyListContract, ALargeRangeAmongThousandsOfSmallOnesArrives) {
  constexpr std::size_t kSmall = 10'000;
  const Bytes source = pattern(12 * kMiB + 3, 22);
  const auto from = allocate(source.size());
  const auto to = allocate(source.size());
  std::vector<Range> ranges;
  for (std::size_t i = 0; i < kSmall; ++i) ranges.push_back({i * 12, source.size() - (i + 1) * 9, 8});
  ranges.insert(ranges.begin() + kSmall / 2, {kMiB, 5, 11 * kMiB});
  const Bytes untouched(source.size(), kUntouched);
  Bytes expected = untouched;
  const auto copies = list(kSmall + 1);
  const auto work = stream("listed");
  expect_ok(work->copy_to_device(from->data(), source, soon()));
  expect_ok(work->copy_to_device(to->data(), untouched, soon()));
  expect_ok(work->write_list(*copies, on_device(ranges, *to, *from), soon()));
  expect_ok(work->perform(*copies, 0, ranges.size(), soon()));
  copy_in(expected, source, ranges);
  EXPECT_EQ(read(*work, *to), expected);
}

TEST_P(CopyListContract, PartsOfAListArePerformedByThemselves) {
  const Bytes source = pattern(kMiB, 23);
  const auto from = allocate(source.size());
  const auto to = allocate(source.size());
  const std::vector<Range> ranges = any_ranges(23, 500, source.size());
  ASSERT_GT(ranges.size(), 100U);
  const auto copies = list(ranges.size());
  const Bytes untouched(source.size(), kUntouched);
  Bytes expected = untouched;
  const auto work = stream("parts");
  expect_ok(work->copy_to_device(from->data(), source, soon()));
  expect_ok(work->copy_to_device(to->data(), untouched, soon()));
  expect_ok(work->write_list(*copies, on_device(ranges, *to, *from), soon()));
  expect_ok(work->perform(*copies, 7, 31, soon()));
  expect_ok(work->perform(*copies, 60, 1, soon()));
  expect_ok(work->perform(*copies, 3, 0, soon()));
  copy_in(expected, source, std::span(ranges).subspan(7, 31));
  copy_in(expected, source, std::span(ranges).subspan(60, 1));
  EXPECT_EQ(read(*work, *to), expected);
}

TEST_P(CopyListContract, AListThatIsWrittenAnewDisturbsNothingThatWasPerformedBefore) {
  constexpr unsigned kRounds = 20;
  constexpr std::size_t kSlot = 64 * 1024;
  const Bytes source = pattern(kSlot, 24);
  const auto from = allocate(kSlot);
  const auto to = allocate(kSlot * kRounds);
  const auto copies = list(400);
  const Bytes untouched(kSlot * kRounds, kUntouched);
  Bytes expected = untouched;
  const auto work = stream("anew");
  expect_ok(work->copy_to_device(from->data(), source, soon()));
  expect_ok(work->copy_to_device(to->data(), untouched, soon()));
  for (unsigned round = 0; round < kRounds; ++round) {
    std::vector<Range> ranges = any_ranges(100 + round, 400 - round, kSlot);
    for (Range& range : ranges) range.to += round * kSlot;
    expect_ok(work->write_list(*copies, on_device(ranges, *to, *from), soon()));
    expect_ok(work->perform(*copies, 0, ranges.size(), soon()));
    copy_in(expected, source, ranges);
  }
  EXPECT_EQ(read(*work, *to), expected);
}

TEST_P(CopyListContract, WorkOfTheStreamComesBeforeAndAfterTheListedCopiesInTheOrderGiven) {
  constexpr unsigned kRounds = 16;
  const auto from = allocate(4096);
  const auto to = allocate(4096);
  const auto copies = list(2);
  std::vector<Bytes> sources;
  std::vector<Bytes> seen(kRounds, Bytes(4096));
  for (unsigned round = 0; round < kRounds; ++round) sources.push_back(pattern(4096, round));
  const auto work = stream("in order");
  expect_ok(work->write_list(*copies, on_device({{0, 0, 4000}, {4000, 4000, 96}}, *to, *from), soon()));
  for (unsigned round = 0; round < kRounds; ++round) {
    expect_ok(work->copy_to_device(from->data(), sources[round], soon()));
    expect_ok(work->perform(*copies, 0, 2, soon()));
    expect_ok(work->copy_to_host(seen[round], to->data(), soon()));
  }
  expect_ok(record(*work)->wait(soon()));
  for (unsigned round = 0; round < kRounds; ++round) EXPECT_EQ(seen[round], sources[round]) << "round " << round;
}

TEST_P(CopyListContract, WhatAListCannotHoldIsRefused) {
  class ForeignList final : public CopyList {
   public:
    [[nodiscard]] std::size_t most_copies() const noexcept override { return 1; }
  };
  const auto memory = allocate(64);
  const std::vector<DeviceCopy> two = on_device({{0, 32, 8}, {8, 40, 8}}, *memory, *memory);
  const std::vector<DeviceCopy> null{{memory->data(), nullptr, 8}};
  const std::vector<DeviceCopy> nothing{{nullptr, nullptr, 0}};
  const auto copies = list(1);
  const auto work = stream("refusing");
  ForeignList foreign;
  EXPECT_EQ(copies->most_copies(), 1U);
  EXPECT_EQ(work->write_list(*copies, two, soon()).code(), Code::invalid_argument);
  EXPECT_EQ(work->write_list(*copies, null, soon()).code(), Code::invalid_argument);
  EXPECT_EQ(work->write_list(foreign, {}, soon()).code(), Code::invalid_argument);
  EXPECT_EQ(work->perform(foreign, 0, 1, soon()).code(), Code::invalid_argument);
  EXPECT_EQ(work->perform(*copies, 0, 1, soon()).code(), Code::invalid_argument) << "it holds nothing yet";
  expect_ok(work->write_list(*copies, nothing, soon()));
  expect_ok(work->perform(*copies, 0, 1, soon()));
  EXPECT_EQ(work->perform(*copies, 1, 1, soon()).code(), Code::invalid_argument);
  EXPECT_EQ(work->perform(*copies, 1, std::numeric_limits<std::size_t>::max(), soon()).code(), Code::invalid_argument);
  EXPECT_EQ(device_->make_copy_list(0).status().code(), Code::invalid_argument);
  EXPECT_EQ(device_->make_copy_list(kMostListedCopies + 1).status().code(), Code::invalid_argument);
}

}  // namespace stillframe::device
