// Chunks through the encoder pool, in order: checksum -> encode -> decode -> compare, several at once, taken one by one.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/thread.hpp"
#include "codec/codec.hpp"
#include "format/table.hpp"
#include "stillframe/status.hpp"

namespace stillframe::persist {

struct EncodedChunk {
  format::ChunkRecord record;         // own_bytes, or constant when a codec is wanted; the offset is the writer's to set
  std::span<const std::byte> stored;  // valid until the next take() or submit(); empty for a constant
};

// Sees a chunk on an encoder thread, beside the hash of it; several chunks at once.
using ChunkWatcher = std::function<void(std::span<const std::byte> raw, const base::Hash128& hash)>;

// One thread drives it. At most `depth` chunks are under way; each costs about 2 MiB of buffers, kept for reuse.
class EncodePipeline {
 public:
  EncodePipeline(base::WorkerPool& pool, codec::CodecId codec, std::size_t depth);
  ~EncodePipeline();  // waits for what is under way
  EncodePipeline(const EncodePipeline&) = delete;
  EncodePipeline& operator=(const EncodePipeline&) = delete;

  [[nodiscard]] bool full() const noexcept { return under_way_.size() >= depth_; }
  [[nodiscard]] bool empty() const noexcept { return under_way_.empty(); }
  // Not when full. `raw` stays valid until its take(). `watch` (may be empty) is called before that.
  void submit(std::span<const std::byte> raw, std::vector<ElementRun> runs, ChunkWatcher watch = {});
  // The oldest, waited for. Not when empty. corrupt when what was encoded does not decode to what was hashed: the memory
  // changed meanwhile, or the machine computes wrongly.
  [[nodiscard]] Result<EncodedChunk> take();

 private:
  struct Task {
    std::span<const std::byte> raw;
    std::vector<ElementRun> runs;
    ChunkWatcher watch;
    std::vector<std::byte> stored;
    std::vector<std::byte> decoded;
    format::ChunkRecord record;
    Status status;
    bool finished = false;
  };
  [[nodiscard]] Status encode(Task& task) const;
  [[nodiscard]] Status encode_stored(Task& task) const;

  base::WorkerPool* pool_;
  const codec::CodecId codec_;
  const std::size_t depth_;
  std::mutex mutex_;
  std::condition_variable finished_;
  std::deque<std::unique_ptr<Task>> under_way_;
  std::vector<std::unique_ptr<Task>> idle_;
};

}  // namespace stillframe::persist
