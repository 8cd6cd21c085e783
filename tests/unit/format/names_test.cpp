#include "format/names.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace stillframe::format {
namespace {

TEST(Names, CheckpointNamesReadBackAsTheyWereWritten) {
  const std::pair<CheckpointName, std::string> cases[] = {
      {{42, 1000, "20261122T123005Z"}, "000042-step001000-20261122T123005Z"},
      {{1, 0, "20240229T000000Z"}, "000001-step000000-20240229T000000Z"},
      {{1, -1, "20261122T235959Z"}, "000001-step-000001-20261122T235959Z"},
      {{12345678, 987654321, "20261122T123005Z"}, "12345678-step987654321-20261122T123005Z"},
      {{1, std::numeric_limits<std::int64_t>::min(), "20261122T123005Z"},
       "000001-step-9223372036854775808-20261122T123005Z"},
      {{std::numeric_limits<std::uint64_t>::max(), std::numeric_limits<std::int64_t>::max(), "20261122T123005Z"},
       "18446744073709551615-step9223372036854775807-20261122T123005Z"},
  };
  for (const auto& [name, text] : cases) {
    EXPECT_EQ(to_string(name), text);
    EXPECT_EQ(parse_checkpoint_name(text), name) << text;
  }
}

TEST(Names, NothingElseIsACheckpointName) {
  const char* const cases[] = {
      "",
      "latest",
      "00042-step001000-20261122T123005Z",
      "0000042-step001000-20261122T123005Z",
      "000042-step01000-20261122T123005Z",
      "000042-step0001000-20261122T123005Z",
      "000042-step-000000-20261122T123005Z",
      "000042-step--00001-20261122T123005Z",
      "000042-step+00001-20261122T123005Z",
      "000042-Step001000-20261122T123005Z",
      "000042-step001000-20261322T123005Z",
      "000042-step001000-20260230T123005Z",
      "000042-step001000-20261122T243005Z",
      "000042-step001000-20261122T126005Z",
      "000042-step001000-20261122T123060Z",
      "000042-step001000-20261122T123005",
      "000042-step001000-20261122 123005Z",
      "000042-step001000",
      "000042-step001000-20261122T123005Z.partial",
      "000042-step001000-20261122T123005Z ",
      " 000042-step001000-20261122T123005Z",
      "-00042-step001000-20261122T123005Z",
      "18446744073709551616-step001000-20261122T123005Z",
      "000042-step9223372036854775808-20261122T123005Z",
      "000042-step-9223372036854775809-20261122T123005Z",
  };
  for (const char* text : cases) EXPECT_FALSE(parse_checkpoint_name(text)) << text;
}

TEST(Names, PartialAndRemovingNamesCarryTheFinalName) {
  const std::string name = "000042-step-001000-20261122T123005Z";
  const auto partial = parse_partial_name(partial_name(name, "my-run_2"));
  ASSERT_TRUE(partial);
  EXPECT_EQ(partial->name, name);
  EXPECT_EQ(partial->run, "my-run_2");
  EXPECT_EQ(parse_removing_name(removing_name(name)), name);

  EXPECT_FALSE(parse_partial_name(name + ".partial"));
  EXPECT_FALSE(parse_partial_name(name + "..partial"));
  EXPECT_FALSE(parse_partial_name(name + ".a.b.partial"));
  EXPECT_FALSE(parse_partial_name("x.main.partial"));
  EXPECT_FALSE(parse_partial_name(".partial"));
  EXPECT_FALSE(parse_removing_name(name));
  EXPECT_FALSE(parse_removing_name("x.removing"));
}

TEST(Names, FilesOfRanksAndRuns) {
  EXPECT_EQ(data_file(0), "rank-00000.data");
  EXPECT_EQ(safetensors_file(7), "rank-00007.safetensors");
  EXPECT_EQ(table_file(123456), "rank-123456.table");
  EXPECT_EQ(shared_file(0, 12), "rank-00000.shared-12.data");
  EXPECT_EQ(run_lock_file("main"), "run-main.lock");
}

TEST(Names, RunNamesArePlain) {
  EXPECT_TRUE(check_run_name("main").ok());
  EXPECT_TRUE(check_run_name(std::string(64, 'a')).ok());
  for (const std::string& run : {std::string(), std::string(65, 'a'), std::string("a b"), std::string("a/b"),
                                 std::string("a.b"), std::string("\xC3\xA4"), std::string("a\0b", 3)}) {
    const Status status = check_run_name(run);
    EXPECT_EQ(status.code(), Code::invalid_argument) << run;
    EXPECT_FALSE(status.message().empty());
  }
}

TEST(Addresses, SayStoreRunAndStep) {
  struct Case {
    const char* text;
    const char* store;
    const char* run;
    std::optional<std::int64_t> step;  // nullopt: latest
  };
  const Case cases[] = {
      {"runs/gpt", "runs/gpt", "", {}},
      {"runs/gpt@latest", "runs/gpt", "", {}},
      {"runs/gpt@1000", "runs/gpt", "", 1000},
      {"runs/gpt@-3", "runs/gpt", "", -3},
      {"runs/gpt:other@latest", "runs/gpt", "other", {}},
      {"runs/gpt:other", "runs/gpt", "other", {}},
      {"gpt:a@7", "gpt", "a", 7},
      {"/mnt/a:b@c/gpt@7", "/mnt/a:b@c/gpt", "", 7},
      {"a@b/@7", "a@b/", "", 7},
      {"/", "/", "", {}},
  };
  for (const Case& c : cases) {
    const auto address = parse_address(c.text);
    ASSERT_TRUE(address.ok()) << c.text << ": " << address.status().message();
    EXPECT_EQ(address->store, c.store) << c.text;
    EXPECT_EQ(address->run, c.run) << c.text;
    EXPECT_EQ(address->select, c.step ? Select::step : Select::latest) << c.text;
    EXPECT_EQ(address->step, c.step.value_or(0)) << c.text;
    const auto again = parse_address(to_string(*address));
    ASSERT_TRUE(again.ok()) << to_string(*address);
    EXPECT_EQ(again->store, c.store);
    EXPECT_EQ(again->select, address->select);
    EXPECT_EQ(again->step, address->step);
  }
  EXPECT_EQ(to_string(Address{"a@b", "", Select::step, 7}), "a@b/@7");
}

TEST(Addresses, SelectTheBestByAMetric) {
  struct Case {
    const char* text;
    const char* store;
    const char* run;
    const char* metric;
    bool highest;
  };
  const Case cases[] = {
      {"gpt@best", "gpt", "", "loss", false},
      {"gpt:a@best", "gpt", "a", "loss", false},
      {"/mnt/gpt@best:acc:max", "/mnt/gpt", "", "acc", true},
      {"gpt@best:acc:min", "gpt", "", "acc", false},
      {"gpt@best:min", "gpt", "", "min", false},
      {"gpt:a@best:eval/acc:max", "gpt", "a", "eval/acc", true},
      {"/mnt/x:y/gpt:a@best:eval/sub/acc", "/mnt/x:y/gpt", "a", "eval/sub/acc", false},
      {"a@best:x/@best:eval_acc", "a@best:x/", "", "eval_acc", false},
  };
  for (const Case& c : cases) {
    const auto address = parse_address(c.text);
    ASSERT_TRUE(address.ok()) << c.text << ": " << address.status().message();
    const auto again = parse_address(to_string(*address));
    ASSERT_TRUE(again.ok()) << to_string(*address);
    for (const Address& one : {*address, *again}) {
      EXPECT_EQ(one.select, Select::best) << c.text;
      EXPECT_EQ(one.store, c.store) << c.text;
      EXPECT_EQ(one.run, c.run) << c.text;
      EXPECT_EQ(one.metric, c.metric) << c.text;
      EXPECT_EQ(one.highest, c.highest) << c.text;
    }
  }
}

TEST(Addresses, SelectTheLastOneBeforeALossThatIsNoNumber) {
  const auto address = parse_address("runs/gpt:a@before-nan");
  ASSERT_TRUE(address.ok()) << address.status().message();
  EXPECT_EQ(address->select, Select::before_nan);
  EXPECT_EQ(to_string(*address), "runs/gpt:a@before-nan");
}

TEST(Addresses, RefuseWhatHasNoOneMeaning) {
  for (const std::string& text : {std::string(),
                                  std::string("@latest"),
                                  std::string(":main"),
                                  std::string("gpt@"),
                                  std::string("gpt:"),
                                  std::string("gpt:@7"),
                                  std::string("gpt@best-ever"),
                                  std::string("gpt@best:"),
                                  std::string("gpt@best::max"),
                                  std::string("gpt@best:loss:least"),
                                  std::string("gpt@best:loss:max:min"),
                                  std::string("gpt@best:a\nb"),
                                  std::string("gpt@best:") + std::string(257, 'm'),
                                  std::string("gpt@before-nan:loss"),
                                  std::string("@best:loss"),
                                  std::string("gpt@7x"),
                                  std::string("gpt@+7"),
                                  std::string("gpt@7@8"),
                                  std::string("gpt@7:main"),
                                  std::string("gpt:a:b"),
                                  std::string("gpt:a b"),
                                  std::string("gpt@99999999999999999999"),
                                  std::string("g\0t", 3)}) {
    const auto address = parse_address(text);
    EXPECT_FALSE(address.ok()) << text;
    EXPECT_EQ(address.status().code(), Code::invalid_argument);
  }
}

}  // namespace
}  // namespace stillframe::format
