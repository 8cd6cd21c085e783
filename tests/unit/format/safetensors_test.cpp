#include "format/safetensors.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/bytes.hpp"

namespace stillframe::format {
namespace {

using nlohmann::json;

std::uint64_t header_bytes(const std::string& prefix) {
  return base::load_le<std::uint64_t>(base::as_bytes(prefix), 0);
}

json header_of(const std::string& prefix) { return json::parse(prefix.substr(8, header_bytes(prefix))); }

Entry entry(std::string name, DType dtype, std::vector<std::uint64_t> shape, std::uint64_t offset = 0) {
  std::uint64_t bytes = dtype_bytes(dtype);
  for (const std::uint64_t extent : shape) bytes *= extent;
  return {std::move(name), dtype, std::move(shape), offset, bytes};
}

TEST(SafetensorsPrefix, DataStartsOnAPageAndTheLengthFieldSaysSo) {
  const std::vector<Entry> entries{entry("a", DType::f32, {2, 3}), entry("b", DType::u8, {5}, 24)};
  const auto prefix = safetensors_prefix(entries, {});
  ASSERT_TRUE(prefix.ok()) << prefix.status().message();
  EXPECT_EQ(prefix->size() % kSafetensorsAlignment, 0U);
  EXPECT_EQ(header_bytes(*prefix), prefix->size() - 8);
  EXPECT_EQ((*prefix)[8], '{');
  const std::size_t last = prefix->find_last_not_of(' ');
  EXPECT_EQ((*prefix)[last], '}');
}

TEST(SafetensorsPrefix, EntriesStandWithDtypeShapeAndOffsetsIntoTheData) {
  const std::vector<Entry> entries{entry("layer.weight", DType::bf16, {2, 3}), entry("scalar", DType::u8, {}, 12),
                                   entry("empty", DType::u8, {0, 7}, 13)};
  const auto prefix = safetensors_prefix(entries, {{"format", "pt"}, {"step", "1000"}});
  ASSERT_TRUE(prefix.ok()) << prefix.status().message();
  EXPECT_EQ(header_of(*prefix), json::parse(R"({
    "__metadata__": {"format": "pt", "step": "1000"},
    "layer.weight": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
    "scalar": {"dtype": "U8", "shape": [], "data_offsets": [12, 13]},
    "empty": {"dtype": "U8", "shape": [0, 7], "data_offsets": [13, 13]}})"));
}

TEST(SafetensorsPrefix, ADtypeThatSafetensorsLacksKeepsItsBytesAsU8) {
  const auto prefix = safetensors_prefix(std::vector<Entry>{entry("z", DType::c128, {4})}, {});
  ASSERT_TRUE(prefix.ok()) << prefix.status().message();
  EXPECT_EQ(header_of(*prefix)["z"], json::parse(R"({"dtype": "U8", "shape": [4, 16], "data_offsets": [0, 64]})"));
}

TEST(SafetensorsPrefix, FloatsOfEightBitsBearTheNameThatReadersKnow) {
  const auto prefix = safetensors_prefix(std::vector<Entry>{entry("f", DType::f8_e4m3fn, {1})}, {});
  ASSERT_TRUE(prefix.ok());
  EXPECT_EQ(header_of(*prefix)["f"]["dtype"], "F8_E4M3");
}

TEST(SafetensorsPrefix, AnEmptyStateIsAValidFile) {
  const auto prefix = safetensors_prefix({}, {});
  ASSERT_TRUE(prefix.ok());
  EXPECT_EQ(prefix->size(), kSafetensorsAlignment);
  EXPECT_EQ(header_of(*prefix), json::object());
}

// The border of the padding: a header that ends at, before and after the page.
TEST(SafetensorsPrefix, EveryHeaderLengthIsPaddedToTheNextPage) {
  const std::size_t fixed = std::string(R"({"":{"data_offsets":[0,1],"dtype":"U8","shape":[1]}})").size() + 8;
  for (const auto& [name_bytes, expected] : std::vector<std::pair<std::size_t, std::size_t>>{
           {4096 - fixed - 1, 4096}, {4096 - fixed, 4096}, {4096 - fixed + 1, 8192}}) {
    const auto prefix = safetensors_prefix(std::vector<Entry>{entry(std::string(name_bytes, 'n'), DType::u8, {1})}, {});
    ASSERT_TRUE(prefix.ok());
    EXPECT_EQ(prefix->size(), expected) << name_bytes;
  }
}

TEST(SafetensorsPrefix, NamesThatTheFormatCannotHoldAreRefused) {
  EXPECT_EQ(safetensors_prefix(std::vector<Entry>{entry("__metadata__", DType::u8, {1})}, {}).status().code(),
            Code::invalid_argument);
  EXPECT_EQ(safetensors_prefix(std::vector<Entry>{entry("\xff", DType::u8, {1})}, {}).status().code(),
            Code::invalid_argument);
  const auto quotes = safetensors_prefix(std::vector<Entry>{entry("a\"\n\\b", DType::u8, {1})}, {});
  ASSERT_TRUE(quotes.ok());
  EXPECT_TRUE(header_of(*quotes).contains("a\"\n\\b"));
}

TEST(SafetensorsPrefix, AHeaderLargerThanReadersAcceptIsRefused) {
  const std::string long_name(kMaxEntryNameBytes - 8, 'n');
  std::vector<Entry> entries;
  for (std::uint64_t i = 0; i <= kMaxSafetensorsHeaderBytes / long_name.size(); ++i) {
    entries.push_back(entry(long_name + std::to_string(i), DType::u8, {1}, i));
  }
  EXPECT_EQ(safetensors_prefix(entries, {}).status().code(), Code::unsupported);
}

}  // namespace
}  // namespace stillframe::format
