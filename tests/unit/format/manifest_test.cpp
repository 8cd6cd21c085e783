#include <gtest/gtest.h>

#include <algorithm>

#include "manifest_texts.hpp"

namespace stillframe::format {
namespace {

TEST(Manifest, ReadsBackAsWritten) {
  const Manifest manifest = small_manifest();
  const auto text = encode_manifest(manifest);
  ASSERT_TRUE(text.ok()) << text.status().message();
  const auto back = decode_manifest(*text);
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(back->sequence, 42U);
  EXPECT_EQ(back->id, manifest.id);
  EXPECT_EQ(back->step, -1000);
  EXPECT_EQ(back->created_utc, manifest.created_utc);
  EXPECT_EQ(back->metrics_json, manifest.metrics_json);
  ASSERT_EQ(back->ranks.size(), 1U);
  EXPECT_EQ(back->ranks[0].layout.entries, manifest.ranks[0].layout.entries);
  EXPECT_EQ(back->ranks[0].data, manifest.ranks[0].data);
  EXPECT_EQ(back->ranks[0].table, manifest.ranks[0].table);
  EXPECT_EQ(back->ranks[0].table_hash, manifest.ranks[0].table_hash);
  EXPECT_EQ(back->ranks[0].table_crc32, 0xABCU);
  // Floats stay floats and integers integers, as they were written.
  EXPECT_EQ(back->ranks[0].tree_json,
            R"({"model": {"w": {"$tensor": "w"}, "b": {"$tensor": "b"}}, "lr": 0.10, "epoch": 3, "half": 1.0})");
  EXPECT_EQ(encode_manifest(*back).value(), *text);
}

TEST(Manifest, LongTreesAreBrokenOverLinesAndReadBack) {
  Manifest manifest = small_manifest();
  std::string numbers;
  for (int i = 0; i < 700; ++i) numbers += (i == 0 ? "" : ",") + std::to_string(i * 7919);
  manifest.ranks[0].tree_json =
      "{\"rng\": [" + numbers + "], \"deep\": [[" + numbers + "], {\"k\\n\": [" + numbers + "]}]}";
  const auto text = encode_manifest(manifest);
  ASSERT_TRUE(text.ok()) << text.status().message();
  std::size_t longest = 0;
  for (std::size_t at = 0; at < text->size();) {
    const std::size_t end = text->find('\n', at);
    longest = std::max(longest, end - at);
    at = end + 1;
  }
  EXPECT_LE(longest, 130U);
  const auto back = decode_manifest(*text);
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(encode_manifest(*back).value(), *text);
}

TEST(Manifest, EveryFlippedBitIsFound) {
  std::string text = encode_manifest(small_manifest()).value();
  for (std::size_t i = 0; i < text.size() * 8; ++i) {
    const auto mask = static_cast<char>(1U << (i % 8));
    text[i / 8] = static_cast<char>(text[i / 8] ^ mask);
    EXPECT_FALSE(decode_manifest(text).ok()) << "byte " << i / 8;
    text[i / 8] = static_cast<char>(text[i / 8] ^ mask);
  }
  EXPECT_TRUE(decode_manifest(text).ok());
}

TEST(Manifest, EveryTruncationAndEveryExtensionIsFound) {
  const std::string text = encode_manifest(small_manifest()).value();
  for (std::size_t length = 0; length < text.size(); ++length) {
    EXPECT_EQ(decode_manifest(std::string_view(text).substr(0, length)).status().code(), Code::corrupt) << length;
  }
  EXPECT_EQ(decode_manifest(text + "\n").status().code(), Code::corrupt);
}

TEST(Manifest, BothChecksumsOfTheSealAreChecked) {
  const std::string text = encode_manifest(small_manifest()).value();
  std::string before_crc = text.substr(0, text.size() - 13);
  char& digit = before_crc[before_crc.size() - 20];  // of the XXH3-128
  digit = digit == '0' ? '1' : '0';
  char crc[9];
  std::snprintf(crc, sizeof crc, "%08x", base::crc32(base::as_bytes(before_crc)));
  EXPECT_EQ(decode_manifest(before_crc + crc + "\"}\n}\n").status().code(), Code::corrupt);
}

TEST(Manifest, ASealedTextOfAnotherWriterIsAccepted) {
  EXPECT_TRUE(decode_manifest(changed("\"step\": -1000", "\"step\" :  -1000")).ok());
}

TEST(Manifest, AWrongFieldIsNamedEvenUnderARightSeal) {
  const ChangedText cases[] = {
      {"\"format\": \"stillframe\"", "\"format\": \"other\"", "format"},
      {"\"version\": 1", "\"version\": -1", "version"},
      {"\"version\": 1", "\"version\": \"1\"", "version"},
      {"\"sequence\": 42", "\"sequence\": -42", "sequence"},
      {"\"sequence\": 42", "\"sequence\": 42.0", "sequence"},
      {"\"sequence\": 42", "\"sequence\": 99999999999999999999", "sequence"},
      {"\"sequence\": 42,", "", "sequence"},
      {"\"sequence\": 42", "\"sequence\": 42, \"sequence\": 42", "twice"},
      {"\"sequence\": 42", "\"sequence\": 42, \"colour\": 1", "colour"},
      {"\"id\": \"00", "\"id\": \"0G", "id"},
      {"\"run\": \"main\"", "\"run\": \"../x\"", "run"},
      {"\"step\": -1000", "\"step\": 9223372036854775808", "step"},
      {"2026-11-22T12:30:05Z", "2026-11-32T12:30:05Z", "created_utc"},
      {"2026-11-22T12:30:05Z", "2026x11-22T12:30:05Z", "created_utc"},
      {"\"group\": \"default\"", "\"group\": \"\"", "group"},
      {"\"world_size\": 1", "\"world_size\": 0", "world_size"},
      {"\"world_size\": 1", "\"world_size\": 1000001", "world_size"},
      {"\"loss\": 1.0", "\"loss\": [1.0]", "loss"},
      {"\"loss\": 1.0", "\"loss\": NaN", "JSON"},
      {"\"rank\": 0", "\"rank\": 1", "file"},
      {"\"image_bytes\": 26", "\"image_bytes\": 27", "ranks[0]"},
      {"\"chunk_bytes\": 1048576", "\"chunk_bytes\": 4096", "chunk_bytes"},
      {"\"chunks\": 1", "\"chunks\": 2", "chunks"},
      {"\"file\": \"rank-00000.data\"", "\"file\": \"../rank-00000.data\"", "rank-00000.data"},
      {"\"rank-00000.table\", \"bytes\": 128", "\"rank-00000.table\", \"bytes\": 127", "table"},
      {"\"rank-00000.data\", \"bytes\": 26", "\"rank-00000.data\", \"bytes\": 27", "bytes"},
      {"\"crc32\": \"00000abc\"", "\"crc32\": \"00000ABC\"", "crc32"},
      {"\"shape\": [2, 3]", "\"shape\": [2, -3]", "shape"},
      {"\"shape\": [2, 3]", "\"shape\": [3, 3]", "ranks[0]"},
      {"\"offset\": 24", "\"offset\": 20", "offset"},
      {"\"$tensor\": \"b\"", "\"$tensor\": \"c\"", "state.model.b"},
      {"\"epoch\": 3", "\"epoch\": 9007199254740993", "epoch"},
  };
  for (const ChangedText& c : cases) expect_refused(small_manifest(), c);
}

TEST(Manifest, ALaterVersionIsUnsupportedAndNotCorrupt) {
  const auto result = decode_manifest(changed("\"version\": 1", "\"version\": 3"));
  EXPECT_EQ(result.status().code(), Code::unsupported);
  EXPECT_NE(result.status().message().find("version 3"), std::string::npos);
}

TEST(Manifest, SaysTheLowestVersionThatHoldsItsRanks) {
  Manifest manifest = small_manifest();
  EXPECT_NE(encode_manifest(manifest)->find("\"version\": 1,"), std::string::npos);
  manifest.ranks[0].version = 2;
  const auto text = encode_manifest(manifest);
  ASSERT_TRUE(text.ok()) << text.status().message();
  EXPECT_NE(text->find("\"version\": 2,"), std::string::npos);
  const auto back = decode_manifest(*text);
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(back->version, 2U);
  EXPECT_EQ(back->ranks[0].version, 2U);
  EXPECT_EQ(decode_manifest_head(*text)->version, 2U);
}

TEST(Manifest, AnUnknownDtypeIsUnsupported) {
  const auto result = decode_manifest(changed("\"dtype\": \"F32\"", "\"dtype\": \"F33\""));
  EXPECT_EQ(result.status().code(), Code::unsupported);
  EXPECT_NE(result.status().message().find("entries[0]"), std::string::npos);
}

TEST(Manifest, TheDraftOfTheFormatIsNotRead) {
  const auto result = decode_manifest(changed("\"version\": 1", "\"version\": 0"));
  EXPECT_EQ(result.status().code(), Code::unsupported);
  EXPECT_NE(result.status().message().find("version 0"), std::string::npos);
}

TEST(Manifest, HostileNestingIsRefusedUnderARightSeal) {
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_EQ(decode_manifest(changed("\"epoch\": 3", "\"epoch\": " + deep)).status().code(), Code::corrupt);
}

TEST(Manifest, WhatNoReaderWouldAcceptIsNotWritten) {
  const auto refused = [](auto change) {
    Manifest manifest = small_manifest();
    change(manifest);
    return encode_manifest(manifest).status().code() == Code::invalid_argument;
  };
  EXPECT_TRUE(refused([](Manifest& m) { m.id = "short"; }));
  EXPECT_TRUE(refused([](Manifest& m) { m.group = "\xFF"; }));
  EXPECT_TRUE(refused([](Manifest& m) { m.metrics_json = "{"; }));
  EXPECT_TRUE(refused([](Manifest& m) { m.metrics_json = "[]"; }));
  EXPECT_TRUE(refused([](Manifest& m) { m.ranks.clear(); }));
  EXPECT_TRUE(refused([](Manifest& m) {
    m.ranks.push_back(m.ranks[0]);
    m.world_size = 2;
  }));
  EXPECT_TRUE(refused([](Manifest& m) { m.ranks[0].tree_json = ""; }));
  EXPECT_TRUE(refused([](Manifest& m) { m.ranks[0].tree_json = R"({"$tensor": "lost"})"; }));
  EXPECT_TRUE(refused([](Manifest& m) { m.ranks[0].data.file = "x"; }));
}

}  // namespace
}  // namespace stillframe::format
