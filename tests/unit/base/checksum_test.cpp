// The three checksums against published values, at every length and alignment that their fast paths treat apart.
#include "base/checksum.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "base/bytes.hpp"

namespace stillframe::base {
namespace {

constexpr std::string_view kCheckText = "123456789";

// Bit by bit, from the polynomial (reflected).
std::uint32_t slow_crc(std::span<const std::byte> data, std::uint32_t polynomial) {
  std::uint32_t crc = 0xffffffffU;
  for (const std::byte byte : data) {
    crc ^= static_cast<std::uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? polynomial : 0);
  }
  return ~crc;
}

std::vector<std::byte> pattern(std::size_t bytes) {
  std::vector<std::byte> data(bytes);
  for (std::size_t i = 0; i < bytes; ++i) data[i] = static_cast<std::byte>((i * 131 + i / 7) & 0xffU);
  return data;
}

TEST(Crc, TheCheckValuesOfTheCatalogue) {
  EXPECT_EQ(crc32(as_bytes(kCheckText)), 0xcbf43926U);
  EXPECT_EQ(crc32c(as_bytes(kCheckText)), 0xe3069283U);
  EXPECT_EQ(crc32({}), 0U);
  EXPECT_EQ(crc32c({}), 0U);
}

TEST(Crc, TheExamplesOfRfc3720) {
  EXPECT_EQ(crc32c(std::vector<std::byte>(32, std::byte{0})), 0x8a9136aaU);
  EXPECT_EQ(crc32c(std::vector<std::byte>(32, std::byte{0xff})), 0x62a8ab43U);
  std::vector<std::byte> rising(32);
  for (std::size_t i = 0; i < rising.size(); ++i) rising[i] = static_cast<std::byte>(i);
  EXPECT_EQ(crc32c(rising), 0x46dd794eU);
}

TEST(Crc, EveryLengthAndAlignmentAgreesWithTheDefinition) {
  const std::vector<std::byte> data = pattern(5000);
  for (std::size_t length = 0; length < 600; ++length) {
    const auto piece = std::span(data).subspan(length % 17, length);
    ASSERT_EQ(crc32(piece), slow_crc(piece, 0xedb88320U)) << length;
    ASSERT_EQ(crc32c(piece), slow_crc(piece, 0x82f63b78U)) << length;
  }
  EXPECT_EQ(crc32(data), slow_crc(data, 0xedb88320U));
  EXPECT_EQ(crc32c(data), slow_crc(data, 0x82f63b78U));
}

TEST(Xxh128, ThePublishedValues) {
  EXPECT_EQ(xxh128({}).hex(), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(xxh128(as_bytes("a")).hex(), "a96faf705af16834e6c632b61e964e1f");
  EXPECT_EQ(xxh128(as_bytes("abc")).hex(), "06b05ab6733a618578af5f94892f3950");
}

TEST(Xxh128, OneFlippedBitChangesIt) {
  std::vector<std::byte> data = pattern(3000);
  const Hash128 before = xxh128(data);
  for (std::size_t at = 0; at < data.size(); at += 101) {
    data[at] ^= std::byte{4};
    EXPECT_NE(xxh128(data), before) << at;
    data[at] ^= std::byte{4};
  }
  EXPECT_EQ(xxh128(data), before);
}

TEST(PiecewiseHash, PiecesOfAnySizeHashAsTheWhole) {
  const std::vector<std::byte> data = pattern(10'000);
  for (const std::size_t piece : {1U, 64U, 1000U, 10'000U}) {
    PiecewiseHash hash;
    for (std::size_t at = 0; at < data.size(); at += piece) {
      hash.add(std::span(data).subspan(at, std::min(piece, data.size() - at)));
      hash.add({});
    }
    EXPECT_EQ(hash.xxh128(), xxh128(data)) << piece;
    EXPECT_EQ(hash.crc32(), crc32(data)) << piece;
  }
  EXPECT_EQ(PiecewiseHash().xxh128(), xxh128({}));
  EXPECT_EQ(PiecewiseHash().crc32(), crc32({}));
}

TEST(Hash128, HexGoesBothWaysAndNothingElseIsHex) {
  const Hash128 hash = xxh128(as_bytes(kCheckText));
  EXPECT_EQ(hash.hex().size(), 32U);
  EXPECT_EQ(Hash128::from_hex(hash.hex()), hash);
  for (const std::string_view text :
       {"", "00", "99AA06D3014798D86001C324468D497F", "99aa06d3014798d86001c324468d497",
        "99aa06d3014798d86001c324468d497f0", "g9aa06d3014798d86001c324468d497f", " 9aa06d3014798d86001c324468d497f"}) {
    EXPECT_FALSE(Hash128::from_hex(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace stillframe::base
