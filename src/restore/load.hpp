// Reading entries of one rank into memory: chunks are read, checked and decoded in parallel, then placed.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "restore/chunk_source.hpp"
#include "store/reader.hpp"

namespace stillframe::restore {

struct Target {
  std::string name;            // entry of the rank
  std::span<std::byte> bytes;  // exactly the entry's size
};

// mismatch (every offence named, nothing touched) when a name is unknown, given twice, or a size differs; corrupt when
// a chunk fails: targets are then partly overwritten. `threads` 0: one per core, at most 8. `progress` (may be empty)
// is called from one thread with raw bytes done and total.
[[nodiscard]] Status load(const store::CheckpointReader& reader, std::size_t rank_index,
                          std::span<const Target> targets, std::size_t threads,
                          const std::function<void(std::uint64_t, std::uint64_t)>& progress);
// The same from anywhere else.
[[nodiscard]] Status load(const ChunkSource& source, std::span<const Target> targets, std::size_t threads,
                          const std::function<void(std::uint64_t, std::uint64_t)>& progress);

}  // namespace stillframe::restore
