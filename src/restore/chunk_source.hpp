// Where the chunks of one image come from: a rank of a checkpoint in the store, or the memory of a trainer that has died.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "store/reader.hpp"

namespace stillframe::restore {

// read_chunk() may be called from many threads.
class ChunkSource {
 public:
  virtual ~ChunkSource() = default;
  [[nodiscard]] virtual const format::ImageLayout& layout() const noexcept = 0;
  [[nodiscard]] virtual const std::string& name() const noexcept = 0;
  // The whole chunk into `raw`, checked; corrupt with what is wrong, and `raw` then holds anything. Each thread has its
  // own `scratch`.
  [[nodiscard]] virtual Status read_chunk(std::uint64_t chunk, std::span<std::byte> raw,
                                          store::ReadScratch& scratch) const = 0;
};

// `reader` outlives it.
class RankOfCheckpoint : public ChunkSource {
 public:
  RankOfCheckpoint(const store::CheckpointReader& reader, std::size_t rank_index) : reader_(reader), rank_index_(rank_index) {}
  [[nodiscard]] const format::ImageLayout& layout() const noexcept override {
    return reader_.manifest().ranks[rank_index_].layout;
  }
  [[nodiscard]] const std::string& name() const noexcept override { return reader_.name(); }
  [[nodiscard]] Status read_chunk(std::uint64_t chunk, std::span<std::byte> raw,
                                  store::ReadScratch& scratch) const override {
    return reader_.read_chunk(rank_index_, chunk, raw, scratch);
  }

 private:
  const store::CheckpointReader& reader_;
  const std::size_t rank_index_;
};

}  // namespace stillframe::restore
