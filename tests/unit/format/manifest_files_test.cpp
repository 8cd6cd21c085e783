// What a manifest says of files: containers, safetensors files, files shared with earlier checkpoints.
#include <gtest/gtest.h>

#include "manifest_texts.hpp"

namespace stillframe::format {
namespace {

Manifest safetensors_manifest() {
  Manifest manifest = small_manifest();
  manifest.ranks[0].data = {"rank-00000.safetensors", 4096 + 26, 4096};
  return manifest;
}

Manifest shared_manifest() {
  Manifest manifest = small_manifest();
  manifest.ranks[0].shared = {{"rank-00000.shared-0.data", 5000, "000041-step000900-20261122T123004Z"},
                              {"rank-00000.shared-1.data", 7, "000007-step000100-20261122T113004Z"}};
  return manifest;
}

TEST(ManifestFiles, ASafetensorsFileIsItsHeaderAndTheImage) {
  const auto back = decode_manifest(encode_manifest(safetensors_manifest()).value());
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(back->ranks[0].data, safetensors_manifest().ranks[0].data);
  EXPECT_EQ(back->stored_bytes, 4096U + 26 + 128);
  const ChangedText cases[] = {
      {"\"start\": 4096", "\"start\": 0", "start"},
      {"\"start\": 4096", "\"start\": 4097", "start"},
      {"\"start\": 4096", "\"start\": 8192", "bytes"},
      {"\"bytes\": 4122, \"start\": 4096", "\"bytes\": 2074, \"start\": 2048", "start"},
      {"\"start\": 4096", "\"start\": 18446744073709547520", "start"},
      {"\"bytes\": 4122", "\"bytes\": 4123", "of a safetensors file"},
      {"\"bytes\": 4122", "\"bytes\": 9223372036854775808", "bytes"},
      {"rank-00000.safetensors", "rank-00001.safetensors", "rank-00000.safetensors"},
      {", \"start\": 4096", "", "start"},
  };
  for (const ChangedText& c : cases) expect_refused(safetensors_manifest(), c);
}

TEST(ManifestFiles, AContainerBeginsWithItsFirstChunk) {
  expect_refused(small_manifest(), {"\"start\": 0", "\"start\": 4096", "start"});
  expect_refused(small_manifest(), {"\"bytes\": 26, \"start\"", "\"bytes\": 9223372036854775808, \"start\"", "bytes"});
  expect_refused(small_manifest(), {"\"start\": 0", "\"start\": 0, \"more\": 1", "more"});
}

TEST(ManifestFiles, SharedFilesComeFromEarlierCheckpoints) {
  const auto back = decode_manifest(encode_manifest(shared_manifest()).value());
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(back->ranks[0].shared, shared_manifest().ranks[0].shared);
  EXPECT_EQ(back->stored_bytes, 26U + 128U);  // shared bytes are not its own
  EXPECT_EQ(encode_manifest(*back).value(), encode_manifest(shared_manifest()).value());
  const ChangedText cases[] = {
      {"rank-00000.shared-0.data", "../rank-00000.data", "rank-00000.shared-0.data"},
      {"rank-00000.shared-1.data", "rank-00000.shared-2.data", "rank-00000.shared-1.data"},
      {"rank-00000.shared-0.data", "rank-00000.data", "shared-0"},
      {"000041-step000900", "000042-step000900", "earlier"},
      {"000041-step000900-20261122T123004Z", "../../000041-step000900-20261122T123004Z", "earlier"},
      {"\"bytes\": 5000", "\"bytes\": -1", "bytes"},
      {"\"bytes\": 5000", "\"bytes\": 9223372036854775808", "bytes"},
      {"\"bytes\": 5000", "\"bytes\": 5000, \"more\": 1", "more"},
      {"\"shared\": [", "\"shared\": [7, ", "object"},
  };
  for (const ChangedText& c : cases) expect_refused(shared_manifest(), c);
  expect_refused(small_manifest(), {"\"shared\": []", "\"shared\": {}", "shared"});
  expect_refused(small_manifest(), {"   \"shared\": [],\n", "", "shared"});
}

TEST(ManifestFiles, TooManySharedFilesAreRefused) {
  Manifest manifest = small_manifest();
  for (std::uint32_t i = 0; i <= kMaxSharedFiles; ++i) {
    manifest.ranks[0].shared.push_back(
        {"rank-00000.shared-" + std::to_string(i) + ".data", 1, "000041-step000900-20261122T123004Z"});
  }
  EXPECT_EQ(encode_manifest(manifest).status().code(), Code::invalid_argument);
  manifest.ranks[0].shared.pop_back();
  EXPECT_TRUE(encode_manifest(manifest).ok());
}

}  // namespace
}  // namespace stillframe::format
