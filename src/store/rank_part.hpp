// The files of one rank in the directory of a checkpoint that is being written: its data and its chunk table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "codec/codec.hpp"
#include "env/env.hpp"
#include "format/manifest.hpp"
#include "format/names.hpp"
#include "format/table.hpp"
#include "stillframe/status.hpp"

namespace stillframe::store {

// How a rank's data lies on disk.
enum class DataKind : std::uint8_t {
  container,    // rank-00000.data: chunks of any codec and location back to back
  safetensors,  // rank-00000.safetensors: the image behind a header that any tool reads; every chunk raw and own
};

// One thread at a time; parts of different ranks from different threads at once. The directory outlives it.
class RankPart {
 public:
  // Touches nothing. A layout that no safetensors file can hold (a name that is not UTF-8, too many tensors) is refused
  // with invalid_argument or unsupported, and then a container may still be planned.
  [[nodiscard]] static Result<std::unique_ptr<RankPart>> plan(env::Env& env, std::string directory, const std::string& run,
                                                              std::int64_t step, std::uint32_t rank,
                                                              format::ImageLayout layout, DataKind kind);
  RankPart(const RankPart&) = delete;
  RankPart& operator=(const RankPart&) = delete;

  // Makes the data file. Once, before anything below.
  [[nodiscard]] Status open();
  // own_bytes: `record.offset` is set here, the rest, with checksums, by the caller; stored bytes are written before
  // return. constant (containers only): the record as it is to stand, `stored` empty. Chunks come in order from 0.
  [[nodiscard]] Status append(format::ChunkRecord record, std::span<const std::byte> stored);
  // Everything appended so far survives power loss, in the directory as it stands. For ring mode.
  [[nodiscard]] Status sync_data();
  // Syncs the data file, writes and syncs the table. What the manifest is to say of this rank.
  [[nodiscard]] Result<format::RankManifest> end(std::string tree_json);

  // A call that was misused changes nothing; after any other failure nothing is written any more.
  [[nodiscard]] bool failed() const noexcept { return !failure_.ok(); }
  [[nodiscard]] const format::ImageLayout& layout() const noexcept { return layout_; }
  [[nodiscard]] const std::string& data_file() const noexcept { return data_ref_.file; }  // its name

 private:
  RankPart(env::Env& env, std::string directory, std::uint32_t rank, format::ImageLayout layout, DataKind kind,
           std::string header);
  [[nodiscard]] std::string path_of(std::string_view file) const;
  [[nodiscard]] Status check_append(const format::ChunkRecord& record, std::span<const std::byte> stored) const;
  [[nodiscard]] Status write_data(std::span<const std::byte> bytes);
  [[nodiscard]] Status write_files(format::RankManifest& rank);
  [[nodiscard]] Status fail(Status failure);

  env::Env& env_;
  const std::string directory_;
  const std::uint32_t rank_;
  const DataKind kind_;
  const std::string header_;
  format::ImageLayout layout_;
  format::ChunkTable table_;
  format::DataRef data_ref_;
  std::unique_ptr<env::File> data_;
  Status failure_;  // the first one
};

}  // namespace stillframe::store
