#include "codec/codec.hpp"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "unit/codec/samples.hpp"

namespace stillframe::codec {
namespace {

constexpr std::uint8_t kPlanes = static_cast<std::uint8_t>(CodecId::planes_lz4);

struct Stored {
  CodecId codec;
  Bytes bytes;
};
Stored encode_or_fail(CodecId wanted, const Bytes& raw, const std::vector<ElementRun>& runs) {
  Bytes out(encoded_bound(raw.size()), std::byte{0xEE});
  const auto encoded = encode(wanted, raw, runs, out);
  EXPECT_TRUE(encoded.ok()) << encoded.status().message();
  if (!encoded.ok()) return {CodecId::raw, {}};
  out.resize(encoded->bytes);
  return {encoded->codec, out};
}

void expect_round_trip(const Bytes& raw, const std::vector<ElementRun>& runs) {
  const Stored stored = encode_or_fail(CodecId::planes_lz4, raw, runs);
  EXPECT_LE(stored.bytes.size(), raw.size());
  Bytes back(raw.size(), std::byte{0x55});
  const Status status = decode(static_cast<std::uint8_t>(stored.codec), stored.bytes, back);
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_TRUE(back == raw);
}

TEST(Codec, NamesStandForIds) {
  EXPECT_EQ(codec_name(0), "raw");
  EXPECT_EQ(codec_name(1), "planes_lz4");
  EXPECT_EQ(codec_name(2), "planes");
  EXPECT_EQ(codec_name(200), "unknown");
}

TEST(Codec, AChunkOfWeightsGetsSmallerAndComesBack) {
  const Bytes raw = weights(kChunkBytes, 1);
  const Stored stored = encode_or_fail(CodecId::planes_lz4, raw, {{u32(raw.size()), 4}});
  EXPECT_EQ(stored.codec, CodecId::planes_lz4);
  EXPECT_LT(stored.bytes.size(), raw.size() * 97 / 100);
  expect_round_trip(raw, {{u32(raw.size()), 4}});
}

TEST(Codec, EveryWidthIsLossless) {
  for (const std::uint8_t width : std::array<std::uint8_t, 5>{1, 2, 4, 8, 16}) {
    for (const std::size_t bytes : {16UL, 4096UL, 65536UL + 16, kChunkBytes}) {
      expect_round_trip(weights(bytes, width), {{u32(bytes), width}});
      expect_round_trip(noise(bytes, width), {{u32(bytes), width}});
      expect_round_trip(Bytes(bytes), {{u32(bytes), width}});
    }
  }
}

TEST(Codec, AnyMixOfRunsIsLossless) {
  Random random(7);
  for (int round = 0; round < 300; ++round) {
    std::vector<ElementRun> runs;
    Bytes raw;
    for (std::uint32_t i = 0, count = 1 + random.below(8); i < count; ++i) {
      const auto width = static_cast<std::uint8_t>(1U << random.below(5));
      const std::uint32_t bytes = width * (1 + random.below(random.below(4) == 0 ? 4000 : 40));
      const Bytes part = random.below(3) == 0 ? noise(bytes, random.next()) : weights(bytes, random.next());
      raw.insert(raw.end(), part.begin(), part.end());
      runs.push_back({bytes, width});
    }
    expect_round_trip(raw, runs);
  }
}

TEST(Codec, ManyTinyRunsStayLossless) {
  Bytes raw(200'000);
  std::vector<ElementRun> runs;
  for (std::size_t at = 0; at < raw.size(); at += 2) runs.push_back({2, static_cast<std::uint8_t>(1 + at / 2 % 2)});
  expect_round_trip(raw, runs);
}

TEST(Codec, WhatDoesNotPayStaysRaw) {
  const Bytes raw = noise(kChunkBytes, 3);
  const Stored stored = encode_or_fail(CodecId::planes_lz4, raw, {{u32(raw.size()), 4}});
  EXPECT_EQ(stored.codec, CodecId::raw);
  EXPECT_TRUE(stored.bytes == raw);
  const Stored asked_raw = encode_or_fail(CodecId::raw, Bytes(4096), {{4096, 4}});
  EXPECT_EQ(asked_raw.codec, CodecId::raw);
}

TEST(Codec, NothingIsAChunkToo) { expect_round_trip({}, {}); }

TEST(Codec, RunsThatDoNotFitAreRefused) {
  const Bytes raw(64);
  Bytes out(encoded_bound(raw.size()));
  const std::vector<ElementRun> cases[] = {{},
                                           {{60, 4}},
                                           {{68, 4}},
                                           {{64, 3}},
                                           {{64, 0}},
                                           {{64, 32}},
                                           {{62, 4}, {2, 2}},
                                           {{64, 4}, {0, 4}},
                                           {{0xFFFFFFFF, 1}, {65, 1}}};
  for (const auto& runs : cases) {
    EXPECT_EQ(encode(CodecId::planes_lz4, raw, runs, out).status().code(), Code::invalid_argument);
  }
  Bytes small(encoded_bound(raw.size()) - 1);
  EXPECT_EQ(encode(CodecId::raw, raw, std::array{ElementRun{64, 4}}, small).status().code(), Code::invalid_argument);
  EXPECT_EQ(encode(static_cast<CodecId>(9), raw, std::array{ElementRun{64, 4}}, out).status().code(),
            Code::unsupported);
}

TEST(Codec, AnUnknownIdIsUnsupportedAndAWrongLengthCorrupt) {
  Bytes raw(8);
  EXPECT_EQ(decode(9, Bytes(8), raw).code(), Code::unsupported);
  EXPECT_EQ(decode(0, Bytes(7), raw).code(), Code::corrupt);
  EXPECT_EQ(decode(0, Bytes(9), raw).code(), Code::corrupt);
  const Bytes data = weights(65536, 5);
  const Stored stored = encode_or_fail(CodecId::planes_lz4, data, {{65536, 4}});
  for (const std::size_t length : {0UL, 65532UL, 65535UL, 65537UL, 65540UL}) {
    Bytes other(length);
    EXPECT_EQ(decode(kPlanes, stored.bytes, other).code(), Code::corrupt) << length;
  }
}

// Copies each input into a heap block of its exact length, so that the address sanitiser sees a step outside.
TEST(Codec, HostileBytesNeverLeadOutside) {
  const Bytes raw = [] {
    Bytes data = weights(3000 * 4, 11);
    const Bytes more = weights(1600, 12);
    data.insert(data.end(), more.begin(), more.end());
    // Half precision in single: two planes of zeros, so that LZ4 and raw planes stand side by side.
    for (std::size_t at = 0; at < data.size(); at += 4) data[at] = data[at + 1] = std::byte{0};
    return data;
  }();
  const Stored good = encode_or_fail(CodecId::planes_lz4, raw, {{12000, 4}, {1600, 16}});
  ASSERT_EQ(good.codec, CodecId::planes_lz4);
  for (std::size_t length = 0; length < good.bytes.size(); ++length) {
    const Bytes cut(good.bytes.begin(), good.bytes.begin() + static_cast<std::ptrdiff_t>(length));
    Bytes back(raw.size());
    EXPECT_EQ(decode(kPlanes, cut, back).code(), Code::corrupt) << length;
  }
  Random random(13);
  for (int round = 0; round < 20'000; ++round) {
    Bytes bytes = good.bytes;
    for (std::uint32_t i = 0, count = 1 + random.below(4); i < count; ++i) {
      const auto span = static_cast<std::uint32_t>(random.below(2) == 0 ? 120 : bytes.size());
      bytes[random.below(span)] = static_cast<std::byte>(random.next());
    }
    if (random.below(8) == 0) bytes.resize(random.below(u32(bytes.size())));
    Bytes back(raw.size());
    const Status status = decode(kPlanes, bytes, back);
    EXPECT_TRUE(status.ok() || status.code() == Code::corrupt);
  }
}

TEST(Codec, HeadersThatAddUpWronglyAreRefused) {
  const Bytes raw(4096);
  const Stored good = encode_or_fail(CodecId::planes_lz4, raw, {{4096, 2}});
  ASSERT_EQ(good.codec, CodecId::planes_lz4);
  // Run count, run length, width, method and stored length of the first plane, each with every value of one byte.
  for (const std::size_t at : {0U, 1U, 2U, 3U, 4U, 5U, 6U, 7U, 8U, 9U, 10U, 11U}) {
    for (unsigned value = 0; value < 256; ++value) {
      Bytes bytes = good.bytes;
      if (bytes[at] == static_cast<std::byte>(value)) continue;
      bytes[at] = static_cast<std::byte>(value);
      Bytes back(raw.size());
      EXPECT_EQ(decode(kPlanes, bytes, back).code(), Code::corrupt) << at << " = " << value;
    }
  }
}

}  // namespace
}  // namespace stillframe::codec
