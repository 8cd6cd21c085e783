// The files of one checkpoint, read and checked one by one: what the reader needs all of, and verify needs any of.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "env/env.hpp"
#include "format/manifest.hpp"
#include "format/table.hpp"
#include "store/store.hpp"

namespace stillframe::store {

// A decoded manifest, with the shared lock that keeps retention off the checkpoint.
struct OpenedManifest {
  std::string name;
  std::string path;  // of the checkpoint's directory
  std::unique_ptr<env::Lock> lock;
  std::string text;
  format::Manifest manifest;
};

// From the page cache, or past it (as far as the system allows).
enum class ReadFrom : std::uint8_t { cache, device };

// not_found when there is no such checkpoint; corrupt or unsupported, with the file and the reason, when it does not
// decode or belongs to another checkpoint.
[[nodiscard]] Result<OpenedManifest> open_manifest(const Store& store, const std::string& name, ReadFrom from);

// Checks size, hash, CRC and every record.
[[nodiscard]] Result<format::ChunkTable> read_table(env::Env& env, const std::string& directory,
                                                    const format::RankManifest& rank, ReadFrom from);

// corrupt when it is missing. Its size is not looked at.
[[nodiscard]] Result<std::unique_ptr<env::File>> open_data(env::Env& env, const std::string& directory,
                                                           const format::RankManifest& rank);
// corrupt when the data file is longer or shorter than the manifest says.
[[nodiscard]] Status check_data_size(const env::File& data, const std::string& directory,
                                     const format::RankManifest& rank);

// As CheckpointReader::read_chunk, but the message says only what is wrong, not where.
[[nodiscard]] Status read_record(const env::File& data, const format::ChunkRecord& record, std::span<std::byte> raw,
                                 std::vector<std::byte>& scratch);

// "a.weight, a.bias and 12 more"
[[nodiscard]] std::string tensors_of_chunk(const format::ImageLayout& layout, std::uint64_t chunk);

// What stands in a mark, for people, without the line end; at most 64 KiB.
[[nodiscard]] Result<std::string> mark_text(const Store& store, const std::string& name, std::string_view mark);

}  // namespace stillframe::store
