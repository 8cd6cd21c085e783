#include "base/log.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <vector>

#include "base/thread.hpp"
#include "support/temp_dir.hpp"

namespace stillframe::base {
namespace {

class Log : public testing::Test {
 protected:
  void SetUp() override { ASSERT_FALSE(dir_.path().empty()); }
  void TearDown() override { ASSERT_TRUE(configure_log(LogLevel::warn, "").ok()); }

  void start(LogLevel level) { ASSERT_TRUE(configure_log(level, path()).ok()); }
  [[nodiscard]] std::string path() const { return dir_.path() + "/log"; }
  // The lines without time and level.
  [[nodiscard]] std::vector<std::string> events() const {
    const std::regex line_form(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info|warning|warn|error) (.*))");
    std::vector<std::string> found;
    std::ifstream file(path());
    for (std::string line; std::getline(file, line);) {
      std::smatch parts;
      EXPECT_TRUE(std::regex_match(line, parts, line_form)) << line;
      found.push_back(parts[2]);
    }
    return found;
  }

 private:
  test::TempDir dir_;
};

TEST_F(Log, FieldsAreQuotedWhenAReaderCouldNotTellThemApart) {
  start(LogLevel::info);
  log(LogLevel::info, "a.plain", {{"run", "main"}, {"step", 1000}, {"path", "/a/b-c_d.e"}});
  log(LogLevel::info, "a.quoted",
      {{"a", "two words"}, {"b", "x=y"}, {"c", "say \"no\""}, {"d", ""}, {"e", "back\\slash"}});
  log(LogLevel::info, "a.lines", {{"text", "first\nsecond\tthird"}});
  EXPECT_EQ(events(), (std::vector<std::string>{
                          "a.plain run=main step=1000 path=/a/b-c_d.e",
                          R"(a.quoted a="two words" b="x=y" c="say \"no\"" d="" e="back\\slash")",
                          R"(a.lines text="first\nsecond\tthird")",
                      }));
}

TEST_F(Log, ValuesAreNotTakenForFormats) {
  start(LogLevel::info);
  log(LogLevel::info, "a.braces", {{"value", "{}{0}%s%n"}});
  EXPECT_EQ(events(), (std::vector<std::string>{"a.braces value={}{0}%s%n"}));
}

TEST_F(Log, LinesBelowTheLevelAreLeftOut) {
  start(LogLevel::warn);
  log(LogLevel::debug, "a.debug");
  log(LogLevel::info, "a.info");
  log(LogLevel::warn, "a.warn");
  log(LogLevel::error, "a.error");
  EXPECT_EQ(events(), (std::vector<std::string>{"a.warn", "a.error"}));
}

TEST_F(Log, OffIsOff) {
  start(LogLevel::off);
  log(LogLevel::error, "a.error");
  EXPECT_TRUE(events().empty());
}

TEST_F(Log, ManyThreadsWriteWholeLines) {
  start(LogLevel::info);
  {
    std::vector<Thread> threads;
    for (int i = 0; i < 4; ++i) {
      auto thread = Thread::start("logs", [] {
        for (int line = 0; line < 200; ++line) log(LogLevel::info, "a.line", {{"text", "some words here"}});
      });
      ASSERT_TRUE(thread.ok());
      threads.push_back(std::move(thread).value());
    }
  }
  const std::vector<std::string> lines = events();
  EXPECT_EQ(lines.size(), 800U);
  EXPECT_EQ(std::count(lines.begin(), lines.end(), R"(a.line text="some words here")"), 800);
}

TEST_F(Log, AFileThatCannotBeOpenedIsSaidAndTheOldLogGoesOn) {
  start(LogLevel::info);
  { std::ofstream(path() + ".file") << "no directory"; }
  const Status refused = configure_log(LogLevel::info, path() + ".file/log");
  EXPECT_EQ(refused.code(), Code::io_error);
  EXPECT_NE(refused.message().find(path()), std::string::npos);
  log(LogLevel::info, "a.still");
  EXPECT_EQ(events(), (std::vector<std::string>{"a.still"}));
}

TEST(LogLevels, HaveFiveNames) {
  EXPECT_EQ(log_level_from_name("debug"), LogLevel::debug);
  EXPECT_EQ(log_level_from_name("info"), LogLevel::info);
  EXPECT_EQ(log_level_from_name("warn"), LogLevel::warn);
  EXPECT_EQ(log_level_from_name("error"), LogLevel::error);
  EXPECT_EQ(log_level_from_name("off"), LogLevel::off);
  for (const char* name : {"", "INFO", "warning", "trace"}) EXPECT_FALSE(log_level_from_name(name).has_value()) << name;
}

}  // namespace
}  // namespace stillframe::base
