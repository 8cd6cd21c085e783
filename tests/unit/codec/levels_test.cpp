// The codec of the levels: lossless for any bytes, worth it for those of training, and whatever is remembered is only a
// hint.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>

#include "base/thread.hpp"
#include "codec/codec.hpp"
#include "codec/context.hpp"
#include "unit/codec/samples.hpp"

namespace stillframe::codec {
namespace {

constexpr std::uint8_t kPlanes = static_cast<std::uint8_t>(CodecId::planes);
constexpr std::array kLevels{Level::raw, Level::fast, Level::standard};
// Fields of the first run's header, behind the number of runs.
constexpr std::size_t kRotated = 7;
constexpr std::size_t kFirstMethod = 8;
constexpr std::size_t kPlaneHeader = 5;

class Levels : public testing::Test {
 protected:
  Context context_ = Context::create().value();

  struct Stored {
    CodecId codec = CodecId::raw;
    Bytes bytes;
  };
  Stored encode_or_fail(Level level, const Bytes& raw, const std::vector<ElementRun>& runs, Decisions& decisions) {
    Bytes out(encoded_bound(raw.size()), std::byte{0xEE});
    const auto encoded = encode(level, raw, runs, out, decisions, context_);
    EXPECT_TRUE(encoded.ok()) << encoded.status().message();
    if (!encoded.ok()) return {};
    out.resize(encoded->bytes);
    return {encoded->codec, out};
  }
  Stored encode_or_fail(Level level, const Bytes& raw, const std::vector<ElementRun>& runs) {
    Decisions none;
    return encode_or_fail(level, raw, runs, none);
  }

  void expect_comes_back(const Stored& stored, const Bytes& raw) {
    EXPECT_LE(stored.bytes.size(), raw.size());
    const auto codec = static_cast<std::uint8_t>(stored.codec);
    Bytes back(raw.size(), std::byte{0x55});
    const Status decoded = decode(codec, stored.bytes, back, context_);
    EXPECT_TRUE(decoded.ok()) << decoded.message();
    EXPECT_TRUE(back == raw);
    const auto within = decode_within(codec, stored.bytes, raw.size(), context_);
    EXPECT_TRUE(within.ok()) << within.status().message();
    EXPECT_TRUE(std::ranges::equal(*within, raw));
  }
  void expect_round_trips(const Bytes& raw, const std::vector<ElementRun>& runs) {
    for (const Level level : kLevels) expect_comes_back(encode_or_fail(level, raw, runs), raw);
  }
};

TEST_F(Levels, EveryWidthAndLengthIsLossless) {
  for (const std::uint8_t width : std::array<std::uint8_t, 5>{1, 2, 4, 8, 16}) {
    for (const std::size_t elements : {1UL, 2UL, 63UL, 255UL, 4096UL, 4097UL, 20'001UL, kChunkBytes / 16}) {
      const std::size_t bytes = elements * width;
      for (const Bytes& raw : {weights(bytes, width), moments(bytes, width), noise(bytes, width), Bytes(bytes)}) {
        expect_round_trips(raw, {{u32(bytes), width}});
      }
    }
  }
}

TEST_F(Levels, AnyMixOfRunsIsLossless) {
  Random random(7);
  for (int round = 0; round < 80; ++round) {
    std::vector<ElementRun> runs;
    Bytes raw;
    for (std::uint32_t i = 0, count = 1 + random.below(8); i < count; ++i) {
      const auto width = static_cast<std::uint8_t>(1U << random.below(5));
      const std::uint32_t bytes = width * (1 + random.below(random.below(4) == 0 ? 4000 : 40));
      const std::array parts{noise(bytes, random.next()), weights(bytes, random.next()), moments(bytes, random.next())};
      const Bytes& part = parts[random.below(3)];
      raw.insert(raw.end(), part.begin(), part.end());
      runs.push_back({bytes, width});
    }
    expect_round_trips(raw, runs);
  }
}

TEST_F(Levels, NoAddressHasToBeAligned) {
  const Bytes raw = weights(40'000, 9);
  for (const std::size_t lead : {1UL, 3UL, 7UL, 33UL}) {
    const auto begin = static_cast<std::ptrdiff_t>(lead);
    Bytes from(lead);
    from.insert(from.end(), raw.begin(), raw.end());
    Bytes out(lead + encoded_bound(raw.size()));
    Decisions decisions;
    const std::array runs{ElementRun{u32(raw.size()), 4}};
    const auto encoded =
        encode(Level::standard, std::span(from).subspan(lead), runs, std::span(out).subspan(lead), decisions, context_);
    ASSERT_TRUE(encoded.ok() && encoded->codec == CodecId::planes);
    Bytes back(lead + raw.size());
    EXPECT_TRUE(
        decode(kPlanes, std::span(out).subspan(lead, encoded->bytes), std::span(back).subspan(lead), context_).ok());
    EXPECT_TRUE(std::equal(raw.begin(), raw.end(), back.begin() + begin));
  }
}

TEST_F(Levels, NothingIsAChunkToo) { expect_round_trips({}, {}); }

TEST_F(Levels, EverySpecialFloatComesBackBitForBit) {
  Bytes raw = weights(400'000, 3);
  constexpr std::array<std::uint32_t, 8> kSpecial{0x80000000, 0x00000000, 0x7F800000, 0xFF800000,
                                                  0x7FC00000, 0x7F800001, 0xFFFFFFFF, 0x00000001};
  Random random(5);
  for (std::size_t i = 0; i < 20'000; ++i) {
    std::memcpy(raw.data() + std::size_t{4} * random.below(100'000), &kSpecial[i % kSpecial.size()], 4);
  }
  expect_round_trips(raw, {{u32(raw.size()), 4}});
}

TEST_F(Levels, WeightsGetAsSmallAsTheirExponentsAllow) {
  const Bytes raw = weights(kChunkBytes, 1);
  const std::vector<ElementRun> runs{{u32(raw.size()), 4}};
  EXPECT_EQ(encode_or_fail(Level::raw, raw, runs).codec, CodecId::raw);
  const Stored fast = encode_or_fail(Level::fast, raw, runs);
  EXPECT_EQ(fast.codec, CodecId::planes);
  EXPECT_LT(fast.bytes.size(), raw.size() * 92 / 100);
  const Stored standard = encode_or_fail(Level::standard, raw, runs);
  EXPECT_LT(standard.bytes.size(), fast.bytes.size());
  EXPECT_LT(standard.bytes.size(), raw.size() * 83 / 100);
}

TEST_F(Levels, TheSignIsTurnedAwayWhereItChangesAndOnlyThere) {
  const std::vector<ElementRun> runs{{u32(kChunkBytes), 4}};
  EXPECT_EQ(encode_or_fail(Level::standard, weights(kChunkBytes, 1), runs).bytes[kRotated], std::byte{1});
  EXPECT_EQ(encode_or_fail(Level::standard, moments(kChunkBytes, 1), runs).bytes[kRotated], std::byte{0});
}

TEST_F(Levels, EachPlaneIsStoredInTheWayThatSuitsIt) {
  Bytes raw = noise(200'000, 2);
  for (std::size_t at = 0; at < raw.size(); at += 4) {
    raw[at + 1] = std::byte{7};                                                     // constant
    raw[at + 2] = at / 4 % 1000 < 970 ? std::byte{0} : raw[at];                     // long runs
    raw[at + 3] = static_cast<std::byte>(120 + std::to_integer<int>(raw[at]) % 8);  // few values
  }
  const auto method = [](const Stored& stored, std::size_t plane) {
    return std::to_integer<int>(stored.bytes[kFirstMethod + kPlaneHeader * plane]);
  };
  const Stored standard = encode_or_fail(Level::standard, raw, {{u32(raw.size()), 4}});
  const Stored fast = encode_or_fail(Level::fast, raw, {{u32(raw.size()), 4}});
  for (const Stored& one : {standard, fast}) {
    ASSERT_EQ(one.codec, CodecId::planes);
    EXPECT_EQ(method(one, 0), 0);
    EXPECT_EQ(method(one, 1), 2);
    EXPECT_EQ(method(one, 2), 1);
  }
  EXPECT_EQ(method(standard, 3), 3);
  EXPECT_EQ(method(fast, 3), 4);
}

TEST_F(Levels, SlowlyRisingBytesAreStoredAsDifferences) {
  Bytes raw(100'000);
  for (std::size_t i = 0; i < raw.size(); ++i) raw[i] = static_cast<std::byte>(i / 3 + i / 7);
  const std::vector<ElementRun> runs{{u32(raw.size()), 1}};
  EXPECT_EQ(encode_or_fail(Level::standard, raw, runs).bytes[kFirstMethod], std::byte{3 + 16});
  expect_round_trips(raw, runs);
}

TEST_F(Levels, WhatDoesNotPayStaysRaw) {
  const Bytes raw = noise(kChunkBytes, 3);
  for (const Level level : kLevels) {
    const Stored stored = encode_or_fail(level, raw, {{u32(raw.size()), 4}});
    EXPECT_EQ(stored.codec, CodecId::raw);
    EXPECT_TRUE(stored.bytes == raw);
  }
}

TEST_F(Levels, WhatIsRememberedGivesTheSameBytesAndIsRenewedInTime) {
  const Bytes raw = weights(kChunkBytes, 1);
  const std::vector<ElementRun> runs{{u32(raw.size()), 4}};
  Decisions decisions;
  const Stored first = encode_or_fail(Level::standard, raw, runs, decisions);
  for (unsigned use = 1; use <= kUsesOfASample; ++use) {
    EXPECT_TRUE(encode_or_fail(Level::standard, raw, runs, decisions).bytes == first.bytes);
    EXPECT_EQ(decisions.uses, use);
  }
  EXPECT_TRUE(encode_or_fail(Level::standard, raw, runs, decisions).bytes == first.bytes);
  EXPECT_EQ(decisions.uses, 0) << "another sample was due";
}

// The chunk was noise, so that nothing was worth doing; it is weights now. The sample that is due finds that out.
TEST_F(Levels, AChunkThatChangedItsNatureIsNoticed) {
  const Bytes raw = weights(kChunkBytes, 1);
  const std::vector<ElementRun> runs{{u32(raw.size()), 4}};
  Decisions decisions;
  EXPECT_EQ(encode_or_fail(Level::standard, noise(kChunkBytes, 1), runs, decisions).codec, CodecId::raw);
  for (unsigned use = 0; use < kUsesOfASample; ++use) {
    EXPECT_EQ(encode_or_fail(Level::standard, raw, runs, decisions).codec, CodecId::raw);
  }
  EXPECT_EQ(encode_or_fail(Level::standard, raw, runs, decisions).codec, CodecId::planes);
}

// Exponents, then noise in their place: what was remembered fails, and the next chunk is looked at again.
TEST_F(Levels, AMethodThatFailsIsSampledAnewTheNextTime) {
  Bytes out(encoded_bound(400'000));
  Decisions decisions;
  const std::array runs{ElementRun{400'000, 4}};
  ASSERT_EQ(encode(Level::standard, weights(400'000, 1), runs, out, decisions, context_)->codec, CodecId::planes);
  EXPECT_EQ(decisions.uses, 0U);
  ASSERT_EQ(encode(Level::standard, noise(400'000, 2), runs, out, decisions, context_)->codec, CodecId::raw);
  EXPECT_EQ(decisions.uses, kUsesOfASample);
  EXPECT_EQ(encode(Level::standard, weights(400'000, 3), runs, out, decisions, context_)->codec, CodecId::planes)
      << "not eight checkpoints later";
  EXPECT_EQ(decisions.uses, 0U);
}

TEST_F(Levels, DecisionsOfAnotherLevelOrOtherRunsAreNotFollowed) {
  const Bytes raw = weights(4096, 1);
  Decisions decisions;
  const Stored fast = encode_or_fail(Level::fast, raw, {{4096, 4}}, decisions);
  const Stored standard = encode_or_fail(Level::standard, raw, {{4096, 4}}, decisions);
  EXPECT_TRUE(standard.bytes == encode_or_fail(Level::standard, raw, {{4096, 4}}).bytes);
  EXPECT_EQ(decisions.level, Level::standard);
  expect_comes_back(encode_or_fail(Level::standard, raw, {{2048, 2}, {2048, 4}}, decisions), raw);
  EXPECT_EQ(decisions.known_runs, 2);
  EXPECT_EQ(decisions.runs[0].element_bytes, 2);
}

// A file could hand anything to whoever remembers by it.
TEST_F(Levels, DecisionsOutOfNothingAreHarmless) {
  Bytes raw = weights(48'000, 1);
  std::fill(raw.begin() + 32'000, raw.end(), std::byte{0});
  Random random(17);
  for (int round = 0; round < 400; ++round) {
    std::vector<ElementRun> runs;
    for (int i = 0; i < 3; ++i) runs.push_back({16'000, static_cast<std::uint8_t>(1U << random.below(5))});
    Decisions decisions;
    decisions.level = Level::standard;
    decisions.known_runs = static_cast<std::uint8_t>(random.below(4) == 0 ? random.next() : 3);
    decisions.uses = static_cast<std::uint8_t>(random.below(10));
    for (std::size_t r = 0; r < decisions.runs.size(); ++r) {
      RunDecision& run = decisions.runs[r];
      run.element_bytes =
          random.below(8) == 0 || r > 2 ? static_cast<std::uint8_t>(random.next()) : runs[r].element_bytes;
      run.rotated = random.below(2) == 0;
      const std::uint32_t limit = random.below(2) == 0 ? 5 : 24;
      for (std::uint8_t& method : run.methods) method = static_cast<std::uint8_t>(random.below(limit));
    }
    expect_comes_back(encode_or_fail(Level::standard, raw, runs, decisions), raw);
  }
}

// Each with a context of its own; what all share is made by whoever comes first.
TEST_F(Levels, ThreadsDoNotMeet) {
  const std::vector<ElementRun> runs{{40'000, 4}};
  std::array<Bytes, 4> stored;
  std::vector<base::Thread> threads;
  for (Bytes& one : stored) {
    auto thread = base::Thread::start("codec", [&one, &runs] {
      auto context = Context::create();
      if (!context.ok()) return;
      const Bytes raw = weights(40'000, 1);
      Bytes out(encoded_bound(raw.size()));
      Decisions decisions;
      const auto encoded = encode(Level::standard, raw, runs, out, decisions, *context);
      Bytes back(raw.size());
      if (!encoded.ok() || !decode(kPlanes, std::span(out).first(encoded->bytes), back, *context).ok()) return;
      if (back == raw) one.assign(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(encoded->bytes));
    });
    ASSERT_TRUE(thread.ok());
    threads.push_back(*std::move(thread));
  }
  threads.clear();
  const Stored alone = encode_or_fail(Level::standard, weights(40'000, 1), runs);
  for (const Bytes& one : stored) EXPECT_TRUE(one == alone.bytes);
}

TEST_F(Levels, RunsThatDoNotFitAreRefused) {
  const Bytes raw(64);
  Bytes out(encoded_bound(raw.size()));
  Decisions decisions;
  for (const auto& runs : std::vector<std::vector<ElementRun>>{{}, {{60, 4}}, {{64, 3}}, {{62, 4}, {2, 2}}}) {
    EXPECT_EQ(encode(Level::standard, raw, runs, out, decisions, context_).status().code(), Code::invalid_argument);
  }
  Bytes small(encoded_bound(raw.size()) - 1);
  EXPECT_EQ(encode(Level::standard, raw, std::array{ElementRun{64, 4}}, small, decisions, context_).status().code(),
            Code::invalid_argument);
}

TEST_F(Levels, ALaterCodecIsToldFromDamage) {
  Bytes back(16);
  for (const unsigned id : {3U, 255U}) {
    EXPECT_EQ(decode(static_cast<std::uint8_t>(id), Bytes(8), back, context_).code(), Code::unsupported);
  }
  EXPECT_EQ(decode(kPlanes, Bytes(8), back, context_).code(), Code::corrupt);
  EXPECT_EQ(decode(kPlanes, Bytes(8), back).code(), Code::corrupt) << "and without a context of the caller's";
}

}  // namespace
}  // namespace stillframe::codec
