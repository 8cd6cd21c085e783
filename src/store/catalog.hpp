// What stands in a store, in one pass: the head of each manifest and the marks. What choosing, retention and listings
// look at; no tensor, no tree, no chunk table is decoded.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/manifest.hpp"
#include "stillframe/status.hpp"
#include "store/store.hpp"

namespace stillframe::store {

inline constexpr std::string_view kDefaultRun = "main";  // of an address that names none

struct CatalogEntry {
  CheckpointRef ref;
  // Sealed and whole as far as the seal goes; else why it cannot be told, even to which run it belongs.
  Result<format::ManifestHead> head;
  std::uint64_t manifest_bytes = 0;
  Marks marks;
};

// nullopt: the checkpoint was removed meanwhile.
[[nodiscard]] Result<std::optional<CatalogEntry>> read_catalog_entry(const Store& store, const CheckpointRef& ref);

enum class Prefer : std::uint8_t { newest, pinned };
// The newest checkpoint of that run and step whatever its state: also one marked bad, and one that cannot be read,
// which may be of any run. Prefer::pinned: the newest that bears a pin, if any does. not_found when there is none.
[[nodiscard]] Result<CatalogEntry> find_step(const Store& store, const std::string& run, std::int64_t step,
                                             Prefer prefer);

// Newest first. What was removed meanwhile is passed over; what cannot be read is an entry that says so.
[[nodiscard]] Result<std::vector<CatalogEntry>> read_catalog(const Store& store);

// What the store takes: every file of every checkpoint, of those being written or removed, and of the store itself, a
// file with several links once. Directories of other names are not ours and are not counted.
[[nodiscard]] Result<std::uint64_t> store_bytes(const Store& store);

}  // namespace stillframe::store
