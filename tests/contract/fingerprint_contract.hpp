// What every device promises about fingerprints (src/device/device.hpp), as a part of the device's contract.
#pragma once

#include <random>

#include "contract/device_contract.hpp"

namespace stillframe::device {

class FingerprintContract : public DeviceContract {
 protected:
  void SetUp() override {
    DeviceContract::SetUp();
    if (device_ == nullptr) return;
    const auto made = device_->make_fingerprints(1);
    if (made.status().code() == Code::unsupported) GTEST_SKIP() << made.status().message();
  }

  [[nodiscard]] std::unique_ptr<Fingerprints> fingerprints(std::size_t most_ranges) const {
    auto made = device_->make_fingerprints(most_ranges);
    EXPECT_TRUE(made.ok()) << made.status().message();
    return made.ok() ? std::move(made).value() : nullptr;
  }

  struct Range {
    std::size_t from = 0;
    std::size_t bytes = 0;
  };
  // Of every size and alignment; they may overlap.
  [[nodiscard]] static std::vector<Range> any_ranges(unsigned seed, std::size_t count, std::size_t room) {
    constexpr std::size_t kLimits[] = {1, 2, 9, 17, 64, 511, 513, 5'000, 40'000};
    std::mt19937 dice(seed);
    std::vector<Range> ranges;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t bytes = dice() % (kLimits[dice() % std::size(kLimits)] + 1);
      ranges.push_back({dice() % (room - bytes), bytes});
    }
    return ranges;
  }
  [[nodiscard]] static std::vector<DeviceRange> on_device(const std::vector<Range>& ranges,
                                                          const DeviceMemory& memory) {
    std::vector<DeviceRange> found;
    for (const Range& range : ranges) {
      found.push_back({static_cast<const std::byte*>(memory.data()) + range.from, range.bytes});
    }
    return found;
  }
  // As cuda/fingerprint_body.hpp describes it, a byte at a time.
  [[nodiscard]] static std::uint64_t described(std::span<const std::byte> bytes) {
    std::uint64_t sum = 0;
    for (std::size_t at = 0; at < bytes.size(); at += 8) {
      std::uint64_t word = 0;
      for (std::size_t i = at; i < std::min(at + 8, bytes.size()); ++i) {
        word |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * (i - at));
      }
      word += (at / 8 + 1) * 0x9E3779B97F4A7C15U;
      word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9U;
      word = (word ^ (word >> 27)) * 0x94D049BB133111EBU;
      sum += word ^ (word >> 31);
    }
    return sum;
  }
  static void expect_values(const Fingerprints& prints, const std::vector<Range>& ranges, const Bytes& source) {
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      const auto bytes = std::span(source).subspan(ranges[i].from, ranges[i].bytes);
      ASSERT_EQ(prints.value(i), described(bytes)) << ranges[i].bytes << " bytes at " << ranges[i].from;
      ASSERT_EQ(fingerprint_of(bytes), described(bytes));
    }
  }
};

TEST_P(FingerprintContract, RangesOfEverySizeAndAlignmentHaveTheFingerprintThatIsDescribed) {
  const Bytes source = pattern(kMiB, 31);
  const auto memory = allocate(source.size());
  const auto prints = fingerprints(2000);
  const auto work = stream("prints");
  expect_ok(work->copy_to_device(memory->data(), source, soon()));
  for (unsigned seed = 1; seed <= 4; ++seed) {
    const std::vector<Range> ranges = any_ranges(seed, 2000, source.size());
    expect_ok(work->take_fingerprints(*prints, on_device(ranges, *memory), soon()));
    expect_ok(work->fetch_fingerprints(*prints, soon()));
    expect_ok(record(*work)->wait(soon()));
    expect_values(*prints, ranges, source);
  }
}

TEST_P(FingerprintContract, ALargeRangeAmongManySmallAndEmptyOnes) {
  const Bytes source = pattern(12 * kMiB + 3, 32);
  const auto memory = allocate(source.size());
  std::vector<Range> ranges;
  for (std::size_t i = 0; i < 3000; ++i) ranges.push_back({i * 7, i % 3 == 0 ? 0 : i % 20});
  ranges.insert(ranges.begin() + 1500, {5, 11 * kMiB + 1});
  ranges.push_back({0, 0});
  const auto prints = fingerprints(ranges.size());
  const auto work = stream("large");
  expect_ok(work->copy_to_device(memory->data(), source, soon()));
  expect_ok(work->take_fingerprints(*prints, on_device(ranges, *memory), soon()));
  expect_ok(work->fetch_fingerprints(*prints, soon()));
  expect_ok(record(*work)->wait(soon()));
  expect_values(*prints, ranges, source);
}

TEST_P(FingerprintContract, TheyAreOfTheBytesAsTheyStandAtTheirPlaceInTheStream) {
  constexpr unsigned kRounds = 12;
  constexpr std::size_t kBytes = 70'000;
  const auto memory = allocate(kBytes);
  const auto prints = fingerprints(2);
  std::vector<Bytes> sources;
  for (unsigned round = 0; round <= kRounds; ++round) sources.push_back(pattern(kBytes, round));
  const std::vector<Range> ranges{{0, 33'000}, {33'000, 37'000}};
  const auto work = stream("in order");
  expect_ok(work->copy_to_device(memory->data(), sources[0], soon()));
  for (unsigned round = 0; round < kRounds; ++round) {
    expect_ok(work->take_fingerprints(*prints, on_device(ranges, *memory), soon()));
    expect_ok(work->copy_to_device(memory->data(), sources[round + 1], soon()));
    expect_ok(work->fetch_fingerprints(*prints, soon()));
    expect_ok(record(*work)->wait(soon()));
    expect_values(*prints, ranges, sources[round]);
  }
}

TEST_P(FingerprintContract, AnotherStreamFetchesThemBehindTheOneThatTakesThem) {
  const Bytes source = pattern(200'000, 33);
  const auto memory = allocate(source.size());
  const auto prints = fingerprints(1);
  const auto taking = stream("taking");
  const auto fetching = stream("fetching");
  expect_ok(taking->copy_to_device(memory->data(), source, soon()));
  expect_ok(taking->take_fingerprints(*prints, on_device({{0, source.size()}}, *memory), soon()));
  expect_ok(fetching->wait(record(*taking)));
  expect_ok(fetching->fetch_fingerprints(*prints, soon()));
  expect_ok(record(*fetching)->wait(soon()));
  expect_values(*prints, {{0, source.size()}}, source);
}

TEST_P(FingerprintContract, WhatTheyCannotHoldIsRefused) {
  class ForeignPrints final : public Fingerprints {
   public:
    [[nodiscard]] std::size_t most_ranges() const noexcept override { return 1; }
    [[nodiscard]] std::uint64_t value(std::size_t /*index*/) const noexcept override { return 0; }
  };
  const auto memory = allocate(64);
  const std::vector<DeviceRange> null{{nullptr, 8}};
  const std::vector<DeviceRange> nothing{{nullptr, 0}};
  const auto prints = fingerprints(1);
  const auto work = stream("refusing");
  ForeignPrints foreign;
  EXPECT_EQ(prints->most_ranges(), 1U);
  EXPECT_EQ(work->take_fingerprints(*prints, on_device({{0, 8}, {8, 8}}, *memory), soon()).code(),
            Code::invalid_argument);
  EXPECT_EQ(work->take_fingerprints(*prints, null, soon()).code(), Code::invalid_argument);
  EXPECT_EQ(work->take_fingerprints(foreign, {}, soon()).code(), Code::invalid_argument);
  EXPECT_EQ(work->fetch_fingerprints(foreign, soon()).code(), Code::invalid_argument);
  expect_ok(work->take_fingerprints(*prints, {}, soon()));
  expect_ok(work->take_fingerprints(*prints, nothing, soon()));
  expect_ok(work->fetch_fingerprints(*prints, soon()));
  expect_ok(record(*work)->wait(soon()));
  EXPECT_EQ(prints->value(0), 0U);
  EXPECT_EQ(device_->make_fingerprints(0).status().code(), Code::invalid_argument);
  EXPECT_EQ(device_->make_fingerprints(kMostListedCopies + 1).status().code(), Code::invalid_argument);
}

}  // namespace stillframe::device
