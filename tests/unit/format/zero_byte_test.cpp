// Found by fuzzing: the JSON parser takes a zero byte for the end of the text, so whatever followed it went unread.
#include <gtest/gtest.h>

#include "base/bytes.hpp"
#include "format/descriptor.hpp"
#include "format/manifest.hpp"
#include "format/tree.hpp"

namespace stillframe::format {
namespace {

using namespace std::string_literals;

TEST(ZeroByte, ATreeWithSomethingBehindAZeroByteIsCorrupt) {
  const auto layout = lay_out({{"w", DType::u8, {1}}}).value();
  ASSERT_TRUE(check_tree("{\"w\": {\"$tensor\": \"w\"}}", layout).ok());
  for (const std::string& text : {"{\"w\": 1}\0garbage"s, "1\0"s, "[\0]"s}) {
    const Status status = check_tree(text, layout);
    EXPECT_EQ(status.code(), Code::corrupt) << testing::PrintToString(text);
    EXPECT_NE(status.message().find("zero byte"), std::string::npos) << status.message();
  }
  EXPECT_TRUE(check_tree("\"a\\u0000b\"", layout).ok()) << "an escaped one is a character of the text";
}

TEST(ZeroByte, MetricsWithSomethingBehindAZeroByteAreRefused) {
  EXPECT_EQ(check_metrics("{\"loss\": 1.5}\0}"s).code(), Code::invalid_argument);
}

TEST(ZeroByte, ADescriptorWithSomethingBehindAZeroByteIsCorrupt) {
  const std::string tree = "{\"w\": {\"$tensor\": \"w\"}}";
  const std::string layout = encode_layout(lay_out({{"w", DType::u8, {1}}}).value());
  ASSERT_TRUE(decode_descriptor(encode_descriptor(layout, tree, "{}"), 1).ok());
  EXPECT_EQ(decode_descriptor(encode_descriptor(layout + "\0x"s, tree, "{}"), 1).status().code(), Code::corrupt);
  EXPECT_EQ(decode_descriptor(encode_descriptor(layout, tree + "\0x"s, "{}"), 1).status().code(), Code::corrupt);
}

TEST(EmptyTexts, ADescriptorOfThemIsEncodedAndRefused) {
  EXPECT_EQ(decode_descriptor(encode_descriptor({}, {}, {}), 0).status().code(), Code::corrupt);
}

}  // namespace
}  // namespace stillframe::format
