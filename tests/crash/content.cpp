#include "crash/content.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <span>
#include <utility>

#include "base/checksum.hpp"
#include "codec/codec.hpp"
#include "format/tree.hpp"
#include "support/checkpoints.hpp"

namespace stillframe::test {
namespace {

constexpr std::size_t kPatternBytes = 16;

bool is_long(Shape shape) { return shape >= Shape::constant_chunk; }

store::DataKind kind_of(Shape shape) {
  const bool plain = shape == Shape::safetensors || shape == Shape::safetensors_long;
  return plain ? store::DataKind::safetensors : store::DataKind::container;
}

codec::CodecId codec_of(Shape shape) {
  if (kind_of(shape) == store::DataKind::safetensors) return codec::CodecId::raw;
  return shape == Shape::planes ? codec::CodecId::planes : codec::CodecId::planes_lz4;
}

// Large enough for the header of codec `planes` to pay.
format::ImageLayout draw_layout(Random& random, Shape shape) {
  constexpr std::array kDTypes{DType::f32, DType::bf16, DType::i64, DType::u8, DType::f16};
  std::vector<Entry> entries;
  if (is_long(shape)) entries.push_back({"embedding.weight", DType::f64, {kChunkBytes / 8 + 64}, 0, 0});
  const std::size_t count = 1 + random.below(2);
  for (std::size_t i = 0; i < count; ++i) {
    const DType dtype = kDTypes.at(random.below(kDTypes.size()));
    const std::uint64_t rows = shape == Shape::planes ? 24 + random.below(7) : 1 + random.below(30);
    const std::uint64_t columns = shape == Shape::planes ? 48 + random.below(13) : 1 + random.below(60);
    entries.push_back({"layer." + std::to_string(i), dtype, {rows, columns}, 0, 0});
  }
  return format::lay_out(std::move(entries)).value();
}

// Long images are zeros but for their last kilobytes, so that they cost little to store.
std::vector<std::byte> draw_image(Random& random, const format::ImageLayout& layout) {
  constexpr std::uint64_t kMostDrawn = 16 * 1024;
  std::vector<std::byte> image(layout.bytes);
  for (std::uint64_t i = layout.bytes - std::min(layout.bytes, kMostDrawn); i < layout.bytes; ++i) {
    if (i % 4 >= 2) image[i] = static_cast<std::byte>(random.next() & 0xFFU);
  }
  return image;
}

bool is_constant(std::span<const std::byte> raw) {
  return raw.size() > kPatternBytes &&
         std::memcmp(raw.data(), raw.data() + kPatternBytes, raw.size() - kPatternBytes) == 0;
}

EncodedChunk encode(const format::ImageLayout& layout, std::uint64_t index, std::span<const std::byte> raw,
                    Shape shape) {
  EncodedChunk chunk;
  chunk.record.raw_bytes = static_cast<std::uint32_t>(raw.size());
  chunk.record.raw_hash = base::xxh128(raw);
  chunk.record.raw_crc32 = base::crc32(raw);
  if (shape == Shape::constant_chunk && is_constant(raw)) {
    chunk.record.location = format::LocationKind::constant;
    std::ranges::copy(raw.first(kPatternBytes), chunk.record.pattern.begin());
    return chunk;
  }
  chunk.stored.resize(codec::encoded_bound(raw.size()));
  const auto encoded = encode_as(codec_of(shape), raw, format::element_runs(layout, index), chunk.stored).value();
  chunk.stored.resize(encoded.bytes);
  chunk.record.codec = static_cast<std::uint8_t>(encoded.codec);
  chunk.record.stored_bytes = static_cast<std::uint32_t>(encoded.bytes);
  chunk.record.stored_crc32c = base::crc32c(chunk.stored);
  return chunk;
}

RankContent draw_rank(Random& random, Shape shape) {
  RankContent rank;
  rank.layout = draw_layout(random, shape);
  rank.tree_json = format::flat_tree(rank.layout);
  rank.image = draw_image(random, rank.layout);
  for (std::uint64_t i = 0; i < rank.layout.chunk_count(); ++i) {
    const auto raw = std::span(rank.image).subspan(i * kChunkBytes, rank.layout.chunk_length(i));
    rank.chunks.push_back(encode(rank.layout, i, raw, shape));
    const auto planes = static_cast<std::uint8_t>(codec::CodecId::planes);
    if (shape == Shape::planes && rank.chunks.back().record.codec != planes) {
      std::cerr << "crash: content of version 2 was to be drawn, and none of its chunks needs it\n";
      std::abort();
    }
  }
  return rank;
}

Status check_rank(const store::CheckpointReader& reader, std::size_t index, const RankContent& rank) {
  thread_local std::vector<std::byte> raw;
  thread_local store::ReadScratch scratch;
  if (reader.table(index).chunks.size() != rank.chunks.size()) {
    return {Code::corrupt, "rank " + std::to_string(index) + " has another number of chunks"};
  }
  for (std::uint64_t chunk = 0; chunk < rank.chunks.size(); ++chunk) {
    const auto expected = std::span(rank.image).subspan(chunk * kChunkBytes, rank.layout.chunk_length(chunk));
    raw.resize(expected.size());
    SF_TRY(reader.read_chunk(index, chunk, raw, scratch));
    if (!std::ranges::equal(raw, expected)) {
      return {Code::corrupt, "chunk " + std::to_string(chunk) + " holds other bytes than it was given"};
    }
  }
  return {};
}

}  // namespace

ContentPtr draw_content(Random& random, std::string run, std::int64_t step, Shape shape) {
  auto content = std::make_shared<Content>();
  content->run = std::move(run);
  content->step = step;
  content->kind = kind_of(shape);
  const std::size_t ranks = shape == Shape::two_ranks ? 2 : 1;
  for (std::size_t i = 0; i < ranks; ++i) content->ranks.push_back(draw_rank(random, shape));
  return content;
}

Status write_ranks(store::CheckpointWriter& writer, const Content& content) {
  for (std::uint32_t rank = 0; rank < content.ranks.size(); ++rank) {
    const RankContent& given = content.ranks[rank];
    SF_TRY(writer.begin_rank(rank, given.layout, content.kind));
    for (const EncodedChunk& chunk : given.chunks) SF_TRY(writer.append(chunk.record, chunk.stored));
    SF_TRY(writer.end_rank(given.tree_json));
  }
  return {};
}

format::Manifest draft_of(const Content& content) {
  format::Manifest draft;
  draft.id = "0123456789abcdef0123456789abcdef";
  draft.run = content.run;
  draft.step = content.step;
  draft.confirmed = content.confirmed;
  draft.group = "default";
  draft.world_size = static_cast<std::uint32_t>(content.ranks.size());
  draft.metrics_json = "{\"loss\": 0.5}";
  draft.writer = "stillframe crash suite";
  return draft;
}

Status check_content(const store::Store& store, const std::string& name, const Content& content) {
  SF_ASSIGN(const auto reader, store::CheckpointReader::open(store, name));
  const format::Manifest& manifest = reader->manifest();
  if (manifest.run != content.run || manifest.step != content.step || manifest.ranks.size() != content.ranks.size()) {
    return {Code::corrupt, "'" + name + "' is another checkpoint than was written under this name"};
  }
  for (std::size_t i = 0; i < content.ranks.size(); ++i) {
    SF_TRY(check_rank(*reader, i, content.ranks[i]).with_context("'" + name + "'"));
  }
  return {};
}

}  // namespace stillframe::test
