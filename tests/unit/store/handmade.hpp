// A checkpoint put together by hand, with a chunk of each location: for what no writer of this version makes, and for
// tables that lie.
#pragma once

#include <bit>
#include <cstring>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "format/derived.hpp"
#include "support/checkpoints.hpp"

namespace stillframe::test {

// Four chunks: `weight` is own bytes and shared bytes, `zeros` a constant, `half` derived from all of `weight`.
struct Handmade {
  static constexpr std::uint64_t kElements = kChunkBytes / 2;

  format::ImageLayout layout = format::lay_out({{"weight", DType::f32, {kElements}},
                                                {"zeros", DType::f32, {kElements / 2}},
                                                {"half", DType::bf16, {kElements}}})
                                   .value();
  std::vector<std::byte> image = std::vector<std::byte>(layout.bytes);
  std::vector<std::byte> data;    // own stored bytes
  std::vector<std::byte> shared;  // the shared file; the chunk lies at 100
  format::ChunkTable table{layout.bytes, {}};

  // `codec`: of the chunks of `weight`.
  explicit Handmade(codec::CodecId codec = codec::CodecId::raw) : codec_(codec) {
    fill_image();
    add_own();
    add_shared();
    add_constant();
    add_derived({{0, static_cast<std::uint32_t>(kChunkBytes), format::DerivedRule::bf16_of_f32}});
  }

  [[nodiscard]] std::span<const std::byte> raw(std::uint64_t chunk) const {
    return std::span(image).subspan(chunk * kChunkBytes, layout.chunk_length(chunk));
  }

  // Replaces the pieces of the last chunk. Its checksums stay those of the right content.
  void derive_from(const std::vector<format::DerivedPiece>& pieces) {
    data.resize(data.size() - table.chunks.back().stored_bytes);
    table.chunks.pop_back();
    add_derived(pieces);
  }

  // Writes it as sequence 1, step 5 of run "main"; durable, without the store's recipe.
  Status put(const store::Store& store, std::string& name) const {
    env::Env& env = store.env();
    name = "000001-step000005-20261122T123005Z";
    const std::string directory = env::join(store.path(), name);
    SF_TRY(env.make_dir(directory));
    const auto table_bytes = format::encode_table(table);
    format::RankManifest rank;
    rank.data = {format::data_file(0), data.size(), 0};
    rank.table = {format::table_file(0), table_bytes.size()};
    rank.table_hash = base::xxh128(table_bytes);
    rank.table_crc32 = base::crc32(table_bytes);
    rank.shared = {{format::shared_file(0, 0), shared.size(), "000000-step000001-20261122T123005Z"}};
    rank.version = format::lowest_version(table);
    rank.layout = layout;
    rank.tree_json = format::flat_tree(layout);
    format::Manifest manifest = draft_of("main", 5);
    manifest.sequence = 1;
    manifest.created_utc = "2026-11-22T12:30:05Z";
    manifest.confirmed = true;
    manifest.ranks = {rank};
    SF_ASSIGN(const std::string text, format::encode_manifest(manifest));
    SF_TRY(write(env, env::join(directory, rank.data.file), data));
    SF_TRY(write(env, env::join(directory, rank.shared[0].file), shared));
    SF_TRY(write(env, env::join(directory, rank.table.file), table_bytes));
    return write(env, env::join(directory, format::kManifestFile), base::as_bytes(text));
  }

 private:
  static Status write(env::Env& env, const std::string& path, std::span<const std::byte> bytes) {
    SF_ASSIGN(const auto file, env.create(path));
    return file->write_at(0, bytes);
  }

  void fill_image() {
    for (std::uint64_t i = 0; i < kElements; ++i) {
      // 9 bits of mantissa: the last is rounded, ties to even.
      const float value = 1.0F + static_cast<float>(i % 512) / 512.0F;
      const auto bits = std::bit_cast<std::uint32_t>(value);
      const std::uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16U) & 1U)) >> 16U;
      base::store_le<std::uint32_t>(image, i * 4, bits);
      base::store_le<std::uint16_t>(image, layout.entries[2].offset + i * 2, static_cast<std::uint16_t>(rounded));
    }
  }

  [[nodiscard]] format::ChunkRecord record(format::LocationKind location) const {
    const auto bytes = raw(table.chunks.size());
    format::ChunkRecord made;
    made.location = location;
    made.raw_bytes = static_cast<std::uint32_t>(bytes.size());
    made.raw_hash = base::xxh128(bytes);
    made.raw_crc32 = base::crc32(bytes);
    return made;
  }

  static void store(format::ChunkRecord& made, std::span<const std::byte> bytes, std::vector<std::byte>& file) {
    made.offset = file.size();
    made.stored_bytes = static_cast<std::uint32_t>(bytes.size());
    made.stored_crc32c = base::crc32c(bytes);
    file.insert(file.end(), bytes.begin(), bytes.end());
  }

  // The stored bytes of a chunk of `weight`.
  std::vector<std::byte> encoded(std::uint64_t chunk, format::ChunkRecord& made) const {
    std::vector<std::byte> out(codec::encoded_bound(kChunkBytes));
    const auto stored = encode_as(codec_, raw(chunk), format::element_runs(layout, chunk), out).value();
    out.resize(stored.bytes);
    made.codec = static_cast<std::uint8_t>(stored.codec);
    return out;
  }

  void add_own() {
    auto made = record(format::LocationKind::own_bytes);
    store(made, encoded(0, made), data);
    table.chunks.push_back(made);
  }
  void add_shared() {
    auto made = record(format::LocationKind::shared);
    shared.assign(100, std::byte{0x55});
    store(made, encoded(1, made), shared);
    table.chunks.push_back(made);
  }
  void add_constant() { table.chunks.push_back(record(format::LocationKind::constant)); }
  void add_derived(const std::vector<format::DerivedPiece>& pieces) {
    auto made = record(format::LocationKind::derived);
    store(made, format::encode_derived(pieces), data);
    table.chunks.push_back(made);
  }

  codec::CodecId codec_;
};

}  // namespace stillframe::test
