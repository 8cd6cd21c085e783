// Chunks of codec `planes` as they were written when it was new: every later build decodes them.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "codec/codec.hpp"
#include "support/golden_parts.hpp"
#include "unit/codec/samples.hpp"

namespace stillframe::codec {
namespace {

TEST(GoldenChunks, DecodeToWhatTheyWereMadeOf) {
  const std::string folder = std::string(STILLFRAME_SOURCE_DIR) + "/tests/golden/v2/chunks/";
  std::ifstream expected(folder + "expected.txt");
  std::string name;
  std::string sha256;
  std::size_t raw_bytes = 0;
  int chunks = 0;
  for (; expected >> name >> raw_bytes >> sha256; ++chunks) {
    std::ifstream in(folder + name + ".stored", std::ios::binary);
    const std::string content{std::istreambuf_iterator<char>(in), {}};
    const auto* const bytes = reinterpret_cast<const std::byte*>(content.data());
    Bytes raw(raw_bytes);
    const Status decoded = decode(static_cast<std::uint8_t>(CodecId::planes), {bytes, content.size()}, raw);
    EXPECT_TRUE(decoded.ok()) << name << ": " << decoded.message();
    EXPECT_EQ(test::sha256_hex(raw), sha256) << name;
  }
  EXPECT_EQ(chunks, 8);
}

// Where a run of single bytes says its method; the runs' headers are 11 bytes each.
TEST(GoldenChunks, HoldEveryMethodOfDifferences) {
  std::ifstream in(std::string(STILLFRAME_SOURCE_DIR) + "/tests/golden/v2/chunks/differences.stored", std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(in), {}};
  ASSERT_GT(content.size(), 35U);
  EXPECT_EQ(content[8], 17);
  EXPECT_EQ(content[19], 19);
  EXPECT_EQ(content[30], 20);
}

}  // namespace
}  // namespace stillframe::codec
