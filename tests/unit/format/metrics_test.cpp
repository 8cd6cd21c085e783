#include <gtest/gtest.h>

#include <clocale>
#include <cmath>

#include "format/json.hpp"
#include "format/manifest.hpp"
#include "format/manifest_seal.hpp"
#include "format/tree_check.hpp"

namespace stillframe::format {
namespace {

TEST(Metrics, AreCheckedInTheCall) {
  EXPECT_TRUE(check_metrics("{}").ok());
  EXPECT_TRUE(check_metrics(R"({"loss": 2, "big": {"$int": "9007199254740993"}, "nan": {"$float": "nan"}})").ok());
  for (const char* text : {"", "1", "[1]", "{\"a\": {}}", "{\"a\": [1]}", "{\"a\": NaN}",
                           "{\"a\": {\"$float\": \"x\"}}", "{\"a\": {\"$tensor\": \"w\"}}"}) {
    EXPECT_EQ(check_metrics(text).code(), Code::invalid_argument) << text;
  }
}

TEST(Metrics, TooManyAreRefusedInTheCall) {
  const std::string most = "{\"text\": \"" + std::string(kMaxMetricsBytes - 12, 'x') + "\"}";
  EXPECT_EQ(most.size(), kMaxMetricsBytes);
  EXPECT_TRUE(check_metrics(most).ok());
  EXPECT_EQ(check_metrics("{\"texts\": \"" + std::string(kMaxMetricsBytes - 12, 'x') + "\"}").code(),
            Code::invalid_argument);
}

TEST(Metrics, NumbersAreRead) {
  const std::string text =
      R"({"loss": 0.25, "n": -3, "u": 18446744073709551615, "e": 1e-05, "nan": {"$float": "nan"},
          "down": {"$float": "-inf"}, "bits": {"$float": "bits:7ff8000000000001"}, "big": {"$int": "-9007199254740994"},
          "word": "1.0", "flag": true, "none": null})";
  EXPECT_EQ(metric_number(text, "loss"), 0.25);
  EXPECT_EQ(metric_number(text, "n"), -3.0);
  EXPECT_EQ(metric_number(text, "u"), 18446744073709551616.0);
  EXPECT_EQ(metric_number(text, "e"), 1e-05);
  EXPECT_TRUE(std::isnan(metric_number(text, "nan").value_or(0)));
  EXPECT_TRUE(std::isnan(metric_number(text, "bits").value_or(0)));
  EXPECT_EQ(metric_number(text, "down"), -INFINITY);
  EXPECT_EQ(metric_number(text, "big"), -9007199254740994.0);
  for (const char* name : {"word", "flag", "none", "absent", ""}) EXPECT_FALSE(metric_number(text, name)) << name;
  EXPECT_EQ(metric_numbers(text).size(), 8U);
  EXPECT_FALSE(metric_number("no JSON", "loss"));
}

TEST(Metrics, NumbersBeyondADoubleAreInfiniteOrZero) {
  const std::string zeros(400, '0');
  const std::string text =
      R"({"tiny": 1e-400, "minus": -1e-400, "none": 0e999, "near": 1e-99999999999999999999, "subnormal": 5e-324,
      "most": 1.7976931348623157e308, "digits": {"$int": "9)" +
      zeros + R"("}, "below": {"$int": "-9)" + zeros + R"("},
      "small": 0.)" +
      zeros + R"(1, "shifted": 0.)" + zeros + "1e401}";
  const auto numbers = metric_numbers(text);
  ASSERT_EQ(numbers.size(), 10U) << text;
  EXPECT_EQ(numbers.at("tiny"), 0.0);
  EXPECT_EQ(numbers.at("minus"), 0.0);
  EXPECT_TRUE(std::signbit(numbers.at("minus")));
  EXPECT_EQ(numbers.at("none"), 0.0);
  EXPECT_EQ(numbers.at("near"), 0.0);
  EXPECT_EQ(numbers.at("subnormal"), 5e-324);
  EXPECT_EQ(numbers.at("most"), 1.7976931348623157e308);
  EXPECT_EQ(numbers.at("digits"), INFINITY);
  EXPECT_EQ(numbers.at("below"), -INFINITY);
  EXPECT_EQ(numbers.at("small"), 0.0);
  EXPECT_EQ(numbers.at("shifted"), 1.0);
}

// A locale of this process with a decimal comma; empty where the system has none.
std::string comma_locale() {
  for (const char* name : {"de_DE.UTF-8", "de_DE.utf8", "de_DE", "fr_FR.UTF-8", "fr_FR.utf8", "ru_RU.UTF-8"}) {
    if (std::setlocale(LC_NUMERIC, name) == nullptr) continue;
    std::setlocale(LC_NUMERIC, "C");
    return name;
  }
  return "";
}

TEST(Metrics, TheLocaleOfTheProcessMovesNoDecimalPoint) {
  const std::string locale = comma_locale();
  if (locale.empty()) GTEST_SKIP() << "no locale with a decimal comma is installed (de_DE.UTF-8, say)";
  ASSERT_NE(std::setlocale(LC_NUMERIC, locale.c_str()), nullptr);
  const std::string text = R"({"loss": 0.25})";
  const auto loss = metric_number(text, "loss");
  const auto sealed = decode_metrics(*parse_json(text, kMaxTreeJsonDepth));
  std::setlocale(LC_NUMERIC, "C");
  EXPECT_EQ(loss, 0.25);
  ASSERT_TRUE(sealed.ok()) << sealed.status().message();
  EXPECT_EQ(*sealed, text) << "what goes into the manifest";
}

}  // namespace
}  // namespace stillframe::format
