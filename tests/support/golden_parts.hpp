// What golden checkpoints are made of. Independent of the codec's encoder and of liblz4's version: the bytes stay what
// they are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "format/derived.hpp"
#include "format/manifest.hpp"
#include "format/table.hpp"
#include "golden.hpp"

namespace stillframe::test {

[[nodiscard]] std::string sha256_hex(std::span<const std::byte> bytes);
// Codec 1 of docs/format.md, each plane by LZ4 where that is smaller.
[[nodiscard]] std::string encode_planes(std::span<const std::byte> raw, std::span<const ElementRun> runs);

// The files of one rank; its chunks are added in the order of the image.
class GoldenRank {
 public:
  GoldenRank(std::uint32_t rank, std::vector<Entry> entries);

  [[nodiscard]] const format::ImageLayout& layout() const noexcept { return manifest_.layout; }
  [[nodiscard]] std::span<std::byte> tensor(const std::string& name);  // to be filled before the first chunk is added

  // Before the first chunk; else the data file is a container.
  void begin_safetensors(const std::string& run, std::int64_t step);
  void add_raw();
  void add_planes();
  void add_stored(std::uint8_t codec, const std::string& stored);
  void add_constant();  // of the first 16 bytes that stand there
  void add_derived(std::span<const format::DerivedPiece> pieces);
  // The chunk is stored in shared file `source` at `offset`, by that codec.
  void add_shared(std::uint16_t source, std::uint64_t offset, std::uint32_t stored_bytes, std::uint8_t codec);
  std::uint16_t share(const std::string& content, const std::string& from);

  // Puts data, table and shared files under `prefix` into `golden`, with the image; returns what the manifest says.
  [[nodiscard]] format::RankManifest finish(const std::string& prefix, std::string tree_json, Golden& golden);

 private:
  [[nodiscard]] std::span<const std::byte> next_chunk(format::ChunkRecord& record) const;
  void add_own(format::ChunkRecord record, const std::string& stored);

  format::RankManifest manifest_;
  std::vector<std::byte> image_;
  std::string data_;
  std::vector<std::string> shared_;
  format::ChunkTable table_;
};

}  // namespace stillframe::test
