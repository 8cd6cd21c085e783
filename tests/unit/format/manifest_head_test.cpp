// The members of version 1 before `ranks`, and the decoder that reads only those.
#include <gtest/gtest.h>

#include "manifest_texts.hpp"

namespace stillframe::format {
namespace {

Manifest full_manifest() {
  Manifest manifest = small_manifest();
  manifest.confirmed = true;
  manifest.alarms = {{"non_finite_loss", "the loss is NaN"}, {"frozen", "\"w\" did not move\nsince step 3"}};
  return manifest;
}

void expect_same_head(const ManifestHead& a, const ManifestHead& b) {
  EXPECT_EQ(a.sequence, b.sequence);
  EXPECT_EQ(a.id, b.id);
  EXPECT_EQ(a.run, b.run);
  EXPECT_EQ(a.step, b.step);
  EXPECT_EQ(a.created_utc, b.created_utc);
  EXPECT_EQ(a.group, b.group);
  EXPECT_EQ(a.world_size, b.world_size);
  EXPECT_EQ(a.confirmed, b.confirmed);
  EXPECT_EQ(a.metrics_json, b.metrics_json);
  EXPECT_EQ(a.alarms, b.alarms);
  EXPECT_EQ(a.raw_bytes, b.raw_bytes);
  EXPECT_EQ(a.stored_bytes, b.stored_bytes);
  EXPECT_EQ(a.writer, b.writer);
}

TEST(ManifestHead, ReadsWhatTheWholeManifestSays) {
  const std::string text = encode_manifest(full_manifest()).value();
  const auto whole = decode_manifest(text);
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  const auto head = decode_manifest_head(text);
  ASSERT_TRUE(head.ok()) << head.status().message();
  expect_same_head(*head, *whole);
  EXPECT_TRUE(head->confirmed);
  EXPECT_EQ(head->alarms, full_manifest().alarms);
  EXPECT_EQ(head->raw_bytes, 26U);
  EXPECT_EQ(head->stored_bytes, 26U + 128U);
}

TEST(ManifestHead, SizesComeFromTheRanksWhateverTheHeadSays) {
  Manifest manifest = full_manifest();
  manifest.raw_bytes = 1;
  manifest.stored_bytes = 2;
  EXPECT_EQ(encode_manifest(manifest).value(), encode_manifest(full_manifest()).value());
}

TEST(ManifestHead, TheSealCoversWhatIsNotParsed) {
  std::string text = encode_manifest(full_manifest()).value();
  for (std::size_t i = 0; i < text.size() * 8; ++i) {
    const auto mask = static_cast<char>(1U << (i % 8));
    text[i / 8] = static_cast<char>(text[i / 8] ^ mask);
    EXPECT_FALSE(decode_manifest_head(text).ok()) << "byte " << i / 8;
    text[i / 8] = static_cast<char>(text[i / 8] ^ mask);
  }
  for (std::size_t length = 0; length < text.size(); ++length) {
    EXPECT_EQ(decode_manifest_head(std::string_view(text).substr(0, length)).status().code(), Code::corrupt) << length;
  }
}

// Ranks that are no JSON: the head does not depend on them, so its cost does not either.
TEST(ManifestHead, RanksAreNotParsed) {
  const std::string text = changed(full_manifest(), "\"ranks\": [", "\"ranks\": ][");
  EXPECT_TRUE(decode_manifest_head(text).ok());
  EXPECT_FALSE(decode_manifest(text).ok());
}

TEST(ManifestHead, EveryHeadThatTheWholeDecoderRefusesIsRefused) {
  const std::string long_text(kMaxAlarmTextBytes + 1, 'x');
  const std::string long_kind(kMaxAlarmKindBytes + 1, 'x');
  const std::string alarms = "{\"kind\": \"a\", \"text\": \"\"}";
  std::string many = alarms;
  for (std::size_t i = 0; i < kMaxAlarms; ++i) many += "," + alarms;
  const std::vector<std::array<std::string, 3>> cases = {
      {"\"confirmed\": true", "\"confirmed\": 1", "confirmed"},
      {"\"confirmed\": true", "\"confirmed\": \"true\"", "confirmed"},
      {" \"confirmed\": true,\n", "", "confirmed"},
      {" \"confirmed\": true,\n", " \"confirmed\": true,\n \"confirmed\": true,\n", ""},
      {"\"step\": -1000,\n \"created_utc\": \"2026-11-22T12:30:05Z\"",
       "\"created_utc\": \"2026-11-22T12:30:05Z\",\n \"step\": -1000", "step"},
      {"\"alarms\": [", "\"alarms\": [3, ", "alarms[0]"},
      {"\"alarms\": [", "\"alarms\": [{\"kind\": \"a\"}, ", "text"},
      {"\"alarms\": [", "\"alarms\": [{\"kind\": \"a\", \"text\": \"b\", \"more\": 1}, ", "more"},
      {"\"alarms\": [", "\"alarms\": [{\"kind\": \"\", \"text\": \"b\"}, ", "kind"},
      {"\"alarms\": [", "\"alarms\": [{\"kind\": \"A\", \"text\": \"b\"}, ", "kind"},
      {"\"alarms\": [", "\"alarms\": [{\"kind\": \"" + long_kind + "\", \"text\": \"b\"}, ", "kind"},
      {"\"alarms\": [", "\"alarms\": [{\"kind\": \"a\", \"text\": \"" + long_text + "\"}, ", "text"},
      {"\"alarms\": [", "\"alarms\": [" + many + ", ", "alarms"},
      {"\"alarms\": [", "\"alarms\": [{\"kind\": \"a\", \"text\": \"\xFF\"}, ", "JSON"},
      {"\"raw_bytes\": 26", "\"raw_bytes\": -26", "raw_bytes"},
      {"\"stored_bytes\": 154", "\"stored_bytes\": 18446744073709551616", "stored_bytes"},
      {"\"writer\": \"stillframe 0.1.0\"", "\"writer\": \"\"", "writer"},
      {"\"writer\": \"stillframe 0.1.0\"", "\"writer\": \"" + std::string(1'000'000, 'w') + "\"", "writer"},
      {"\"sequence\": 42", "\"sequence\": -42", "sequence"},
      {"\"world_size\": 1", "\"world_size\": 0", "world_size"},
      {"\"ranks\": [", "\"before\": 0, \"ranks\": [", "ranks"},
      {"\"ranks\": [", "\"rank\": [", "ranks"},
      {"{\n \"format\"", "[\n \"format\"", ""},
  };
  for (const auto& [from, to, said] : cases) {
    const std::string text = changed(full_manifest(), from, to);
    EXPECT_EQ(decode_manifest(text).status().code(), Code::corrupt) << to.substr(0, 100);
    const auto head = decode_manifest_head(text);
    EXPECT_EQ(head.status().code(), Code::corrupt) << to.substr(0, 100);
    EXPECT_NE(head.status().message().find(said), std::string::npos) << head.status().message();
  }
}

TEST(ManifestHead, AVersionFromTheFutureIsSaidWhateverElseIsThere) {
  const std::string text = changed("\"version\": 1", "\"version\": 7, \"colour\": [{}]");
  for (const Status& status : {decode_manifest(text).status(), decode_manifest_head(text).status()}) {
    EXPECT_EQ(status.code(), Code::unsupported);
    EXPECT_NE(status.message().find("version 7"), std::string::npos);
    EXPECT_NE(status.message().find("newer program"), std::string::npos);
  }
}

TEST(Manifest, SumsOfTheHeadAreThoseOfTheRanks) {
  expect_refused(small_manifest(), {"\"raw_bytes\": 26", "\"raw_bytes\": 27", "raw_bytes"});
  expect_refused(small_manifest(), {"\"stored_bytes\": 154", "\"stored_bytes\": 153", "stored_bytes"});
}

TEST(Manifest, SumsThatOverflowAreNotWritten) {
  Manifest manifest = small_manifest();
  manifest.ranks[0].data.bytes = ~0ULL;
  EXPECT_EQ(encode_manifest(manifest).status().code(), Code::invalid_argument);
}

}  // namespace
}  // namespace stillframe::format
