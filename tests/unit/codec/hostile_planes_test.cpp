// Stored bytes of codec `planes` that no writer wrote.
#include <gtest/gtest.h>
#include <zstd.h>

#include <algorithm>
#include <array>

#include "base/bytes.hpp"
#include "codec/codec.hpp"
#include "codec/context.hpp"
#include "codec/literals.hpp"
#include "codec/plane_method.hpp"
#include "unit/codec/samples.hpp"

namespace stillframe::codec {
namespace {

constexpr std::uint8_t kPlanes = static_cast<std::uint8_t>(CodecId::planes);

class HostilePlanes : public testing::Test {
 protected:
  Context context_ = Context::create().value();

  // Into a heap block of its exact length, so that the address sanitiser sees a step outside.
  Code decoded(const Bytes& stored, std::size_t raw_bytes) {
    const Bytes exact(stored);
    Bytes back(raw_bytes);
    const Status status = decode(kPlanes, exact, back, context_);
    const auto within = decode_within(kPlanes, exact, raw_bytes, context_);
    EXPECT_EQ(within.status().code(), status.code()) << "both ways say the same";
    if (status.ok()) {
      EXPECT_TRUE(std::ranges::equal(*within, back));
    }
    return status.code();
  }

  Bytes stored(Level level, const Bytes& raw, const std::vector<ElementRun>& runs) {
    Bytes out(encoded_bound(raw.size()));
    Decisions decisions;
    const auto encoded = encode(level, raw, runs, out, decisions, context_);
    EXPECT_TRUE(encoded.ok() && encoded->codec == CodecId::planes);
    out.resize(encoded.ok() ? encoded->bytes : 0);
    return out;
  }

  // A chunk of one run of single bytes, whose plane is stored by that method.
  static Bytes one_plane(std::size_t raw_bytes, std::uint8_t method, const Bytes& plane) {
    Bytes bytes(13);
    base::store_le(std::span(bytes), 0, std::uint16_t{1});
    base::store_le(std::span(bytes), 2, u32(raw_bytes));
    bytes[6] = std::byte{1};
    bytes[8] = std::byte{method};
    base::store_le(std::span(bytes), 9, u32(plane.size()));
    bytes.insert(bytes.end(), plane.begin(), plane.end());
    return bytes;
  }
};

Bytes mixed() {
  Bytes raw = weights(3000 * 4, 11);
  const Bytes more = moments(1600 * 8, 12);
  raw.insert(raw.end(), more.begin(), more.end());
  return raw;
}
const std::vector<ElementRun> kMixedRuns{{12'000, 4}, {12'800, 8}};

TEST_F(HostilePlanes, NeverLeadOutside) {
  const Bytes raw = mixed();
  for (const Level level : {Level::fast, Level::standard}) {
    const Bytes good = stored(level, raw, kMixedRuns);
    ASSERT_EQ(decoded(good, raw.size()), Code::ok);
    for (std::size_t length = 0; length < good.size(); length += length < 200 ? 1 : 37) {
      EXPECT_EQ(decoded(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length)), raw.size()),
                Code::corrupt);
    }
    Random random(13);
    for (int round = 0; round < 1500; ++round) {
      Bytes bytes = good;
      for (std::uint32_t i = 0, count = 1 + random.below(4); i < count; ++i) {
        bytes[random.below(random.below(2) == 0 ? 100 : u32(bytes.size()))] = static_cast<std::byte>(random.next());
      }
      const Code code = decoded(bytes, raw.size());
      EXPECT_TRUE(code == Code::ok || code == Code::corrupt);
    }
  }
}

TEST_F(HostilePlanes, EveryFieldOfTheHeaderIsChecked) {
  const Bytes good = one_plane(8, 0, Bytes(8, std::byte{5}));
  ASSERT_EQ(decoded(good, 8), Code::ok);
  for (std::size_t at = 0; at < 13; ++at) {
    for (unsigned value = 0; value < 256; ++value) {
      Bytes bytes = good;
      if (bytes[at] == static_cast<std::byte>(value)) continue;
      bytes[at] = static_cast<std::byte>(value);
      EXPECT_EQ(decoded(bytes, 8), Code::corrupt) << at << " = " << value;
    }
  }
  Bytes rotated = good;
  rotated[7] = std::byte{1};
  EXPECT_EQ(decoded(rotated, 8), Code::corrupt) << "bytes cannot be rotated";
}

TEST_F(HostilePlanes, ConstantsAreOneByte) {
  EXPECT_EQ(decoded(one_plane(8, 2, Bytes(1, std::byte{5})), 8), Code::ok);
  EXPECT_EQ(decoded(one_plane(8, 2, Bytes(2)), 8), Code::corrupt);
  EXPECT_EQ(decoded(one_plane(8, 2 + kDifferences, Bytes(1)), 8), Code::corrupt);
}

TEST_F(HostilePlanes, AsManyEscapesAsNibblesSay) {
  const auto plane = [](std::initializer_list<unsigned> bytes) {
    Bytes made;
    for (const unsigned byte : bytes) made.push_back(static_cast<std::byte>(byte));
    return made;
  };
  // Base 0x70; bytes 71 7F .. of five: nibbles 1 F 2 / 3 4, so one escape.
  EXPECT_EQ(decoded(one_plane(5, 4, plane({0x70, 0xAA, 0x31, 0x4F, 0x02})), 5), Code::corrupt) << "not fewer bytes";
  const Bytes seven = plane({0x70, 0xAA, 0x31, 0x4F, 0x52, 0x06});
  EXPECT_EQ(decoded(one_plane(7, 4, seven), 7), Code::ok);
  Bytes back(7);
  ASSERT_TRUE(decode(kPlanes, one_plane(7, 4, seven), back, context_).ok());
  EXPECT_EQ(back, plane({0x71, 0xAA, 0x72, 0x76, 0x73, 0x74, 0x75}));
  EXPECT_EQ(decoded(one_plane(7, 4, plane({0x70, 0x31, 0x4F, 0x52, 0x06})), 7), Code::corrupt) << "none there";
  EXPECT_EQ(decoded(one_plane(7, 4, plane({0x70, 0xAA, 0x31, 0x4E, 0x52, 0x06})), 7), Code::corrupt) << "one left";
  EXPECT_EQ(decoded(one_plane(7, 4, plane({0x70, 0xAA, 0x31, 0x4F, 0x52, 0x16})), 7), Code::corrupt) << "odd end";
}

// Any other frame of Zstandard would have to be decoded by the reader in plain Python as well.
TEST_F(HostilePlanes, OnlyFramesOfLiteralsAreTaken) {
  Bytes raw = noise(3000, 4);
  raw.insert(raw.end(), raw.begin(), raw.end());
  const auto frame_of = [&](int level, int checksum) {
    const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> encoder(ZSTD_createCCtx(), ZSTD_freeCCtx);
    ZSTD_CCtx_setParameter(encoder.get(), ZSTD_c_compressionLevel, level);
    ZSTD_CCtx_setParameter(encoder.get(), ZSTD_c_checksumFlag, checksum);
    Bytes frame(ZSTD_compressBound(raw.size()));
    frame.resize(ZSTD_compress2(encoder.get(), frame.data(), frame.size(), raw.data(), raw.size()));
    return frame;
  };
  const Bytes with_sequences = frame_of(3, 0);
  ASSERT_LT(with_sequences.size(), raw.size());
  EXPECT_EQ(decoded(one_plane(raw.size(), 3, with_sequences), raw.size()), Code::corrupt);

  for (std::byte& byte : raw) byte = static_cast<std::byte>(std::to_integer<int>(byte) % 4);
  Bytes frame(ZSTD_compressBound(raw.size()));
  frame.resize(literals_method().encode(raw, frame, context_));
  EXPECT_LT(frame.size(), raw.size() * 3 / 10);
  EXPECT_EQ(decoded(one_plane(raw.size(), 3, frame), raw.size()), Code::ok);
  EXPECT_TRUE(is_literals_frame(frame, raw.size()));
  EXPECT_FALSE(is_literals_frame(frame, raw.size() + 1)) << "its length is the plane's";
  Bytes longer = frame;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(is_literals_frame(longer, raw.size())) << "nothing stands behind the last block";
  raw.assign(raw.size(), std::byte{7});
  EXPECT_FALSE(is_literals_frame(frame_of(1, 1), raw.size())) << "a checksum of its own";
}

// A frame of two blocks: 200 times the byte 0, and as many bytes 0 and 1 as `length`, in four streams of one bit a byte,
// by a tree of two bytes.
Bytes in_four_streams(std::size_t length) {
  const std::size_t quarter = (length + 3) / 4;
  Bytes coded{std::byte{128}, std::byte{0x10}};
  for (int i = 0; i < 3; ++i) coded.insert(coded.end(), {std::byte{1}, std::byte{0}});
  for (std::size_t i = 0; i < 4; ++i) {
    const std::size_t bits = i < 3 ? quarter : length - std::min(length, 3 * quarter);
    coded.push_back(static_cast<std::byte>(1U << bits));
  }
  const auto put = [](Bytes& to, std::size_t value, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i) to.push_back(static_cast<std::byte>(value >> (8 * i)));
  };
  Bytes frame;
  put(frame, 0xFD2FB528, 4);
  put(frame, 0x20, 1);
  put(frame, 200 + length, 1);
  put(frame, 200U << 3U | 1U << 1U, 3);
  put(frame, 0, 1);
  put(frame, (3 + coded.size() + 1) << 3U | 2U << 1U | 1U, 3);
  put(frame, coded.size() << 14U | length << 4U | 1U << 2U | 2U, 3);
  frame.insert(frame.end(), coded.begin(), coded.end());
  put(frame, 0, 1);
  return frame;
}

// The page says so, read-v2.py does, and every libzstd has to.
TEST_F(HostilePlanes, FourStreamsHoldSixBytesAtLeast) {
  for (std::size_t length = 0; length < 20; ++length) {
    const Bytes frame = in_four_streams(length);
    EXPECT_EQ(is_literals_frame(frame, 200 + length), length >= 6) << length;
    Bytes back(200 + length);
    const Status status = decode(kPlanes, one_plane(back.size(), 3, frame), back, context_);
    ASSERT_EQ(status.code(), length >= 6 ? Code::ok : Code::corrupt) << length << ": " << status.message();
    if (length >= 6) {
      EXPECT_EQ(back, Bytes(back.size()));
    }
  }
}

// What the page does not name, whether libzstd takes it or not.
TEST_F(HostilePlanes, WindowAndLengthsAreThoseOfThePage) {
  Bytes raw(300'000);
  Random random(3);
  for (std::byte& byte : raw) byte = static_cast<std::byte>(random.below(5));
  Bytes frame(ZSTD_compressBound(raw.size()));
  frame.resize(literals_method().encode(raw, frame, context_));
  ASSERT_TRUE(is_literals_frame(frame, raw.size()));
  ASSERT_EQ(std::to_integer<unsigned>(frame[4]) & 0x20U, 0U) << "it has a window";
  for (unsigned window = 0; window < 256; ++window) {
    frame[5] = static_cast<std::byte>(window);
    EXPECT_EQ(is_literals_frame(frame, raw.size()), window == 56) << window;
  }
  const auto one_block = [](std::size_t type, std::size_t size, const Bytes& inside) {
    Bytes made{std::byte{0x28}, std::byte{0xB5}, std::byte{0x2F}, std::byte{0xFD}, std::byte{0xA0}};
    for (const std::size_t part : {size, size >> 8U, size >> 16U, size >> 24U}) made.push_back(static_cast<std::byte>(part));
    const std::size_t header = size << 3U | type << 1U | 1U;
    for (const std::size_t part : {header, header >> 8U, header >> 16U}) made.push_back(static_cast<std::byte>(part));
    made.insert(made.end(), inside.begin(), inside.end());
    return made;
  };
  constexpr std::size_t kMost = 131'072;
  EXPECT_TRUE(is_literals_frame(one_block(0, kMost, Bytes(kMost)), kMost));
  EXPECT_FALSE(is_literals_frame(one_block(0, kMost + 1, Bytes(kMost + 1)), kMost + 1));
  EXPECT_TRUE(is_literals_frame(one_block(1, kMost, Bytes(1)), kMost));
  EXPECT_FALSE(is_literals_frame(one_block(1, kMost + 1, Bytes(1)), kMost + 1));
}

}  // namespace
}  // namespace stillframe::codec
