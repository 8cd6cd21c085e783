// The words of trainer and daemon: what one side says the other side hears, and nothing else is taken for a message.
#include "protocol/messages.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

namespace stillframe::protocol {
namespace {

using Json = nlohmann::json;

// One of every kind, no member at its default.
std::vector<Message> one_of_each() {
  return {
      Hello{kProtocolVersion, "0.1.0", "/store", "main", "group", 3, 8, "0123abcd", 1ULL << 34U, R"({"keep_last":5})", 20, 600,
            4711,
            true, 7, ~0ULL, "000001-step000009-20260101T000000Z"},
      Settle{5000},
      ArenaRequest{123'456'789, 4096, 7000, true},
      Bye{},
      StatusRequest{},
      Welcome{kProtocolVersion, "0.1.0", 42, "0123abcd", 20, 600, ~0ULL},
      ArenaReady{100, 90, 1ULL << 40U},
      Done{},
      Failure{Code::no_space, "the disk is full"},
      StatusReply{R"({"runs":[{"name":"main"}]})"},
      SnapshotNews{9, "failed", 17, "main-17", 1000, 900, Code::io_error, "it did not fit",
                   {{"stale_state", "nothing \"moved\""}, {"non_finite_loss", "NaN"}}},
      HotRequest{9000},
      HotDone{},
      HotImage{3, 17, -5, 123'456'789, 4096, "000004-step000005-20261122T123005Z"},
      HotNone{"there was nobody"},
  };
}

Json json_of(const Message& message) { return Json::parse(encode(message)); }
Status refusal(const Json& json) { return decode(json.dump()).status(); }

TEST(Messages, OneOfEachIsOneOfEach) { EXPECT_EQ(one_of_each().size(), std::variant_size_v<Message>); }

TEST(Messages, EveryMessageComesBackAsItWasSent) {
  for (const Message& message : one_of_each()) {
    const std::string text = encode(message);
    const auto back = decode(text);
    ASSERT_TRUE(back.ok()) << text << ": " << back.status().message();
    EXPECT_EQ(back->index(), message.index()) << text;
    EXPECT_EQ(encode(*back), text);
  }
}

TEST(Messages, MembersKeepTheirValues) {
  const auto hello = std::get<Hello>(*decode(encode(one_of_each()[0])));
  EXPECT_EQ(hello.store, "/store");
  EXPECT_EQ(hello.run, "main");
  EXPECT_EQ(hello.group, "group");
  EXPECT_EQ(hello.rank, 3U);
  EXPECT_EQ(hello.world_size, 8U);
  EXPECT_EQ(hello.budget_bytes, 1ULL << 34U);
  EXPECT_EQ(hello.retention_json, R"({"keep_last":5})");
  EXPECT_EQ(hello.persist_every_steps, 20U);
  EXPECT_EQ(hello.persist_every_seconds, 600U);
  EXPECT_EQ(hello.pid, 4711);
  EXPECT_TRUE(hello.adopt);
  EXPECT_EQ(hello.reads_format, 7U);
  const auto hot = std::get<HotImage>(*decode(encode(one_of_each()[13])));
  EXPECT_EQ(hot.record, 3U);
  EXPECT_EQ(hot.snapshot_id, 17U);
  EXPECT_EQ(hot.step, -5);
  EXPECT_EQ(hot.image_bytes, 123'456'789U);
  EXPECT_EQ(hot.descriptor_bytes, 4096U);
  EXPECT_EQ(hot.name, "000004-step000005-20261122T123005Z");
  const auto news = std::get<SnapshotNews>(*decode(encode(one_of_each()[10])));
  EXPECT_EQ(news.snapshot_id, 9U);
  EXPECT_EQ(news.state, "failed");
  EXPECT_EQ(news.sequence, 17U);
  EXPECT_EQ(news.name, "main-17");
  EXPECT_EQ(news.raw_bytes, 1000U);
  EXPECT_EQ(news.stored_bytes, 900U);
  EXPECT_EQ(news.code, Code::io_error);
  EXPECT_EQ(news.error, "it did not fit");
  ASSERT_EQ(news.alarms.size(), 2U);
  EXPECT_EQ(news.alarms[0], (Alarm{"stale_state", "nothing \"moved\""}));
  EXPECT_EQ(news.alarms[1], (Alarm{"non_finite_loss", "NaN"}));
}

TEST(Messages, AlarmsOfAnotherShapeAreRefused) {
  const Json good = json_of(one_of_each()[10]);
  for (const char* alarms : {"null", "{}", "\"stale_state\"", "[1]", "[[]]", R"([{"kind": "a"}])", R"([{"kind": 1, "text": ""}])",
                             R"([{"kind": "", "text": "", "more": 1}])", R"([{"kind": "", "text": [[]]}])"}) {
    Json bad = good;
    bad["alarms"] = Json::parse(alarms);
    EXPECT_EQ(refusal(bad).code(), Code::corrupt) << alarms;
  }
}

TEST(Messages, TheLargestNumbersComeBack) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  const auto request = std::get<ArenaRequest>(*decode(encode(ArenaRequest{kMost, kMost - 1, 0})));
  EXPECT_EQ(request.image_bytes, kMost);
  EXPECT_EQ(request.descriptor_bytes, kMost - 1);
  for (const std::int64_t pid :
       {std::numeric_limits<std::int64_t>::min(), std::int64_t{-1}, std::numeric_limits<std::int64_t>::max()}) {
    EXPECT_EQ(std::get<Welcome>(*decode(encode(Welcome{kProtocolVersion, "", pid, "", 0, 0, 0}))).daemon_pid, pid);
  }
}

TEST(Messages, EveryCodeComesBack) {
  for (std::int32_t code = 0; code <= static_cast<std::int32_t>(Code::internal); ++code) {
    EXPECT_EQ(std::get<Failure>(*decode(encode(Failure{static_cast<Code>(code), ""}))).code, static_cast<Code>(code));
  }
}

TEST(Messages, TextOfAnyKindComesBackAndBrokenUtf8IsStillSent) {
  const std::string text = "a \"quoted\" \\ line\n\t\x01 {[ \xc3\xa9 \xf0\x9f\x98\x80";
  EXPECT_EQ(std::get<Failure>(*decode(encode(Failure{Code::internal, text}))).message, text);
  const auto mended = decode(encode(Failure{Code::internal, "path \xff\xfe end"}));
  ASSERT_TRUE(mended.ok());
  EXPECT_NE(std::get<Failure>(*mended).message.find("end"), std::string::npos);
}

TEST(MessagesRefused, EveryMissingMember) {
  for (const Message& message : one_of_each()) {
    const Json whole = json_of(message);
    for (const auto& [key, value] : whole.items()) {
      const bool may_lack = key == "reads_format" || key == "store_file_id" || key == "newest_checkpoint";
      if (may_lack) continue;  // older trainers do not say it
      Json broken = whole;
      broken.erase(key);
      EXPECT_EQ(refusal(broken).code(), Code::corrupt) << whole["type"] << " without " << key;
      EXPECT_NE(refusal(broken).message().find(key), std::string::npos) << refusal(broken).message();
    }
  }
}

TEST(MessagesRefused, EveryMemberTooMany) {
  for (const Message& message : one_of_each()) {
    for (const char* key : {"extra", "", "Type", "protocol2"}) {
      Json broken = json_of(message);
      broken[key] = 1;
      EXPECT_EQ(refusal(broken).code(), Code::corrupt) << broken;
    }
  }
}

TEST(MessagesRefused, EveryMemberOfAnotherType) {
  const std::vector<Json> values{nullptr,         true, -1, 5, 1.5, 1e300, "text", Json::array(), Json::object(),
                                 Json::array({1})};
  for (const Message& message : one_of_each()) {
    const Json whole = json_of(message);
    for (const auto& [key, value] : whole.items()) {
      if (key == "type") continue;
      for (const Json& other : values) {
        const bool same_kind = value.type() == other.type() || (value.is_number_integer() && other.is_number_integer());
        if (same_kind) continue;
        Json broken = whole;
        broken[key] = other;
        EXPECT_EQ(refusal(broken).code(), Code::corrupt) << broken;
      }
    }
  }
}

TEST(MessagesRefused, NumbersOutOfRange) {
  const auto refused = [](std::size_t index, const char* key, const Json& value) {
    Json broken = json_of(one_of_each()[index]);
    broken[key] = value;
    return refusal(broken).code() == Code::corrupt;
  };
  EXPECT_TRUE(refused(0, "rank", 1ULL << 32U));
  EXPECT_TRUE(refused(0, "world_size", 1ULL << 32U));
  EXPECT_TRUE(refused(0, "rank", -1));
  EXPECT_TRUE(refused(0, "budget_bytes", -1));
  EXPECT_TRUE(refused(0, "pid", std::numeric_limits<std::uint64_t>::max()));
  EXPECT_TRUE(refused(8, "code", 12));
  EXPECT_TRUE(refused(8, "code", -1));
  EXPECT_TRUE(refused(8, "code", 1ULL << 32U));
  EXPECT_TRUE(refused(10, "snapshot_id", 1e19));
}

TEST(MessagesRefused, UnknownTypesAndTypesThatAreNoText) {
  for (const Json& type : {Json("nonsense"), Json(""), Json("Hello"), Json(7), Json(nullptr), Json::array({"hello"})}) {
    Json broken = json_of(one_of_each()[0]);
    broken["type"] = type;
    EXPECT_EQ(refusal(broken).code(), Code::corrupt) << type;
  }
  const Status status = refusal({{"type", std::string(100'000, 'x')}});
  EXPECT_EQ(status.code(), Code::corrupt);
  EXPECT_LT(status.message().size(), 200U) << "the message of an error does not carry the offender whole";
}

TEST(MessagesRefused, WhatIsNoObject) {
  for (const char* text :
       {"", " ", "null", "1", "\"hello\"", "[]", "[{\"type\":\"done\"}]", "{", "}", "{\"type\":\"done\"",
        "{\"type\":\"done\"}}", "{\"type\":\"done\"} {\"type\":\"done\"}", "{'type':'done'}"}) {
    EXPECT_EQ(decode(text).status().code(), Code::corrupt) << text;
  }
}

TEST(MessagesRefused, WhatFollowsAZeroByteIsNotOverlooked) {
  const std::string done = R"({"type":"done"})";
  EXPECT_EQ(decode(done + '\0').status().code(), Code::corrupt);
  EXPECT_EQ(decode(done + '\0' + "anything at all").status().code(), Code::corrupt);
}

TEST(MessagesRefused, OtherProtocolVersionsAreUnsupportedWhateverElseTheyHold) {
  for (const char* type : {"hello", "welcome"}) {
    for (const std::uint64_t version :
         {std::uint64_t{0}, std::uint64_t{kOldestTrainersVersion - 1}, std::uint64_t{kProtocolVersion + 1},
          std::numeric_limits<std::uint64_t>::max()}) {
      EXPECT_EQ(refusal({{"type", type}, {"protocol", version}}).code(), Code::unsupported) << type << version;
      EXPECT_EQ(refusal({{"type", type}, {"protocol", version}, {"of_the_future", {1}}, {"run", 5}}).code(),
                Code::unsupported);
    }
    for (const Json& no_version : {Json("2"), Json(-1), Json(1.5), Json(nullptr)}) {
      EXPECT_EQ(refusal({{"type", type}, {"protocol", no_version}}).code(), Code::corrupt) << no_version;
    }
  }
  EXPECT_EQ(refusal({{"type", "done"}, {"protocol", 2}}).code(), Code::corrupt) << "only a greeting has a version";
}

// Its trainer is served in its own version, and said to read version 1 of the format alone.
TEST(Messages, AHelloOfTheVersionBeforeIsTaken) {
  Json json = json_of(one_of_each()[0]);
  json["protocol"] = kOldestTrainersVersion;
  for (const char* later : {"reads_format", "store_file_id", "newest_checkpoint"}) json.erase(later);
  const auto hello = decode(json.dump());
  ASSERT_TRUE(hello.ok()) << hello.status().message();
  EXPECT_EQ(std::get<Hello>(*hello).protocol, kOldestTrainersVersion);
  EXPECT_EQ(std::get<Hello>(*hello).reads_format, 1U);
  EXPECT_EQ(std::get<Hello>(*hello).pid, 4711);
  json["reads_format"] = "2";
  EXPECT_EQ(refusal(json).code(), Code::corrupt) << "where it is said it is a number";
}

TEST(MessagesRefused, ADaemonOfTheVersionBeforeIsRefused) {
  Json json = json_of(Welcome{kOldestTrainersVersion, "0.1.0", 42, "", 0, 0});
  EXPECT_EQ(refusal(json).code(), Code::unsupported);
  EXPECT_FALSE(json.contains("store_file_id")) << "a trainer of that version knows no such member";
}

TEST(MessagesRefused, DeepNestingNeverReachesTheParser) {
  for (const char* opening : {"[", "{\"a\":", "{\"type\":["}) {
    std::string text;
    for (int i = 0; i < 1'000'000; ++i) text += opening;
    EXPECT_EQ(decode(text).status().code(), Code::corrupt);
  }
  // What closes more than it opened does not buy depth, nor do brackets inside text count.
  EXPECT_EQ(decode("]]]]]]" + std::string(500'000, '[')).status().code(), Code::corrupt);
  EXPECT_TRUE(decode(encode(Failure{Code::internal, std::string(1000, '[') + "\\\"{{{{"})).ok());
}

TEST(MessagesRefused, RandomBytesNeverPass) {
  std::mt19937_64 random(4);
  for (int round = 0; round < 20'000; ++round) {
    std::string text(random() % 80, '\0');
    for (char& c : text) c = static_cast<char>(random());
    EXPECT_FALSE(decode(text).ok());
  }
}

// A mutated message is either refused or is a message: then it survives another round trip.
TEST(MessagesRefused, MutationsAreRefusedOrAreMessages) {
  std::mt19937_64 random(5);
  const std::vector<Message> messages = one_of_each();
  const std::string_view alphabet = "{}[]\":,0123456789-+eE.\\utrfalsn \n";
  for (int round = 0; round < 30'000; ++round) {
    std::string text = encode(messages[random() % messages.size()]);
    for (std::uint64_t changes = 1 + random() % 4; changes > 0 && !text.empty(); --changes) {
      const std::size_t at = random() % text.size();
      switch (random() % 4) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text[at] = alphabet[random() % alphabet.size()];
          break;
        case 2:
          text.erase(at, 1 + random() % 5);
          break;
        default:
          text.insert(at, text.substr(random() % text.size(), random() % 12));
          break;
      }
    }
    const auto read = decode(text);
    if (!read.ok()) {
      EXPECT_TRUE(read.status().code() == Code::corrupt || read.status().code() == Code::unsupported) << text;
      continue;
    }
    const auto again = decode(encode(*read));
    ASSERT_TRUE(again.ok()) << text;
    EXPECT_EQ(encode(*again), encode(*read));
  }
}

}  // namespace
}  // namespace stillframe::protocol
