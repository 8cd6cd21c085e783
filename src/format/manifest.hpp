// The manifest: what a checkpoint holds, as JSON for people and programs, sealed by its own hash; docs/format.md, and
// docs/format-v2.md for what version 2 adds. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/checksum.hpp"
#include "format/image.hpp"
#include "stillframe/status.hpp"

namespace stillframe::format {

// A writer writes the lowest version that can hold the checkpoint, a reader reads every version from 1 to its own.
inline constexpr std::uint32_t kFormatVersion = 2;

// Limits of a manifest beside those of types.hpp.
inline constexpr std::size_t kMaxMetricsBytes = 1024 * 1024;
inline constexpr std::size_t kMaxAlarms = 1000;
inline constexpr std::size_t kMaxAlarmKindBytes = 64;
inline constexpr std::size_t kMaxAlarmTextBytes = 4096;
inline constexpr std::size_t kMaxSharedFiles = 1024;  // of a rank; each is an open file of the reader

struct FileRef {
  std::string file;  // a plain name, no '/', inside the checkpoint's directory
  std::uint64_t bytes = 0;
  friend bool operator==(const FileRef&, const FileRef&) = default;
};

// A container (data_file()) or a safetensors file (safetensors_file()).
struct DataRef {
  std::string file;
  std::uint64_t bytes = 0;
  std::uint64_t start = 0;  // of the first own chunk: 0 in a container, behind the header of a safetensors file
  friend bool operator==(const DataRef&, const DataRef&) = default;
};

// A hard link in this checkpoint's directory to a data file that the earlier checkpoint `from` wrote.
struct SharedFile {
  std::string file;
  std::uint64_t bytes = 0;
  std::string from;  // a checkpoint's name; that one may be gone
  friend bool operator==(const SharedFile&, const SharedFile&) = default;
};

struct Alarm {
  std::string kind;  // 1 to 64 of a-z 0-9 _ -
  std::string text;  // for people: UTF-8, at most kMaxAlarmTextBytes
  friend bool operator==(const Alarm&, const Alarm&) = default;
};

struct RankManifest {
  std::uint32_t rank = 0;
  std::uint32_t version = 1;  // the lowest that has all its chunk table names; once read, the manifest's
  DataRef data;
  FileRef table;
  base::Hash128 table_hash;
  std::uint32_t table_crc32 = 0;
  std::vector<SharedFile> shared;
  ImageLayout layout;
  std::string tree_json;  // the typed state tree (format/tree.hpp), canonical text
};

// Everything before `ranks`: enough to list, to choose and to thin.
struct ManifestHead {
  std::uint32_t version = 1;  // of the format
  std::uint64_t sequence = 0;
  std::string id;  // 32 hex digits, unique per snapshot: arena id and snapshot id
  std::string run;
  std::int64_t step = 0;
  std::string created_utc;  // "2026-11-22T12:30:05Z"
  std::string group;
  std::uint32_t world_size = 1;
  bool confirmed = false;           // the trainer's fence was passed before the commit, and nothing had moved
  std::string metrics_json = "{}";  // a flat JSON object; numbers, or tree-encoded non-finite floats
  std::vector<Alarm> alarms;
  std::uint64_t raw_bytes = 0;     // of all images
  std::uint64_t stored_bytes = 0;  // of own data files and tables; neither the manifest nor shared files
  std::string writer;              // "stillframe 0.1.0"
};

struct Manifest : ManifestHead {
  std::vector<RankManifest> ranks;
};

// The text ends with the seal: the last member, over every byte before its line. Deterministic. version, raw_bytes and
// stored_bytes are computed from the ranks, whatever the head says.
[[nodiscard]] Result<std::string> encode_manifest(const Manifest& manifest);
// Whether a later version wrote the manifest that begins so: unsupported, in words for the user. Looks at nothing but the
// first members, and so at none of this version's limits: the first kVersionPrefixBytes are enough.
inline constexpr std::size_t kVersionPrefixBytes = 4096;
[[nodiscard]] Status check_not_later(std::string_view first_bytes);
// Checks version, seal, every field, limit, layout and tree before a Manifest exists; corrupt or unsupported otherwise.
[[nodiscard]] Result<Manifest> decode_manifest(std::string_view text);
// Checks the seal over the whole text, and the head as decode_manifest() does. What follows the head is not looked at.
[[nodiscard]] Result<ManifestHead> decode_manifest_head(std::string_view text);

// invalid_argument unless the text can stand as Manifest::metrics_json: for the call that takes it from the user.
[[nodiscard]] Status check_metrics(std::string_view metrics_json);
// Every metric that is a number, {"$float": …} or {"$int": …}; empty when the text is no object of metrics.
[[nodiscard]] std::map<std::string, double> metric_numbers(std::string_view metrics_json);
// One of them; nullopt when it is absent or no number.
[[nodiscard]] std::optional<double> metric_number(std::string_view metrics_json, std::string_view name);

}  // namespace stillframe::format
