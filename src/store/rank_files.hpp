// The opened files of one rank, and the one way to its chunks: whatever the location, nothing is handed out before its
// checksums were compared.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "codec/context.hpp"
#include "format/manifest.hpp"
#include "format/table.hpp"
#include "store/checkpoint_files.hpp"

namespace stillframe::store {

// A file that could not be opened is null: verify still reads what needs other files.
struct RankFiles {
  std::unique_ptr<env::File> data;
  std::vector<std::unique_ptr<env::File>> shared;  // as RankManifest::shared
  format::ChunkTable table;

  // Later reads come from the device, as far as the system allows.
  void drop_cache() const noexcept;
};

// Every file of the rank, with owner, size, table and header checked.
[[nodiscard]] Result<RankFiles> open_rank(const Store& store, const std::string& directory,
                                          const format::ManifestHead& head, const format::RankManifest& rank);

// Told the bytes read for a source chunk of a derived one; ends the reading by returning false.
using SourceRead = std::function<bool(std::uint64_t bytes)>;

// What the reading of chunks takes beside their target, about 4 MiB where they are encoded: grows with the first ones,
// and is kept by the caller for the next. One thread at a time.
struct ReadScratch {
  std::vector<std::byte> stored;
  std::optional<codec::Context> context;
};

// The chunk's raw bytes into `raw`, of exactly that size; returns how many bytes were read from files for that. May be
// called from many threads, each with its own `scratch`. The message says what is wrong, not where. A derived chunk may
// have thousands of sources: each is read once, and `source_read` (may be empty) hears of each; when it says false,
// Code::deadline.
[[nodiscard]] Result<std::uint64_t> read_chunk(const RankFiles& files, std::uint64_t chunk, std::span<std::byte> raw,
                                               ReadScratch& scratch, const SourceRead& source_read = {});

// The file, relative to the checkpoint, that holds the chunk's stored bytes, or says what the chunk is made of.
[[nodiscard]] const std::string& file_of_chunk(const format::RankManifest& rank, const format::ChunkRecord& record);

// "a.weight, a.bias and 12 more"; of a name at most the first 200 bytes and an ellipsis.
[[nodiscard]] std::string tensors_of_chunk(const format::ImageLayout& layout, std::uint64_t chunk);

}  // namespace stillframe::store
