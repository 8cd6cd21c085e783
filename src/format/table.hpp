// The binary chunk table beside each rank's data file; docs/format.md, "Chunk table". Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/checksum.hpp"
#include "stillframe/status.hpp"

namespace stillframe::format {

// Where a chunk's stored bytes are. Ids stand in files; version 0 writes only own_bytes.
enum class LocationKind : std::uint8_t { own_bytes = 0 };

struct ChunkRecord {
  LocationKind location = LocationKind::own_bytes;
  std::uint8_t codec = 0;
  std::uint32_t raw_bytes = 0;
  std::uint32_t stored_bytes = 0;
  std::uint64_t offset = 0;  // of the stored bytes in the data file
  base::Hash128 raw_hash;    // XXH3-128 of the raw bytes
  std::uint32_t raw_crc32 = 0;
  std::uint32_t stored_crc32c = 0;
  friend bool operator==(const ChunkRecord&, const ChunkRecord&) = default;
};

struct ChunkTable {
  std::uint64_t image_bytes = 0;
  std::vector<ChunkRecord> chunks;
  friend bool operator==(const ChunkTable&, const ChunkTable&) = default;
};

[[nodiscard]] std::vector<std::byte> encode_table(const ChunkTable& table);
// corrupt unless the bytes are exactly one table of this version whose records cover the image and lie inside a data
// file of `data_bytes`; unsupported for a later version.
[[nodiscard]] Result<ChunkTable> decode_table(std::span<const std::byte> bytes, std::uint64_t data_bytes);

}  // namespace stillframe::format
