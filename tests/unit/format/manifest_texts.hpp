// A small manifest, and its text with one piece changed and sealed anew as an independent writer would.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "base/bytes.hpp"
#include "format/manifest.hpp"

namespace stillframe::format {

inline constexpr std::size_t kSealLineBytes = 80;

// As docs/format.md, "Seal", tells an independent writer to.
inline std::string sealed(const std::string& covered) {
  const std::string hash = base::xxh128(base::as_bytes(covered)).hex();
  const std::string text = covered + "\n \"seal\": {\"xxh128\": \"" + hash + "\", \"crc32\": \"";
  char crc[9];
  std::snprintf(crc, sizeof crc, "%08x", base::crc32(base::as_bytes(text)));
  return text + crc + "\"}\n}\n";
}

inline Manifest small_manifest() {
  Manifest manifest;
  manifest.sequence = 42;
  manifest.id = "00112233445566778899aabbccddeeff";
  manifest.run = "main";
  manifest.step = -1000;
  manifest.created_utc = "2026-11-22T12:30:05Z";
  manifest.group = "default";
  manifest.metrics_json = R"({"loss": 1.0, "lr": 1e-05, "best": {"$float": "nan"}, "n": 3, "note": "ä", "x": null})";
  manifest.writer = "stillframe 0.1.0";
  RankManifest rank;
  rank.layout = lay_out({{"w", DType::f32, {2, 3}, 0, 0}, {"b", DType::bf16, {}, 0, 0}}).value();
  rank.data = {"rank-00000.data", 26, 0};
  rank.table = {"rank-00000.table", 128};
  rank.table_hash = base::xxh128(base::as_bytes("table"));
  rank.table_crc32 = 0xABC;
  rank.tree_json = R"({"model":{"w":{"$tensor":"w"},"b":{"$tensor":"b"}},"lr":0.10,"epoch":3,"half":1.0})";
  manifest.ranks.push_back(rank);
  return manifest;
}

// The manifest's text with one piece replaced, sealed anew.
inline std::string changed(const Manifest& manifest, const std::string& from, const std::string& to) {
  std::string covered = encode_manifest(manifest).value();
  covered.resize(covered.size() - kSealLineBytes);
  const std::size_t at = covered.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  if (at != std::string::npos) covered.replace(at, from.size(), to);
  return sealed(covered);
}
inline std::string changed(const std::string& from, const std::string& to) {
  return changed(small_manifest(), from, to);
}

struct ChangedText {
  const char* from;
  const char* to;
  const char* said;  // in the message
};
inline void expect_refused(const Manifest& manifest, const ChangedText& c) {
  const auto result = decode_manifest(changed(manifest, c.from, c.to));
  EXPECT_FALSE(result.ok()) << c.to;
  EXPECT_EQ(result.status().code(), Code::corrupt) << c.to;
  EXPECT_NE(result.status().message().find(c.said), std::string::npos) << c.to << "\n  " << result.status().message();
}

}  // namespace stillframe::format
