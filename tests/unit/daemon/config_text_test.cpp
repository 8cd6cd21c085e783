// Found by fuzzing: texts on which toml++ 3.3 is undefined.
#include "daemon/config_text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/config.hpp"

namespace stillframe::daemon {
namespace {

using testing::StartsWith;

std::string error_of(std::string_view toml) {
  const auto parsed = parse_config(toml, "d.toml");
  EXPECT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.status().code(), Code::invalid_argument);
  return parsed.status().message();
}

TEST(ConfigText, ALetterBeyondAsciiWhereAKeyStandsIsRefusedBeforeTheParserSeesIt) {
  EXPECT_THAT(error_of("[daemon]\nda\xcf\x94 = 1\n"),
              StartsWith("d.toml:2: expected keys, numbers and section names in "));
  EXPECT_THAT(error_of("\xc3\xbc = 1\n"), StartsWith("d.toml:1: "));
  EXPECT_THAT(error_of("[log]\npath = \"/a\"\n[\xc3\xbc]\n"), StartsWith("d.toml:3: "));
}

TEST(ConfigText, LettersBeyondAsciiMayStandInStringsAndComments) {
  const auto parsed =
      parse_config("\xEF\xBB\xBF# f\xc3\xbcr\n[log]\npath = \"/tmp/\\\"\xc3\xbc\"  # \xc3\xbc \"\n", "d.toml");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->log_path, "/tmp/\"\xc3\xbc");
  EXPECT_EQ(line_of_misplaced_letter("a = '''\n\xc3\xbc'\n''' \xc3\xbc"), 3U);
  EXPECT_EQ(line_of_misplaced_letter("a = \"\"\"\n\\\"\"\" \xc3\xbc\"\"\"\n"), std::nullopt);
  EXPECT_EQ(line_of_misplaced_letter("a = '\\' \xc3\xbc"), 1U);
  EXPECT_EQ(line_of_misplaced_letter("a = \"not ended\n\xc3\xbc"), 2U);
  // Found by the fuzz target: the date's parser takes no string from here, and goes on to the letter.
  EXPECT_EQ(line_of_misplaced_letter("a = 1979-05-2'''7T07\n:7\xcd\xa7 '''"), 2U);
  EXPECT_EQ(line_of_misplaced_letter("a = \"\"\" \"\n\\\xef\xb3\xbf\"\"\""), 2U);
  EXPECT_EQ(line_of_misplaced_letter("a = \"\"\"b \\ \n\n  \xef\xb3\xbf\"\"\""), 3U);
  EXPECT_EQ(line_of_misplaced_letter("a = \"\\n\xc3\xbc\""), std::nullopt);
  EXPECT_EQ(line_of_misplaced_letter("a = ['\xc3\xbc', \"\xc3\xbc\"]\n[\"\xc3\xbc\".'\xc3\xbc']"), std::nullopt);
}

TEST(ConfigText, ASectionThatBeginsWithWhatNoKeyBeginsWithIsRefusedAlsoInDebugBuilds) {
  EXPECT_THAT(error_of("[\x1a"
                       "arena]\n"),
              StartsWith("d.toml:1: expected valid TOML"));
  EXPECT_THAT(error_of("\n[=x]\n"), StartsWith("d.toml:2: expected valid TOML"));
}

}  // namespace
}  // namespace stillframe::daemon
