#include "daemon/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

namespace stillframe::daemon {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

std::string reference_text() {
  const std::string path = std::string(STILLFRAME_SOURCE_DIR) + "/configs/stillframed.toml";
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string error_of(std::string_view toml) {
  const auto parsed = parse_config(toml, "d.toml");
  EXPECT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.status().code(), Code::invalid_argument);
  return parsed.status().message();
}

void expect_equal(const Config& a, const Config& b) {
  EXPECT_EQ(a.socket, b.socket);
  EXPECT_EQ(a.idle_exit_seconds, b.idle_exit_seconds);
  EXPECT_EQ(a.shutdown_deadline_seconds, b.shutdown_deadline_seconds);
  EXPECT_EQ(a.max_clients, b.max_clients);
  EXPECT_EQ(a.allowed_uids, b.allowed_uids);
  EXPECT_EQ(a.private_store, b.private_store);
  EXPECT_EQ(a.budget_bytes, b.budget_bytes);
  EXPECT_EQ(a.encoder_threads, b.encoder_threads);
  EXPECT_EQ(a.level, b.level);
  EXPECT_EQ(a.group_deadline_seconds, b.group_deadline_seconds);
  EXPECT_EQ(a.retention, b.retention);
  EXPECT_EQ(a.log_level, b.log_level);
  EXPECT_EQ(a.log_path, b.log_path);
}

TEST(ConfigReference, ParsesToExactlyTheDefaults) {
  const auto parsed = parse_config(reference_text(), "stillframed.toml");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  expect_equal(*parsed, Config{});
}

TEST(ConfigReference, MentionsEveryKeyInTheOrderOfHelp) {
  std::istringstream lines(reference_text());
  std::vector<std::string> found;
  std::string section;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with('[')) section = line.substr(1, line.size() - 2);
    if (line.empty() || line.starts_with('[') || line.starts_with('#')) continue;
    found.push_back(section + "." + line.substr(0, line.find(' ')));
  }
  std::vector<std::string> known;
  for (const ConfigKey& key : config_keys()) known.push_back(key.name);
  EXPECT_EQ(found, known);
}

TEST(ConfigFile, AnEmptyFileGivesTheDefaults) {
  const auto parsed = parse_config("", "d.toml");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  expect_equal(*parsed, Config{});
}

TEST(ConfigFile, EveryKeyIsTaken) {
  const auto parsed = parse_config(R"(
daemon.socket = "/run/s.sock"
[daemon]
)",
                                   "d.toml");
  EXPECT_FALSE(parsed.ok()) << "a section given twice is a mistake";
  const auto whole = parse_config(R"([daemon]
socket = "/run/s.sock"
idle_exit_seconds = 30
shutdown_deadline_seconds = 5
max_clients = 2
allowed_uids = [1000, 1001]
private_store = "/data/run"
[arena]
budget_bytes = 1_048_576
[persist]
encoder_threads = 3
level = "raw"
group_deadline_seconds = 7
[retention]
keep_last = 9
keep_best = ["loss:min:2", "accuracy:max"]
keep_every_steps = 1_000
keep_every_seconds = "2h"
keep_for_seconds = 60
keep_steps = [-1, 500]
max_bytes = "2TiB"
min_free_bytes = 0
min_verified = 2
[log]
level = "debug"
path = "/var/log/s.log"
)",
                                  "d.toml");
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  Config expected;
  expected.socket = "/run/s.sock";
  expected.idle_exit_seconds = 30;
  expected.shutdown_deadline_seconds = 5;
  expected.max_clients = 2;
  expected.allowed_uids = {1000, 1001};
  expected.private_store = "/data/run";
  expected.budget_bytes = 1U << 20;
  expected.encoder_threads = 3;
  expected.level = codec::Level::raw;
  expected.group_deadline_seconds = 7;
  expected.retention.keep_last = 9;
  expected.retention.keep_best = {{"loss", false, 2}, {"accuracy", true, 1}};
  expected.retention.keep_every_steps = 1000;
  expected.retention.keep_every_seconds = 7200;
  expected.retention.keep_for_seconds = 60;
  expected.retention.keep_steps = {-1, 500};
  expected.retention.max_bytes = 1ULL << 41U;
  expected.retention.min_free_bytes = 0;
  expected.retention.min_verified = 2;
  expected.log_level = base::LogLevel::debug;
  expected.log_path = "/var/log/s.log";
  expect_equal(*whole, expected);
}

TEST(ConfigFile, AnUnknownKeyIsRefusedWithTheNearestOne) {
  EXPECT_EQ(
      error_of("[arena]\n\nbudget_byte = 1\n"),
      "d.toml:3: arena.budget_byte: expected a known key, found an unknown one; did you mean arena.budget_bytes?");
}

TEST(ConfigFile, TheKeyBeforeLevelsNamesTheirs) {
  EXPECT_EQ(error_of("[persist]\ncodec = \"raw\"\n"),
            "d.toml:2: persist.codec: expected a known key, found an unknown one; did you mean persist.level?");
  Config config;
  EXPECT_THAT(set_config_key(config, "persist.codec", "raw").message(), EndsWith("did you mean persist.level?"));
}

TEST(ConfigFile, EveryLevelHasItsWord) {
  for (const auto level : {codec::Level::raw, codec::Level::fast, codec::Level::standard}) {
    const auto parsed =
        parse_config("[persist]\nlevel = \"" + std::string(codec::level_name(level)) + "\"\n", "d.toml");
    ASSERT_TRUE(parsed.ok()) << parsed.status().message();
    EXPECT_EQ(parsed->level, level);
  }
  EXPECT_EQ(Config().level, codec::Level::standard);
}

TEST(ConfigFile, AnUnknownKeyFarFromEveryOtherGetsNoSuggestion) {
  EXPECT_THAT(error_of("[log]\nquetzalcoatl_feathers = 1\n"), EndsWith("found an unknown one"));
}

TEST(ConfigFile, AnUnknownSectionIsRefusedWithTheNearestOne) {
  EXPECT_EQ(error_of("[log]\nlevel = \"info\"\n[retentoin]\nkeep_last = 1\n"),
            "d.toml:3: retentoin: expected a known section, found an unknown one; did you mean retention?");
}

TEST(ConfigFile, AKeyOutsideOfItsSectionIsAnsweredWithItsFullName) {
  EXPECT_EQ(error_of("keep_last = 3\n"),
            "d.toml:1: keep_last: expected a known section, found a key outside of a section; did you mean "
            "retention.keep_last?");
}

TEST(ConfigFile, AnIllTypeSaysWhatWasExpected) {
  EXPECT_EQ(error_of("[daemon]\nmax_clients = \"many\"\n"),
            "d.toml:2: daemon.max_clients: expected an integer from 1 to 4096, found the string \"many\"");
  EXPECT_THAT(error_of("[daemon]\nsocket = 7\n"), HasSubstr("d.toml:2: daemon.socket: expected an absolute path"));
  EXPECT_THAT(error_of("[daemon]\nmax_clients = 2.5\n"), HasSubstr("found a value of type floating-point"));
  EXPECT_THAT(error_of("[daemon]\nmax_clients = true\n"), HasSubstr("found a value of type boolean"));
  EXPECT_THAT(error_of("log = \"info\"\n"), StartsWith("d.toml:1: log: expected a section [log], found the string"));
}

TEST(ConfigFile, AValueOutOfRangeSaysTheRange) {
  EXPECT_EQ(error_of("[retention]\nkeep_last = 0\n"),
            "d.toml:2: retention.keep_last: expected an integer from 1 to 1000000, found 0");
  EXPECT_THAT(error_of("[daemon]\nmax_clients = -1\n"), HasSubstr("found -1"));
  EXPECT_THAT(error_of("[daemon]\nmax_clients = 4097\n"), HasSubstr("found 4097"));
  EXPECT_THAT(error_of("[arena]\nbudget_bytes = 1048575\n"), HasSubstr("from 1048576 to 140737488355328, or 0"));
  EXPECT_THAT(error_of("[daemon]\nidle_exit_seconds = 31536001\n"), HasSubstr("from 0 to 31536000"));
  EXPECT_THAT(error_of("[persist]\nlevel = \"zip\"\n"),
              HasSubstr("expected \"raw\", \"fast\" or \"default\", found the string \"zip\""));
  EXPECT_THAT(error_of("[log]\nlevel = \"loud\"\n"), HasSubstr("d.toml:2: log.level: expected \"debug\""));
}

TEST(ConfigFile, TheWordsOfRetentionTakeTextListsAndNumbers) {
  const auto parsed = parse_config(
      "[retention]\nkeep_best = \"loss:min:2, accuracy:max\"\nkeep_steps = \"10, 20\"\nmax_bytes = \"1 kB\"\n",
      "d.toml");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->retention.keep_best, (std::vector<BestRule>{{"loss", false, 2}, {"accuracy", true, 1}}));
  EXPECT_EQ(parsed->retention.keep_steps, (std::vector<std::int64_t>{10, 20}));
  EXPECT_EQ(parsed->retention.max_bytes, 1000U);
}

TEST(ConfigFile, AnIllWordOfRetentionSaysWhichPartOfIt) {
  EXPECT_THAT(error_of("[retention]\n\nkeep_best = [\"loss:min\", \"accuracy:highest\"]\n"),
              AllOf(StartsWith("d.toml:3: retention.keep_best: expected a list of at most 16 different "),
                    EndsWith("found \"accuracy:highest\"")));
  EXPECT_THAT(
      error_of("[retention]\nkeep_for_seconds = \"2 weeks\"\n"),
      AllOf(StartsWith("d.toml:2: retention.keep_for_seconds: expected seconds from 0 to "), EndsWith("\"2 weeks\"")));
  EXPECT_THAT(error_of("[retention]\nkeep_steps = [1, 2.5]\n"), EndsWith("found a value of type array"));
  EXPECT_THAT(error_of("[retention]\nkeep_best = [[\"loss\"]]\n"), EndsWith("found a value of type array"));
  EXPECT_THAT(error_of("[retention]\nkeep_last = true\n"), EndsWith("found a value of type boolean"));
  EXPECT_THAT(error_of("[retention]\nmin_verified = 0\n"), EndsWith("from 1 to 1000000, found 0"));
}

TEST(ConfigFile, APathMustBeAbsoluteBecauseADetachedDaemonWorksFromTheRoot) {
  EXPECT_THAT(error_of("[log]\npath = \"here.log\"\n"), HasSubstr("d.toml:2: log.path: expected an absolute path"));
  EXPECT_THAT(error_of("[daemon]\nsocket = \"/" + std::string(107, 'x') + "\"\n"), HasSubstr("at most 107 bytes"));
}

TEST(ConfigFile, ASyntaxErrorNamesItsLine) {
  EXPECT_THAT(error_of("[daemon]\nmax_clients = 1\nmax_clients =\n"), StartsWith("d.toml:3: expected valid TOML"));
  EXPECT_THAT(error_of("[daemon]\nmax_clients = 1\nmax_clients = 2\n"), StartsWith("d.toml:3: expected valid TOML"));
}

TEST(ConfigFile, TheFirstProblemOfTheFileIsReported) {
  EXPECT_THAT(error_of("[log]\nlevel = \"loud\"\n[arena]\nbudget = 1\n"), StartsWith("d.toml:2: log.level"));
}

TEST(ConfigFlags, EveryKeyHasAFlagATypeAndADescription) {
  for (const ConfigKey& key : config_keys()) {
    EXPECT_THAT(key.flag, StartsWith("--"));
    EXPECT_EQ(key.flag.find_first_of("._"), std::string::npos) << key.flag;
    EXPECT_TRUE(key.type == "integer" || key.type == "string") << key.type;
    EXPECT_FALSE(key.description.empty());
  }
  EXPECT_TRUE(std::ranges::any_of(config_keys(), [](const ConfigKey& key) {
    return key.name == "arena.budget_bytes" && key.flag == "--arena-budget-bytes";
  }));
}

TEST(ConfigFlags, AFlagOverridesTheFileAndNothingElse) {
  auto config = parse_config("[daemon]\nmax_clients = 5\nsocket = \"/a\"\n", "d.toml");
  ASSERT_TRUE(config.ok());
  ASSERT_TRUE(set_config_key(*config, "daemon.max_clients", "6").ok());
  EXPECT_EQ(config->max_clients, 6U);
  EXPECT_EQ(config->socket, "/a");
}

TEST(ConfigFlags, TheWordsOfRetentionAreFlags) {
  Config config;
  ASSERT_TRUE(set_config_key(config, "retention.keep_best", "loss:min:2, accuracy:max").ok());
  ASSERT_TRUE(set_config_key(config, "retention.max_bytes", "1GiB").ok());
  EXPECT_EQ(config.retention.keep_best.size(), 2U);
  EXPECT_EQ(config.retention.max_bytes, 1U << 30U);
  const Status refused = set_config_key(config, "retention.keep_for_seconds", "soon");
  EXPECT_EQ(refused.code(), Code::invalid_argument);
  EXPECT_THAT(refused.message(), AllOf(StartsWith("--retention-keep-for-seconds: expected seconds from 0 to "),
                                       EndsWith("found \"soon\"")));
  for (const retention::Word& word : retention::words()) {
    EXPECT_TRUE(std::ranges::any_of(config_keys(), [&](const ConfigKey& key) {
      return key.name == "retention." + std::string(word.name) && key.description == word.help;
    })) << word.name;
  }
}

TEST(ConfigFlags, AnIllValueNamesTheFlagAndChangesNothing) {
  Config config;
  for (const std::string value : {"", "x", "1x", " 1", "-1", "0", "99999999999999999999"}) {
    const Status status = set_config_key(config, "daemon.max_clients", value);
    EXPECT_EQ(status.code(), Code::invalid_argument) << value;
    EXPECT_EQ(status.message(), "--daemon-max-clients: expected an integer from 1 to 4096, found \"" + value + "\"");
  }
  EXPECT_EQ(config.max_clients, Config{}.max_clients);
  EXPECT_EQ(set_config_key(config, "daemon.nothing", "1").code(), Code::invalid_argument);
}

}  // namespace
}  // namespace stillframe::daemon
