#include "interop/safetensors.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/bytes.hpp"
#include "codec/codec.hpp"
#include "format/tree.hpp"
#include "store/writer.hpp"

namespace stillframe::interop {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::uint64_t header_bytes(const std::string& prefix) {
  return base::load_le<std::uint64_t>(base::as_bytes(prefix), 0);
}

json header_of(const std::string& prefix) { return json::parse(prefix.substr(8, header_bytes(prefix))); }

Entry entry(std::string name, DType dtype, std::vector<std::uint64_t> shape, std::uint64_t offset = 0) {
  std::uint64_t bytes = dtype_bytes(dtype);
  for (const std::uint64_t extent : shape) bytes *= extent;
  return {std::move(name), dtype, std::move(shape), offset, bytes};
}

TEST(SafetensorsPrefix, DataStartsOnAPageAndTheLengthFieldSaysSo) {
  const std::vector<Entry> entries{entry("a", DType::f32, {2, 3}), entry("b", DType::u8, {5}, 24)};
  const auto prefix = safetensors_prefix(entries, {});
  ASSERT_TRUE(prefix.ok()) << prefix.status().message();
  EXPECT_EQ(prefix->size() % kSafetensorsAlignment, 0U);
  EXPECT_EQ(header_bytes(*prefix), prefix->size() - 8);
  EXPECT_EQ((*prefix)[8], '{');
  const std::size_t last = prefix->find_last_not_of(' ');
  EXPECT_EQ((*prefix)[last], '}');
}

TEST(SafetensorsPrefix, EntriesStandWithDtypeShapeAndOffsetsIntoTheData) {
  const std::vector<Entry> entries{entry("layer.weight", DType::bf16, {2, 3}), entry("scalar", DType::u8, {}, 12),
                                   entry("empty", DType::u8, {0, 7}, 13)};
  const auto prefix = safetensors_prefix(entries, {{"format", "pt"}, {"step", "1000"}});
  ASSERT_TRUE(prefix.ok()) << prefix.status().message();
  EXPECT_EQ(header_of(*prefix), json::parse(R"({
    "__metadata__": {"format": "pt", "step": "1000"},
    "layer.weight": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
    "scalar": {"dtype": "U8", "shape": [], "data_offsets": [12, 13]},
    "empty": {"dtype": "U8", "shape": [0, 7], "data_offsets": [13, 13]}})"));
}

TEST(SafetensorsPrefix, ADtypeThatSafetensorsLacksKeepsItsBytesAsU8) {
  const auto prefix = safetensors_prefix(std::vector<Entry>{entry("z", DType::c128, {4})}, {});
  ASSERT_TRUE(prefix.ok()) << prefix.status().message();
  EXPECT_EQ(header_of(*prefix)["z"], json::parse(R"({"dtype": "U8", "shape": [4, 16], "data_offsets": [0, 64]})"));
}

TEST(SafetensorsPrefix, FloatsOfEightBitsBearTheNameThatReadersKnow) {
  const auto prefix = safetensors_prefix(std::vector<Entry>{entry("f", DType::f8_e4m3fn, {1})}, {});
  ASSERT_TRUE(prefix.ok());
  EXPECT_EQ(header_of(*prefix)["f"]["dtype"], "F8_E4M3");
}

TEST(SafetensorsPrefix, AnEmptyStateIsAValidFile) {
  const auto prefix = safetensors_prefix({}, {});
  ASSERT_TRUE(prefix.ok());
  EXPECT_EQ(prefix->size(), kSafetensorsAlignment);
  EXPECT_EQ(header_of(*prefix), json::object());
}

// The border of the padding: a header that ends at, before and after the page.
TEST(SafetensorsPrefix, EveryHeaderLengthIsPaddedToTheNextPage) {
  const std::size_t fixed = std::string(R"({"":{"data_offsets":[0,1],"dtype":"U8","shape":[1]}})").size() + 8;
  for (const auto& [name_bytes, expected] : std::vector<std::pair<std::size_t, std::size_t>>{
           {4096 - fixed - 1, 4096}, {4096 - fixed, 4096}, {4096 - fixed + 1, 8192}}) {
    const auto prefix = safetensors_prefix(std::vector<Entry>{entry(std::string(name_bytes, 'n'), DType::u8, {1})}, {});
    ASSERT_TRUE(prefix.ok());
    EXPECT_EQ(prefix->size(), expected) << name_bytes;
  }
}

TEST(SafetensorsPrefix, NamesThatTheFormatCannotHoldAreRefused) {
  EXPECT_EQ(safetensors_prefix(std::vector<Entry>{entry("__metadata__", DType::u8, {1})}, {}).status().code(),
            Code::invalid_argument);
  EXPECT_EQ(safetensors_prefix(std::vector<Entry>{entry("\xff", DType::u8, {1})}, {}).status().code(),
            Code::invalid_argument);
  const auto quotes = safetensors_prefix(std::vector<Entry>{entry("a\"\n\\b", DType::u8, {1})}, {});
  ASSERT_TRUE(quotes.ok());
  EXPECT_TRUE(header_of(*quotes).contains("a\"\n\\b"));
}

TEST(SafetensorsPrefix, AHeaderLargerThanReadersAcceptIsRefused) {
  const std::string long_name(kMaxEntryNameBytes - 8, 'n');
  std::vector<Entry> entries;
  for (std::uint64_t i = 0; i <= kMaxSafetensorsHeaderBytes / long_name.size(); ++i) {
    entries.push_back(entry(long_name + std::to_string(i), DType::u8, {1}, i));
  }
  EXPECT_EQ(safetensors_prefix(entries, {}).status().code(), Code::unsupported);
}

class WriteSafetensors : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "safetensors-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  // One checkpoint of one f32 tensor of 1.5 chunks; its image is returned.
  std::vector<std::byte> write_checkpoint(std::string& name) {
    auto store = store::Store::open_or_create(env::posix_env(), dir_ + "/store");
    EXPECT_TRUE(store.ok()) << store.status().message();
    auto layout = format::lay_out({entry("weight", DType::f32, {393'216})});
    std::vector<std::byte> image(layout->bytes);
    for (std::size_t i = 0; i < image.size(); ++i) image[i] = static_cast<std::byte>(i % 251);
    auto lock = store->lock_run("main");
    auto writer = store::CheckpointWriter::begin(*store, "main", 1, 7, 0);
    EXPECT_TRUE(writer.ok()) << writer.status().message();
    EXPECT_TRUE((*writer)->begin_rank(0, image.size()).ok());
    for (std::uint64_t chunk = 0; chunk < layout->chunk_count(); ++chunk) {
      append(**writer, std::span(image).subspan(chunk * kChunkBytes, layout->chunk_length(chunk)));
    }
    const std::string tree = format::flat_tree(*layout);
    EXPECT_TRUE((*writer)->end_rank(*std::move(layout), tree).ok());
    format::Manifest draft;
    draft.id = std::string(32, 'a');
    draft.run = "main";
    draft.step = 7;
    draft.group = "default";
    draft.writer = "stillframe test";
    auto published = (*writer)->commit(draft);
    EXPECT_TRUE(published.ok()) << published.status().message();
    name = published->name;
    return image;
  }

  static void append(store::CheckpointWriter& writer, std::span<const std::byte> raw) {
    format::ChunkRecord record;
    record.raw_bytes = static_cast<std::uint32_t>(raw.size());
    record.stored_bytes = record.raw_bytes;
    record.raw_hash = base::xxh128(raw);
    record.raw_crc32 = base::crc32(raw);
    record.stored_crc32c = base::crc32c(raw);
    EXPECT_TRUE(writer.append(record, raw).ok());
  }

  std::string dir_;
};

TEST_F(WriteSafetensors, TheFileIsTheHeaderAndTheImageVerbatim) {
  std::string name;
  const std::vector<std::byte> image = write_checkpoint(name);
  auto store = store::Store::open(env::posix_env(), dir_ + "/store");
  ASSERT_TRUE(store.ok());
  auto reader = store::CheckpointReader::open(*store, name);
  ASSERT_TRUE(reader.ok()) << reader.status().message();
  std::vector<std::uint64_t> seen;
  auto file = env::posix_env().create(dir_ + "/out.safetensors");
  ASSERT_TRUE(file.ok());
  const auto bytes =
      write_safetensors(**reader, 0, {{"format", "pt"}}, **file, [&](auto done) { seen.push_back(done); });
  ASSERT_TRUE(bytes.ok()) << bytes.status().message();
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{kChunkBytes, image.size()}));

  const auto text = env::read_whole(env::posix_env(), dir_ + "/out.safetensors", 1ULL << 30);
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(text->size(), *bytes);
  const std::size_t data = 8 + header_bytes(*text);
  EXPECT_EQ(data, 4096U);
  EXPECT_EQ(text->substr(data), base::as_text(image));
}

}  // namespace
}  // namespace stillframe::interop
