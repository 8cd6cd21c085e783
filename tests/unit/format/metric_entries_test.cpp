// Metrics that the image holds: which element is meant, and the number that it becomes.
#include "format/metric_entries.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "format/descriptor.hpp"
#include "format/manifest.hpp"
#include "format/tree.hpp"

namespace stillframe::format {
namespace {

template <typename T>
MetricElement element_of(T value) {
  MetricElement element{};
  std::memcpy(element.data(), &value, sizeof value);
  return element;
}

ImageLayout layout_with(const std::vector<Entry>& entries) { return lay_out(entries).value(); }

// What a scalar of the dtype with these bytes becomes.
template <typename T>
std::string number_of(DType dtype, T value) {
  const ImageLayout layout = layout_with({{"loss", dtype, {}}});
  const std::string text = R"({"loss": {"$entry": "loss"}})";
  const auto entries = metric_entries(text, layout);
  EXPECT_TRUE(entries.ok()) << entries.status().message();
  const std::vector<MetricElement> elements{element_of(value)};
  const std::string filled = with_numbers(text, *entries, elements).value();
  EXPECT_TRUE(check_metrics(filled).ok()) << filled;
  return filled.substr(std::strlen(R"({"loss": )"), filled.size() - std::strlen(R"({"loss": })"));
}

TEST(MetricEntries, EveryKindOfNumberIsWrittenAsItIs) {
  EXPECT_EQ(number_of(DType::f32, 0.1F), "0.10000000149011612");
  EXPECT_EQ(number_of(DType::f64, 2.0), "2.0");
  EXPECT_EQ(number_of(DType::f64, -0.0), "-0.0");
  EXPECT_EQ(number_of(DType::f64, 1e300), "1e+300");
  EXPECT_EQ(number_of(DType::bf16, std::uint16_t{0xC040}), "-3.0");
  EXPECT_EQ(number_of(DType::f16, std::uint16_t{0x3555}), "0.333251953125");
  EXPECT_EQ(number_of(DType::f16, std::uint16_t{0x8001}), "-5.960464477539063e-08");
  EXPECT_EQ(number_of(DType::i64, std::int64_t{-7}), "-7");
  EXPECT_EQ(number_of(DType::i64, INT64_MIN), R"({"$int": "-9223372036854775808"})");
  EXPECT_EQ(number_of(DType::u8, std::uint8_t{200}), "200");
}

TEST(MetricEntries, WhatIsNotFiniteStaysWhatItIs) {
  EXPECT_EQ(number_of(DType::f32, std::nanf("")), R"({"$float": "nan"})");
  EXPECT_EQ(number_of(DType::f64, -HUGE_VAL), R"({"$float": "-inf"})");
  EXPECT_EQ(number_of(DType::f16, std::uint16_t{0x7C00}), R"({"$float": "inf"})");
  EXPECT_EQ(number_of(DType::f16, std::uint16_t{0x7E00}), R"({"$float": "nan"})");
  EXPECT_EQ(number_of(DType::bf16, std::uint16_t{0x7FC0}), R"({"$float": "nan"})");
}

TEST(MetricEntries, MoreThanAPersonWouldGiveAreRefusedBeforeTheyAreLookedUp) {
  const ImageLayout layout = layout_with({{"loss", DType::f32, {}}});
  const auto text_of = [](std::size_t metrics) {
    std::string text = "{";
    for (std::size_t i = 0; i < metrics; ++i) {
      text += (i == 0 ? "" : ", ") + ("\"m" + std::to_string(i) + "\": {\"$entry\": \"loss\"}");
    }
    return text + "}";
  };
  EXPECT_EQ(metric_entries(text_of(1024), layout).value().size(), 1024U);
  EXPECT_EQ(metric_entries(text_of(1025), layout).status().code(), Code::corrupt);
  const std::string long_text = R"({"loss": {"$entry": "loss"}})" + std::string(kMaxMetricsBytes, ' ');
  EXPECT_EQ(metric_entries(long_text, layout).status().code(), Code::corrupt);
}

TEST(MetricEntries, OthersStandAsTheyWereInTheirOrder) {
  const ImageLayout layout = layout_with({{"w", DType::f32, {3}}, {"a", DType::f32, {}}, {"b", DType::i64, {1}}});
  const std::string text = R"({"one": 1, "b": {"$entry": "b"}, "nan": {"$float": "nan"}, "a": {"$entry": "a"}})";
  const auto entries = metric_entries(text, layout);
  ASSERT_TRUE(entries.ok());
  ASSERT_EQ(entries->size(), 2U);
  EXPECT_EQ((*entries)[0].image_offset, layout.entries[0].offset) << "the widest comes first in the image";
  const std::vector<MetricElement> elements{element_of(std::int64_t{5}), element_of(0.5F)};
  EXPECT_EQ(with_numbers(text, *entries, elements).value(),
            R"({"one": 1, "b": 5, "nan": {"$float": "nan"}, "a": 0.5})");
}

TEST(MetricEntries, WithoutAnyTheTextIsTheSame) {
  const std::string text = R"({ "loss":0.5 })";
  EXPECT_TRUE(metric_entries(text, {})->empty());
  EXPECT_EQ(with_numbers(text, {}, {}).value(), text);
}

TEST(MetricEntries, WhatIsNotOneNumberIsRefusedByName) {
  const ImageLayout layout = layout_with(
      {{"two", DType::f32, {2}}, {"none", DType::f32, {0}}, {"flag", DType::boolean, {}}, {"c", DType::c64, {}}});
  for (const std::string name : {"two", "none", "flag", "c", "missing"}) {
    const auto entries = metric_entries(R"({"loss": {"$entry": ")" + name + R"("}})", layout);
    ASSERT_FALSE(entries.ok()) << name;
    EXPECT_EQ(entries.status().code(), Code::corrupt);
    EXPECT_NE(entries.status().message().find("\"loss\": "), std::string::npos) << entries.status().message();
    EXPECT_NE(entries.status().message().find("'" + name + "'"), std::string::npos) << entries.status().message();
  }
}

TEST(MetricEntries, ADescriptorKnowsThem) {
  const ImageLayout layout = layout_with({{"w", DType::f32, {3}}, {"loss", DType::f32, {}}});
  const auto bytes = [&](const std::string& metrics) {
    return encode_descriptor(encode_layout(layout), flat_tree(layout), metrics);
  };
  const auto descriptor = decode_descriptor(bytes(R"({"loss": {"$entry": "loss"}})"), layout.bytes);
  ASSERT_TRUE(descriptor.ok());
  ASSERT_EQ(descriptor->metric_entries.size(), 1U);
  EXPECT_EQ(descriptor->metric_entries[0].image_offset, layout.entries[1].offset);
  EXPECT_FALSE(decode_descriptor(bytes(R"({"loss": {"$entry": "w"}})"), layout.bytes).ok());
}

TEST(MetricEntries, NeverStandInAManifest) { EXPECT_FALSE(check_metrics(R"({"loss": {"$entry": "loss"}})").ok()); }

}  // namespace
}  // namespace stillframe::format
