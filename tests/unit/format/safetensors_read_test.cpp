// Headers of safetensors files by other hands, also by hostile ones.
#include <gtest/gtest.h>

#include "base/bytes.hpp"
#include "format/safetensors.hpp"

namespace stillframe::format {
namespace {

// 20 bytes of data behind it, when nothing else is said.
constexpr std::uint64_t kDataBytes = 20;
constexpr const char* kGood =
    R"({"b":{"dtype":"U8","shape":[4],"data_offsets":[16,20]},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}})";

std::string prefix_of(const std::string& header) {
  std::array<std::byte, 8> length{};
  base::store_le<std::uint64_t>(length, 0, header.size());
  return std::string(base::as_text(length)) + header;
}

Result<SafetensorsHeader> read(const std::string& header, std::uint64_t data_bytes = kDataBytes) {
  const std::string prefix = prefix_of(header);
  return read_safetensors_header(base::as_bytes(prefix), prefix.size() + data_bytes);
}

TEST(SafetensorsHeader, WhatWasWrittenIsRead) {
  const std::vector<Entry> entries{
      {"a", DType::f32, {2, 2}, 0, 16}, {"ä\"\n", DType::bf16, {1}, 16, 2}, {"none", DType::u8, {0}, 18, 0}};
  const SafetensorsMetadata metadata{{"format", "pt"}, {"step", "1000"}};
  const std::string prefix = safetensors_prefix(entries, metadata).value();
  const auto header = read_safetensors_header(base::as_bytes(prefix), prefix.size() + 18);
  ASSERT_TRUE(header.ok()) << header.status().message();
  EXPECT_EQ(header->entries, entries);
  EXPECT_EQ(header->metadata, metadata);
  EXPECT_EQ(header->data_start, 4096U);
}

TEST(SafetensorsHeader, AHeaderInAnotherOrderAndPaddedIsRead) {
  const auto header = read(std::string(kGood) + "   ");
  ASSERT_TRUE(header.ok()) << header.status().message();
  ASSERT_EQ(header->entries.size(), 2U);
  EXPECT_EQ(header->entries[0], (Entry{"a", DType::f32, {2, 2}, 0, 16}));
  EXPECT_EQ(header->entries[1], (Entry{"b", DType::u8, {4}, 16, 4}));
  EXPECT_TRUE(read("{}", 0).ok());
}

TEST(SafetensorsHeader, ALengthBeyondTheFileOrTheLimitIsRefused) {
  std::array<std::byte, 8> length{};
  for (const std::uint64_t claimed : {1ULL << 63U, ~0ULL, 100'000'001ULL, 93ULL}) {
    base::store_le<std::uint64_t>(length, 0, claimed);
    EXPECT_EQ(safetensors_data_start(length, 100).status().code(), Code::corrupt) << claimed;
    EXPECT_EQ(read_safetensors_header(length, 100).status().code(), Code::corrupt) << claimed;
  }
  base::store_le<std::uint64_t>(length, 0, 92);
  EXPECT_EQ(safetensors_data_start(length, 100).value(), 100U);
  EXPECT_EQ(read_safetensors_header(length, 100).status().code(), Code::corrupt);  // the header itself is not there
  base::store_le<std::uint64_t>(length, 0, 100'000'001);
  EXPECT_EQ(safetensors_data_start(length, ~0ULL).status().code(), Code::corrupt);
  EXPECT_EQ(safetensors_data_start(std::span(length).first(7), 100).status().code(), Code::corrupt);
  EXPECT_EQ(safetensors_data_start(length, 7).status().code(), Code::corrupt);
}

TEST(SafetensorsHeader, WhatContradictsItselfIsRefused) {
  const auto tensor = [](const std::string& shape, const std::string& offsets, const std::string& dtype = "\"U8\"") {
    return "{\"a\":{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}";
  };
  std::string many_dimensions = "[1";
  for (int i = 0; i < 64; ++i) many_dimensions += ",1";
  const std::string cases[] = {
      "",
      "[]",
      " {}",
      "{",
      "{}}",
      "{\"a\":3}",
      "{\"a\":{}}",
      tensor("[21]", "[0,21]"),
      tensor("[20]", "[0,19]"),
      tensor("[21]", "[0,20]"),
      tensor("[19]", "[0,19]"),
      tensor("[19]", "[1,20]"),
      tensor("[20]", "[20,0]"),
      tensor("[20]", "[0,20,20]"),
      tensor("[20]", "[20]"),
      tensor("[20]", "[-1,20]"),
      tensor("[20]", "[0,20.0]"),
      tensor("[20]", "[0,18446744073709551616]"),
      tensor("[-20]", "[0,20]"),
      tensor("[4294967296,4294967296]", "[0,20]"),
      tensor("[9223372036854775808,2,0]", "[0,20]"),
      tensor("[2305843009213693957]", "[0,20]", "\"F64\""),
      tensor("[20]", "[0,20]", "8"),
      tensor("\"20\"", "[0,20]"),
      tensor("[[20]]", "[0,20]"),
      tensor("[20],\"more\":1", "[0,20]"),
      tensor(many_dimensions + ",20]", "[0,20]"),
      "{\"__metadata__\":{\"a\":1}}",
      "{\"__metadata__\":[]}",
      "{\"" + std::string(70'000, 'n') + "\":{\"dtype\":\"U8\",\"shape\":[20],\"data_offsets\":[0,20]}}",
      "{\"\xFF\":{\"dtype\":\"U8\",\"shape\":[20],\"data_offsets\":[0,20]}}",
      // The same name twice, an overlap, a hole between two.
      R"({"a":{"dtype":"U8","shape":[10],"data_offsets":[0,10]},"a":{"dtype":"U8","shape":[10],"data_offsets":[10,20]}})",
      R"({"a":{"dtype":"U8","shape":[11],"data_offsets":[0,11]},"b":{"dtype":"U8","shape":[10],"data_offsets":[10,20]}})",
      R"({"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]},"b":{"dtype":"U8","shape":[10],"data_offsets":[10,20]}})",
      std::string(100'000, '{'),
      "{\"a\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}",
  };
  for (const std::string& header : cases) {
    const auto result = read(header);
    EXPECT_EQ(result.status().code(), Code::corrupt) << header.substr(0, 200);
    EXPECT_NE(result.status().message().find("safetensors"), std::string::npos) << header.substr(0, 200);
  }
  EXPECT_TRUE(read(tensor("[20]", "[0,20]")).ok());
  EXPECT_EQ(read(tensor("[20]", "[0,20]", "\"F4\"")).status().code(), Code::unsupported);
}

// The JSON parser takes a NUL for the end of its text: what followed was not looked at.
TEST(SafetensorsHeader, ANulInThePaddingIsRefused) {
  EXPECT_TRUE(read(std::string(kGood) + "  ").ok());
  EXPECT_EQ(read(std::string(kGood) + std::string(2, '\0')).status().code(), Code::corrupt);
}

TEST(SafetensorsHeader, AFlippedBitNeverLeadsOutsideTheData) {
  std::string prefix = prefix_of(kGood);
  for (std::size_t i = 0; i < prefix.size() * 8; ++i) {
    const auto mask = static_cast<char>(1U << (i % 8));
    prefix[i / 8] = static_cast<char>(prefix[i / 8] ^ mask);
    const auto header = read_safetensors_header(base::as_bytes(prefix), prefix.size() + kDataBytes);
    if (header.ok()) {
      for (const Entry& entry : header->entries) EXPECT_LE(entry.offset + entry.bytes, kDataBytes) << "byte " << i / 8;
    }
    prefix[i / 8] = static_cast<char>(prefix[i / 8] ^ mask);
  }
}

}  // namespace
}  // namespace stillframe::format
