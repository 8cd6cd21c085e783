// The manifest: what a checkpoint holds, as JSON for people and programs, sealed by its own hash; docs/format.md. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/checksum.hpp"
#include "format/image.hpp"
#include "stillframe/status.hpp"

namespace stillframe::format {

inline constexpr std::uint32_t kFormatVersion = 0;

struct FileRef {
  std::string file;  // a plain name, no '/', inside the checkpoint's directory
  std::uint64_t bytes = 0;
  friend bool operator==(const FileRef&, const FileRef&) = default;
};

struct RankManifest {
  std::uint32_t rank = 0;
  FileRef data;
  FileRef table;
  base::Hash128 table_hash;
  std::uint32_t table_crc32 = 0;
  ImageLayout layout;
  std::string tree_json;  // the typed state tree (format/tree.hpp), canonical text
};

struct Manifest {
  std::uint64_t sequence = 0;
  std::string id;    // 32 hex digits, unique per snapshot: arena id and snapshot id
  std::string run;
  std::int64_t step = 0;
  std::string created_utc;  // "2026-11-22T12:30:05Z"
  std::string group;
  std::uint32_t world_size = 1;
  std::string metrics_json = "{}";  // a flat JSON object; numbers, or tree-encoded non-finite floats
  std::string writer;               // "stillframe 0.1.0"
  std::vector<RankManifest> ranks;
};

// The text ends with the seal: the last member, over every byte before its line. Deterministic.
[[nodiscard]] Result<std::string> encode_manifest(const Manifest& manifest);
// Checks seal, version, every field, limit, layout and tree before a Manifest exists; corrupt or unsupported otherwise.
[[nodiscard]] Result<Manifest> decode_manifest(std::string_view text);

// invalid_argument unless the text can stand as Manifest::metrics_json: for the call that takes it from the user.
[[nodiscard]] Status check_metrics(std::string_view metrics_json);

}  // namespace stillframe::format
