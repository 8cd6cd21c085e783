// Reading one published checkpoint. Never hands out a byte whose checksum did not match.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "format/manifest.hpp"
#include "format/table.hpp"
#include "store/checkpoint_files.hpp"
#include "store/rank_files.hpp"
#include "store/store.hpp"

namespace stillframe::store {

// Holds a shared lock on the checkpoint for its lifetime, so that retention passes over it. read_chunk() may be called
// from many threads.
class CheckpointReader {
 public:
  // Reads and checks manifest, chunk tables, and of every data file owner, size and header: corrupt, unsupported,
  // io_error or not_found with file and reason.
  [[nodiscard]] static Result<std::unique_ptr<CheckpointReader>> open(const Store& store, const std::string& name);
  // For callers that looked at the manifest first.
  [[nodiscard]] static Result<std::unique_ptr<CheckpointReader>> open(const Store& store, OpenedManifest opened);
  ~CheckpointReader();

  [[nodiscard]] const format::Manifest& manifest() const noexcept { return manifest_; }
  [[nodiscard]] const std::string& manifest_text() const noexcept { return manifest_text_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const format::ChunkTable& table(std::size_t rank_index) const { return ranks_[rank_index].table; }

  // Stored bytes -> CRC-32C -> decode -> XXH3-128 and CRC-32 -> `raw` (exactly the record's raw_bytes); a constant
  // chunk from its pattern, a derived one from its sources, each read in this way. corrupt, also when the disk fails,
  // names file, tensors and chunk.
  [[nodiscard]] Status read_chunk(std::size_t rank_index, std::uint64_t chunk, std::span<std::byte> raw,
                                  ReadScratch& scratch) const;
  // Later reads come from the device, as far as the system allows.
  void drop_cache() const noexcept;

 private:
  explicit CheckpointReader(OpenedManifest opened);
  std::string path_;
  std::string name_;
  std::string manifest_text_;
  format::Manifest manifest_;
  std::unique_ptr<env::Lock> lock_;
  std::vector<RankFiles> ranks_;
};

}  // namespace stillframe::store
