// The format is frozen: what is checked in under tests/golden is made again byte for byte, and is read.
#include "support/golden.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/bytes.hpp"
#include "codec/codec.hpp"
#include "format/derived.hpp"
#include "format/manifest.hpp"
#include "format/safetensors.hpp"
#include "format/table.hpp"

namespace stillframe::test {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(STILLFRAME_SOURCE_DIR) / "tests/golden";

std::string content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::map<std::string, std::string> checked_in(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files[fs::relative(entry.path(), folder).generic_string()] = content(entry.path());
  }
  return files;
}

// Of each version of the format.
class GoldenOf : public testing::TestWithParam<int> {
 protected:
  const fs::path folder_ = kGolden / (GetParam() == 1 ? "v1" : "v2/stores");
  const Golden golden_ = GetParam() == 1 ? make_golden() : make_golden_v2(kGolden / "v2/chunks");
};
INSTANTIATE_TEST_SUITE_P(Version, GoldenOf, testing::Values(1, 2));

TEST_P(GoldenOf, TheWritersFunctionsMakeTheseBytes) {
  const auto& made = golden_.files;
  const auto found = checked_in(folder_);
  std::vector<std::string> names_made;
  std::vector<std::string> names_found;
  for (const auto& [name, text] : made) names_made.push_back(name);
  for (const auto& [name, text] : found) names_found.push_back(name);
  ASSERT_EQ(names_made, names_found);
  for (const auto& [name, text] : made) EXPECT_TRUE(text == found.at(name)) << name;
}

// One rank of a golden checkpoint, decoded by the format's and the codec's functions alone.
class RankImage {
 public:
  RankImage(const fs::path& checkpoint, const format::RankManifest& rank)
      : data_(content(checkpoint / rank.data.file)) {
    const std::string table = content(checkpoint / rank.table.file);
    EXPECT_EQ(base::xxh128(base::as_bytes(table)), rank.table_hash);
    EXPECT_EQ(base::crc32(base::as_bytes(table)), rank.table_crc32);
    format::TableBounds bounds{rank.data.start, rank.data.bytes, {}, rank.version};
    EXPECT_EQ(data_.size(), rank.data.bytes);
    for (const format::SharedFile& shared : rank.shared) {
      shared_.push_back(content(checkpoint / shared.file));
      EXPECT_EQ(shared_.back().size(), shared.bytes);
      bounds.shared_bytes.push_back(shared.bytes);
    }
    table_ = format::decode_table(base::as_bytes(table), bounds).value();
    EXPECT_EQ(table_.image_bytes, rank.layout.bytes);
    image_.resize(table_.image_bytes);
    for (const bool derived : {false, true}) {
      for (std::size_t chunk = 0; chunk < table_.chunks.size(); ++chunk) {
        if ((table_.chunks[chunk].location == format::LocationKind::derived) == derived) decode(chunk);
      }
    }
  }

  const std::vector<std::byte>& image() const noexcept { return image_; }

 private:
  void decode(std::size_t chunk) {
    const format::ChunkRecord& record = table_.chunks[chunk];
    const auto raw = std::span(image_).subspan(chunk * kChunkBytes, record.raw_bytes);
    if (record.location == format::LocationKind::constant) {
      format::fill_constant(record.pattern, raw);
    } else {
      const bool shared = record.location == format::LocationKind::shared;
      const std::string& file = shared ? shared_[record.source] : data_;
      const auto stored = base::as_bytes(file).subspan(record.offset, record.stored_bytes);
      EXPECT_EQ(base::crc32c(stored), record.stored_crc32c);
      if (record.location == format::LocationKind::derived) {
        derive(stored, raw);
      } else {
        const Status decoded = codec::decode(record.codec, stored, raw);
        EXPECT_TRUE(decoded.ok()) << decoded.message();
      }
    }
    EXPECT_EQ(base::xxh128(raw), record.raw_hash);
    EXPECT_EQ(base::crc32(raw), record.raw_crc32);
  }

  void derive(std::span<const std::byte> stored, std::span<std::byte> raw) {
    const auto pieces = format::decode_derived(stored, raw.size(), image_.size());
    ASSERT_TRUE(pieces.ok()) << pieces.status().message();
    EXPECT_TRUE(format::check_sources(*pieces, table_).ok());
    std::size_t at = 0;
    for (const format::DerivedPiece& piece : *pieces) {
      const auto source = std::span(image_).subspan(piece.source_offset, format::derived_source_bytes(piece));
      EXPECT_TRUE(format::apply_rule(piece.rule, source, raw.subspan(at, piece.raw_bytes)).ok());
      at += piece.raw_bytes;
    }
  }

  std::string data_;
  std::vector<std::string> shared_;
  format::ChunkTable table_;
  std::vector<std::byte> image_;
};

TEST_P(GoldenOf, TheReadersFunctionsGetEveryImage) {
  std::size_t ranks = 0;
  for (const auto& [name, text] : checked_in(folder_)) {
    if (!name.ends_with("/manifest.json")) continue;
    SCOPED_TRACE(name);
    const auto manifest = format::decode_manifest(text);
    ASSERT_TRUE(manifest.ok()) << manifest.status().message();
    EXPECT_TRUE(format::decode_manifest_head(text).ok());
    EXPECT_EQ(manifest->version, static_cast<std::uint32_t>(GetParam()));
    EXPECT_EQ(format::encode_manifest(*manifest).value(), text);
    const std::string prefix = name.substr(0, name.rfind('/') + 1);
    for (const format::RankManifest& rank : manifest->ranks) {
      const RankImage decoded(folder_ / prefix, rank);
      EXPECT_TRUE(decoded.image() == golden_.images.at(prefix + std::to_string(rank.rank))) << rank.rank;
      ++ranks;
    }
  }
  EXPECT_EQ(ranks, golden_.images.size());
}

TEST(Golden, TheSafetensorsFileIsReadAsOne) {
  const fs::path path = kGolden / "v1/safetensors/000001-step000010-20261122T123005Z/rank-00000.safetensors";
  const std::string file = content(path);
  const auto header = format::read_safetensors_header(base::as_bytes(file), file.size());
  ASSERT_TRUE(header.ok()) << header.status().message();
  EXPECT_EQ(header->data_start, 4096U);
  EXPECT_EQ(header->entries.size(), 5U);
}

}  // namespace
}  // namespace stillframe::test
