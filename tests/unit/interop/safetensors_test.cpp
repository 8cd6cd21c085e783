#include "interop/safetensors.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "base/bytes.hpp"
#include "codec/codec.hpp"
#include "format/tree.hpp"
#include "store/writer.hpp"

namespace stillframe::interop {
namespace {

std::uint64_t header_bytes(const std::string& prefix) {
  return base::load_le<std::uint64_t>(base::as_bytes(prefix), 0);
}

Entry entry(std::string name, DType dtype, std::vector<std::uint64_t> shape, std::uint64_t offset = 0) {
  std::uint64_t bytes = dtype_bytes(dtype);
  for (const std::uint64_t extent : shape) bytes *= extent;
  return {std::move(name), dtype, std::move(shape), offset, bytes};
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
    EXPECT_TRUE((*writer)->begin_rank(0, *layout, store::DataKind::container).ok());
    for (std::uint64_t chunk = 0; chunk < layout->chunk_count(); ++chunk) {
      append(**writer, std::span(image).subspan(chunk * kChunkBytes, layout->chunk_length(chunk)));
    }
    EXPECT_TRUE((*writer)->end_rank(format::flat_tree(*layout)).ok());
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
