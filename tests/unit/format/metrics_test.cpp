#include <gtest/gtest.h>

#include <cmath>

#include "format/manifest.hpp"

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

}  // namespace
}  // namespace stillframe::format
