// The binary chunk table beside each rank's data file; docs/format.md, "Chunk table". Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/checksum.hpp"
#include "stillframe/status.hpp"

namespace stillframe::format {

// Where a chunk's bytes come from. Ids stand in files and never change meaning.
enum class LocationKind : std::uint8_t {
  own_bytes = 0,  // stored in this rank's data file
  constant = 1,   // the record's pattern, repeated; nothing is stored
  shared = 2,     // stored in a data file shared with an earlier checkpoint
  derived = 3,    // computed from other chunks as the stored pieces say (format/derived.hpp)
};

using Pattern = std::array<std::byte, 16>;

struct ChunkRecord {
  LocationKind location = LocationKind::own_bytes;
  std::uint8_t codec = 0;
  std::uint16_t source = 0;  // shared: index into RankManifest::shared
  std::uint32_t raw_bytes = 0;
  std::uint32_t stored_bytes = 0;
  std::uint64_t offset = 0;  // of the stored bytes in the data file, or in the shared one
  base::Hash128 raw_hash;    // XXH3-128 of the raw bytes
  std::uint32_t raw_crc32 = 0;
  std::uint32_t stored_crc32c = 0;
  Pattern pattern{};  // constant: the raw bytes are this, again and again from the chunk's start
  friend bool operator==(const ChunkRecord&, const ChunkRecord&) = default;
};

struct ChunkTable {
  std::uint64_t image_bytes = 0;
  std::vector<ChunkRecord> chunks;
  friend bool operator==(const ChunkTable&, const ChunkTable&) = default;
};

// The version of the format whose page names codec `planes`.
inline constexpr std::uint32_t kPlanesVersion = 2;

// The lowest version of the format whose page names all that the table's records say.
[[nodiscard]] std::uint32_t lowest_version(const ChunkTable& table) noexcept;

// What the manifest says of a table: the files that its records lie in, and what they may say.
struct TableBounds {
  std::uint64_t data_start = 0;  // not 0: a safetensors file, whose chunks are all own and raw
  std::uint64_t data_bytes = 0;
  std::vector<std::uint64_t> shared_bytes;
  std::uint32_t version = 1;  // of the format
};

[[nodiscard]] std::vector<std::byte> encode_table(const ChunkTable& table);
// corrupt unless the bytes are exactly one table whose records cover the image, whose own bytes fill the data file from
// `data_start` to its end, whose shared bytes lie inside their files, and whose codecs are those of the format's
// version; unsupported for a version of the table, a codec or a location that this build does not know.
[[nodiscard]] Result<ChunkTable> decode_table(std::span<const std::byte> bytes, const TableBounds& bounds);

// The same for a table that comes in pieces: what is held is what was found right so far, whatever the header claims.
class TableDecoder {
 public:
  static constexpr std::size_t kBlockBytes = 64;  // the header, and each record

  // `table_bytes`: of all pieces together.
  TableDecoder(std::uint64_t table_bytes, TableBounds bounds) noexcept;
  // The next bytes; whole blocks, but for the last piece. Nothing may follow a failure.
  [[nodiscard]] Status take(std::span<const std::byte> bytes);
  [[nodiscard]] Result<ChunkTable> finish() &&;

 private:
  [[nodiscard]] Status take_header(std::span<const std::byte> bytes);
  [[nodiscard]] Status take_record(std::span<const std::byte, kBlockBytes> block);

  std::uint64_t table_bytes_;
  TableBounds bounds_;
  ChunkTable table_;
  std::uint64_t chunks_ = 0;   // that the header claims
  std::uint64_t own_end_ = 0;  // where the own bytes of the records so far end
  bool has_header_ = false;
};

// Fills `raw` from its start with the pattern, the last repetition cut.
void fill_constant(const Pattern& pattern, std::span<std::byte> raw) noexcept;

}  // namespace stillframe::format
