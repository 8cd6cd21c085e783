// The files of one checkpoint, opened and checked one by one: what the reader needs all of, and verify needs any of.
// Regular files of the store's owner, this user or root, in the checkpoint's own directory; no symbolic link is
// followed, several hard links are fine. Every name is one that format/names.hpp makes: the manifest's were compared
// with those.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

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
// decode or belongs to another checkpoint; io_error when it may not be read (a link, a foreign owner).
[[nodiscard]] Result<OpenedManifest> open_manifest(const Store& store, const std::string& name, ReadFrom from);

// The manifest's text without a lock: for a look that holds nothing up. not_found when the checkpoint went away.
[[nodiscard]] Result<std::string> read_manifest_text(const Store& store, const std::string& name);

// The manifest was sealed for one sequence and step; a directory of another name holds a stale or swapped copy.
[[nodiscard]] Status check_belongs(const format::ManifestHead& head, const format::CheckpointName& name,
                                   const std::string& path);

// Checks size, hash, CRC and every record.
[[nodiscard]] Result<format::ChunkTable> read_table(const Store& store, const std::string& directory,
                                                    const format::RankManifest& rank, ReadFrom from);

// A file that the manifest names: corrupt when it is missing. Its size is not looked at.
[[nodiscard]] Result<std::unique_ptr<env::File>> open_promised(const Store& store, const std::string& path);
// corrupt when the file is longer or shorter than the manifest says.
[[nodiscard]] Status check_size(const env::File& file, const std::string& path, std::uint64_t expected_bytes);

inline constexpr std::size_t kMaxPinReasonBytes = 1024;

// Marks it pinned with the time and, unless it is empty, the reason. invalid_argument for a reason of more than
// kMaxPinReasonBytes; else as Store::set_mark().
[[nodiscard]] Status pin(const Store& store, const std::string& name, std::string_view reason);

// What stands in a mark, for people, without the line end; at most 64 KiB.
[[nodiscard]] Result<std::string> mark_text(const Store& store, const std::string& name, std::string_view mark);

}  // namespace stillframe::store
