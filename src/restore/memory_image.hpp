// The sealed image that a dead trainer left in the daemon's memory, as a source to restore from. Nobody writes there any more;
// every chunk is checked all the same, against the hash that the daemon took when it read the chunk first.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "arena/daemon_side.hpp"
#include "format/descriptor.hpp"
#include "restore/chunk_source.hpp"

namespace stillframe::restore {

// What the daemon says is there.
struct MemoryClaim {
  std::uint32_t record = 0;
  std::uint64_t snapshot_id = 0;
  std::int64_t step = 0;
  std::uint64_t image_bytes = 0;
  std::uint64_t descriptor_bytes = 0;
  std::string name;  // of its checkpoint; empty: it is not durable, and is called "memory-step000009-20261123T010203Z"
};

class MemoryImage : public ChunkSource {
 public:
  // Maps the memory for reading. corrupt when it does not hold what is claimed, whole and with a hash for every chunk, or when
  // its descriptor does not match its hash.
  [[nodiscard]] static Result<std::unique_ptr<MemoryImage>> open(base::UniqueFd memory, const MemoryClaim& claim);

  [[nodiscard]] const format::ImageLayout& layout() const noexcept override { return descriptor_.layout; }
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] Status read_chunk(std::uint64_t chunk, std::span<std::byte> raw,
                                  store::ReadScratch& scratch) const override;
  [[nodiscard]] const arena::RecordView& view() const noexcept { return view_; }
  // Its metrics are numbers, also those that the image holds.
  [[nodiscard]] const format::Descriptor& descriptor() const noexcept { return descriptor_; }

 private:
  MemoryImage(arena::Arena arena, arena::RecordView view) : arena_(std::move(arena)), side_(arena_), view_(view) {}
  [[nodiscard]] Status find_chunks();
  [[nodiscard]] Status read_descriptor();
  [[nodiscard]] Status read_metrics();
  [[nodiscard]] Status wrong(const std::string& what) const;

  const arena::Arena arena_;
  const arena::DaemonSide side_;
  const arena::RecordView view_;
  std::string name_;
  std::vector<std::uint64_t> slots_;  // by image chunk
  format::Descriptor descriptor_;
};

}  // namespace stillframe::restore
