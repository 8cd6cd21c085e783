// Writing one checkpoint: begin, append chunks, commit. Until commit() returns ok nothing of it exists for a reader.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "format/manifest.hpp"
#include "format/table.hpp"
#include "store/rank_part.hpp"
#include "store/store.hpp"

namespace stillframe::store {

struct Published {
  std::string name;
  std::uint64_t sequence = 0;
  std::uint64_t raw_bytes = 0;
  std::uint64_t stored_bytes = 0;  // every file of the checkpoint
};

// One thread at a time. The caller holds the run's lock. After a failure, or when destroyed before commit() succeeded,
// what was written is removed at once; the failure says how much that freed.
class CheckpointWriter {
 public:
  // Makes <name>.<run>.partial. `utc_ns` is the label only. `sequence` was claimed by the caller.
  [[nodiscard]] static Result<std::unique_ptr<CheckpointWriter>> begin(const Store& store, const std::string& run,
                                                                       std::uint64_t sequence, std::int64_t step,
                                                                       std::int64_t utc_ns);
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // Starts the files of one rank; ranks are begun in order, and each takes its chunks in order from 0. A layout that no
  // safetensors file can hold (a name that is not UTF-8, too many tensors) is refused with invalid_argument or
  // unsupported, and then a container may still be begun.
  [[nodiscard]] Status begin_rank(std::uint32_t rank, format::ImageLayout layout, DataKind kind);
  // own_bytes: `record.offset` is set here, the rest, with checksums, by the caller; stored bytes are written before
  // return. constant (containers only): the record as it is to stand, `stored` empty.
  [[nodiscard]] Status append(format::ChunkRecord record, std::span<const std::byte> stored);
  // The name of the current rank's data file; empty outside of a rank.
  [[nodiscard]] std::string data_file() const { return part_ ? part_->data_file() : std::string(); }
  // Everything appended so far to the current rank survives power loss (in the partial directory). For ring mode.
  [[nodiscard]] Status sync_data();
  // Syncs the data file, writes and syncs the table; the layout and `tree_json` go to the manifest.
  [[nodiscard]] Status end_rank(std::string tree_json);

  // Ranks that are written at once, instead of the four above: each thread opens the part of its rank (any thread, at the
  // same time), and what its end() says is added here, in ascending order of rank. Every part is gone, or has ended, before
  // commit() and before the writer is destroyed.
  [[nodiscard]] Result<std::unique_ptr<RankPart>> open_part(std::uint32_t rank, format::ImageLayout layout,
                                                            DataKind kind) const;
  [[nodiscard]] Status add_rank(format::RankManifest rank);

  // `draft` gives id, run, step, group, world_size, confirmed, metrics, alarms, writer; the rest is filled in here.
  // Writes and syncs the manifest (encoded, decoded, compared), syncs the directory, renames, syncs the parent:
  // durable.
  [[nodiscard]] Result<Published> commit(format::Manifest draft);

  [[nodiscard]] std::uint64_t sequence() const noexcept { return sequence_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  CheckpointWriter(const Store& store, std::string run, std::uint64_t sequence, std::int64_t step, std::int64_t utc_ns);
  [[nodiscard]] std::string in_partial(std::string_view file) const;
  [[nodiscard]] Status of_part(Status done);
  [[nodiscard]] Result<std::uint64_t> write_manifest(const format::Manifest& manifest);
  [[nodiscard]] Status take_final_name();
  [[nodiscard]] Status publish();
  [[nodiscard]] Status give_up(Status failure);
  [[nodiscard]] std::string free_partial(Code reason);

  Store store_;
  std::string run_;
  std::uint64_t sequence_;
  std::int64_t step_;
  std::int64_t utc_ns_;
  std::string name_;
  std::string partial_;  // full path
  bool made_ = false;    // the partial directory stands and is ours to remove
  bool published_ = false;
  Status failure_;  // the first one; after it nothing is written or published any more
  std::unique_ptr<RankPart> part_;  // of the rank that was begun
  std::vector<format::RankManifest> ranks_;
};

}  // namespace stillframe::store
