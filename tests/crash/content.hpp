// What the checkpoints of the crash suite hold: small, every byte known, drawn from a seed, encoded once and written as
// often as is needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "format/image.hpp"
#include "format/manifest.hpp"
#include "format/table.hpp"
#include "store/reader.hpp"
#include "store/writer.hpp"
#include "support/fault_dice.hpp"

namespace stillframe::test {

struct EncodedChunk {
  format::ChunkRecord record;
  std::vector<std::byte> stored;  // empty: constant
};

struct RankContent {
  format::ImageLayout layout;
  std::string tree_json;
  std::vector<std::byte> image;
  std::vector<EncodedChunk> chunks;
};

struct Content {
  std::string run;
  std::int64_t step = 0;
  bool confirmed = true;
  store::DataKind kind = store::DataKind::container;
  std::vector<RankContent> ranks;
};

using ContentPtr = std::shared_ptr<const Content>;

// How a checkpoint lies on disk; a seed walks through them.
enum class Shape : std::uint8_t {
  container,         // one chunk, byte planes and LZ4
  planes,            // one chunk, codec of the levels: format version 2
  safetensors,       // one chunk, raw
  two_ranks,         // one chunk each, container
  constant_chunk,    // two chunks, the first of them constant, container
  two_chunks,        // both own, well compressible, container
  safetensors_long,  // two chunks, raw: a megabyte of blocks
};

[[nodiscard]] ContentPtr draw_content(Random& random, std::string run, std::int64_t step, Shape shape);

// The rest of the way from begin() to published.
[[nodiscard]] Status write_ranks(store::CheckpointWriter& writer, const Content& content);
[[nodiscard]] format::Manifest draft_of(const Content& content);

// ok when the checkpoint opens and holds this, byte for byte.
[[nodiscard]] Status check_content(const store::Store& store, const std::string& name, const Content& content);

}  // namespace stillframe::test
