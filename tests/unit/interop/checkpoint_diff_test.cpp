#include "interop/checkpoint_diff.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "support/checkpoints.hpp"
#include "support/temp_dir.hpp"

namespace stillframe::interop {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr std::uint64_t kChunkFloats = kChunkBytes / 4;

struct Tensor {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::uint64_t> shape;
  std::vector<float> floats;  // F32: the first elements; the rest is zero
};

Tensor floats(std::string name, std::uint64_t elements, std::vector<float> first) {
  return {std::move(name), DType::f32, {elements}, std::move(first)};
}

class CheckpointDiffTest : public testing::Test {
 protected:
  using Rank = std::vector<Tensor>;

  std::string write(const std::vector<Rank>& ranks, const std::string& values = "") {
    const std::uint64_t sequence = store_.claim_sequence(base::Deadline::after_ms(10'000)).value();
    const auto writer = store::CheckpointWriter::begin(store_, "main", sequence, 1, test::kUtcNs).value();
    for (std::uint32_t rank = 0; rank < ranks.size(); ++rank) {
      std::vector<Entry> entries;
      for (const Tensor& tensor : ranks[rank]) entries.push_back({tensor.name, tensor.dtype, tensor.shape, 0, 0});
      const format::ImageLayout layout = format::lay_out(std::move(entries)).value();
      std::vector<std::byte> image(layout.bytes);
      for (const Tensor& tensor : ranks[rank]) {
        for (const Entry& entry : layout.entries) {
          if (entry.name == tensor.name && !tensor.floats.empty())
            std::memcpy(image.data() + entry.offset, tensor.floats.data(), 4 * tensor.floats.size());
        }
      }
      EXPECT_TRUE(writer->begin_rank(rank, layout, store::DataKind::container).ok());
      EXPECT_TRUE(test::append_image(*writer, layout, image, codec::CodecId::raw).ok());
      EXPECT_TRUE(writer->end_rank(values.empty() ? format::flat_tree(layout) : values).ok());
    }
    auto published = writer->commit(test::draft_of("main", 1, static_cast<std::uint32_t>(ranks.size())));
    EXPECT_TRUE(published.ok()) << published.status().message();
    return published->name;
  }

  Result<CheckpointDiff> diff(const std::string& before, const std::string& after) {
    last_done_ = 0;
    SF_ASSIGN(const auto a, store::CheckpointReader::open(store_, before));
    SF_ASSIGN(const auto b, store::CheckpointReader::open(store_, after));
    return diff_checkpoints(*a, *b, [this](std::uint64_t done, std::uint64_t total) {
      EXPECT_GE(done, last_done_);
      last_done_ = done;
      last_total_ = total;
    });
  }

  std::string data_of(const std::string& name) { return store_.path() + "/" + name + "/rank-00000.data"; }

  test::TempDir dir_;
  store::Store store_ = store::Store::open_or_create(env::posix_env(), dir_.path()).value();
  std::uint64_t last_done_ = 0;
  std::uint64_t last_total_ = 0;
};

TEST_F(CheckpointDiffTest, ChangedAddedAndRemovedTensorsAreNamed) {
  const auto a = write({{floats("same", 3, {1}), floats("moves", 4, {1, 2, 3, 4}), floats("gone", 1, {})}});
  const auto b = write({{floats("new", 2, {}), floats("same", 3, {1}), floats("moves", 4, {1, 2, 3, 7})}});
  const auto found = diff(a, b);
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_FALSE(found->equal());
  EXPECT_EQ(found->equal_tensors, 1U);
  ASSERT_THAT(found->tensors, SizeIs(3));
  EXPECT_EQ(found->tensors[0].kind, ChangeKind::added);
  EXPECT_EQ(found->tensors[0].after.name, "new");
  EXPECT_EQ(found->tensors[1].kind, ChangeKind::values);
  EXPECT_EQ(found->tensors[1].after.name, "moves");
  EXPECT_EQ(found->tensors[1].difference.changed, 1U);
  EXPECT_EQ(found->tensors[1].difference.elements, 4U);
  EXPECT_EQ(found->tensors[1].difference.max_difference, 3);
  EXPECT_EQ(found->tensors[2].kind, ChangeKind::removed);
  EXPECT_EQ(found->tensors[2].before.name, "gone");
  EXPECT_EQ(last_done_, last_total_);
}

TEST_F(CheckpointDiffTest, AnotherShapeOrDtypeIsSaidAndNotCompared) {
  const auto a = write({{{"shape", DType::f32, {2, 3}, {}}, {"dtype", DType::f16, {2}, {}}}});
  const auto b = write({{{"shape", DType::f32, {3, 2}, {}}, {"dtype", DType::bf16, {2}, {}}}});
  const auto found = diff(a, b);
  ASSERT_TRUE(found.ok());
  ASSERT_THAT(found->tensors, SizeIs(2));
  for (const TensorChange& change : found->tensors) {
    EXPECT_EQ(change.kind, ChangeKind::layout);
    EXPECT_EQ(change.difference.elements, 0U);
  }
  EXPECT_EQ(found->compared_bytes, 0U);
}

// Damage in a chunk of equal hash goes unseen, since it is not read; damage in one that differs does not.
TEST_F(CheckpointDiffTest, ChunksOfEqualHashAreNotRead) {
  std::vector<float> before(2 * kChunkFloats + 5, 1), after = before;
  after[kChunkFloats + 1] = 2;
  const auto a = write({{floats("w", before.size(), before)}});
  const auto b = write({{floats("w", after.size(), after)}});
  ASSERT_TRUE(test::flip_bit(env::posix_env(), data_of(b), 17).ok());
  ASSERT_TRUE(test::flip_bit(env::posix_env(), data_of(b), 2 * kChunkBytes + 3).ok());
  const auto found = diff(a, b);
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(found->compared_bytes, kChunkBytes);
  EXPECT_EQ(found->skipped_bytes, kChunkBytes + 20);
  ASSERT_THAT(found->tensors, SizeIs(1));
  EXPECT_EQ(found->tensors[0].difference.changed, 1U);
  EXPECT_EQ(found->tensors[0].difference.elements, before.size());

  ASSERT_TRUE(test::flip_bit(env::posix_env(), data_of(b), kChunkBytes + 17).ok());
  const auto damaged = diff(a, b);
  EXPECT_EQ(damaged.status().code(), Code::corrupt);
  EXPECT_THAT(damaged.status().message(), HasSubstr("chunk 1 (w)"));
}

// One tensor more in front moves everything by less than a chunk: the hashes say nothing, and the values are compared.
TEST_F(CheckpointDiffTest, TensorsThatMovedInTheImageAreComparedByValue) {
  std::vector<float> w(2 * kChunkFloats);
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(i);
  const auto a = write({{floats("w", w.size(), w), floats("v", 3, {1, 2, 3})}});
  const auto b = write({{floats("first", 3, {9, 9, 9}), floats("w", w.size(), w), floats("v", 3, {1, 2, 4})}});
  const auto found = diff(a, b);
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(found->equal_tensors, 1U);
  EXPECT_EQ(found->skipped_bytes, 0U);
  ASSERT_THAT(found->tensors, SizeIs(2));
  EXPECT_EQ(found->tensors[1].after.name, "v");
  EXPECT_EQ(found->tensors[1].difference.changed, 1U);
}

// The same bytes under other names: the chunk's hash is equal, and yet both tensors changed.
TEST_F(CheckpointDiffTest, AnEqualChunkIsNoProofForTensorsAtAnotherPlaceInIt) {
  const auto a = write({{floats("x", 2, {1, 1}), floats("y", 2, {2, 2})}});
  const auto b = write({{floats("y", 2, {1, 1}), floats("x", 2, {2, 2})}});
  const auto found = diff(a, b);
  ASSERT_TRUE(found.ok());
  ASSERT_THAT(found->tensors, SizeIs(2));
  EXPECT_EQ(found->tensors[0].difference.changed, 2U);
}

// Moved by whole chunks, they lie under the same hashes.
TEST_F(CheckpointDiffTest, TensorsThatMovedByWholeChunksAreNotRead) {
  const std::vector<float> w(kChunkFloats, 3);
  const auto a = write({{floats("w", w.size(), w)}});
  const auto b = write({{floats("first", kChunkFloats, {}), floats("w", w.size(), w)}});
  const auto found = diff(a, b);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->compared_bytes, 0U);
  EXPECT_EQ(found->equal_tensors, 1U);
}

TEST_F(CheckpointDiffTest, ACheckpointEqualsItself) {
  const auto a = write({{floats("w", 5, {1, 2, 3}), {"empty", DType::u8, {0}, {}}}});
  const auto found = diff(a, a);
  ASSERT_TRUE(found.ok());
  EXPECT_TRUE(found->equal());
  EXPECT_EQ(found->equal_tensors, 2U);
  EXPECT_EQ(found->compared_bytes, 0U);
}

TEST_F(CheckpointDiffTest, RanksAreComparedWithTheirLike) {
  const auto a = write({{floats("w", 1, {1})}, {floats("w", 1, {2})}});
  const auto b = write({{floats("w", 1, {1})}});
  const auto fewer = diff(a, b);
  ASSERT_TRUE(fewer.ok());
  EXPECT_FALSE(fewer->equal());
  EXPECT_THAT(fewer->ranks_removed, ElementsAre(1));
  EXPECT_THAT(fewer->ranks_added, IsEmpty());
  EXPECT_THAT(fewer->tensors, IsEmpty());
  EXPECT_THAT(diff(b, a)->ranks_added, ElementsAre(1));
  const auto c = write({{floats("w", 1, {1})}, {floats("w", 1, {5})}});
  const auto second = diff(a, c);
  ASSERT_TRUE(second.ok());
  ASSERT_THAT(second->tensors, SizeIs(1));
  EXPECT_EQ(second->tensors[0].rank, 1U);
}

TEST_F(CheckpointDiffTest, ValuesOutsideTheTensorsAreCompared) {
  const auto a = write({{floats("w", 1, {1})}}, R"({"model": {"$tensor": "w"}, "lr": 0.1})");
  const auto b = write({{floats("w", 1, {1})}}, R"({"model": {"$tensor": "w"}, "lr": 0.2})");
  const auto found = diff(a, b);
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_THAT(found->tensors, IsEmpty());
  EXPECT_FALSE(found->equal());
  ASSERT_THAT(found->values, SizeIs(1));
  ASSERT_THAT(found->values[0].values.changes, SizeIs(1));
  EXPECT_EQ(found->values[0].values.changes[0].path, "lr");
}

}  // namespace
}  // namespace stillframe::interop
