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

#include "codec/codec.hpp"
#include "format/table.hpp"
#include "persist/encoders.hpp"
#include "stillframe/status.hpp"

namespace stillframe::persist {

struct EncodedChunk {
  format::ChunkRecord record;         // own_bytes, or above level raw constant; the offset is the writer's to set
  std::span<const std::byte> stored;  // valid until the next take() or submit(); empty for a constant
  bool defeated_codec = false;        // what was encoded did not decode to it: stored raw
};

// Sees a chunk on an encoder thread, beside the hash of it; several chunks at once.
using ChunkWatcher = std::function<void(std::span<const std::byte> raw, const base::Hash128& hash)>;

// How much work for fewer bytes, in what readers of this version of the format decode.
struct Encoding {
  codec::Level level = codec::Level::standard;
  std::uint32_t format_version = format::kPlanesVersion;
};
// Whether chunks get smaller by what the level says; else they stay raw, or are encoded as version 1 knows it.
[[nodiscard]] constexpr bool has_levels(const Encoding& encoding) noexcept {
  return encoding.level != codec::Level::raw && encoding.format_version >= format::kPlanesVersion;
}

// One thread drives it. At most `depth` chunks are under way; each costs about 1.6 MiB of buffers, kept for reuse.
class EncodePipeline {
 public:
  EncodePipeline(Encoders& encoders, const Encoding& encoding, std::size_t depth);
  ~EncodePipeline();  // waits for what is under way
  EncodePipeline(const EncodePipeline&) = delete;
  EncodePipeline& operator=(const EncodePipeline&) = delete;

  [[nodiscard]] bool full() const noexcept { return under_way_.size() >= depth_; }
  [[nodiscard]] bool empty() const noexcept { return under_way_.empty(); }
  // Not when full. `raw` and `decisions`, this chunk's alone, stay valid until its take(). `watch` (may be empty) is
  // called before that.
  void submit(std::span<const std::byte> raw, std::vector<ElementRun> runs, codec::Decisions& decisions,
              ChunkWatcher watch = {});
  // The oldest, waited for. Not when empty. What does not decode to what was hashed is stored raw; corrupt when those
  // bytes are not what was hashed either: the memory changed meanwhile, or is faulty.
  [[nodiscard]] Result<EncodedChunk> take();

 private:
  struct Task {
    std::span<const std::byte> raw;
    std::vector<ElementRun> runs;
    codec::Decisions* decisions = nullptr;
    ChunkWatcher watch;
    std::vector<std::byte> stored;
    format::ChunkRecord record;
    bool defeated_codec = false;
    Status status;
    bool finished = false;
  };
  [[nodiscard]] Status encode(Task& task);
  [[nodiscard]] Status encode_smaller(Task& task);
  [[nodiscard]] Status encode_in(codec::Context& context, Task& task) const;

  Encoders* encoders_;
  const Encoders::Use use_;
  const Encoding encoding_;
  const std::size_t depth_;
  std::mutex mutex_;
  std::condition_variable finished_;
  std::deque<std::unique_ptr<Task>> under_way_;
  std::vector<std::unique_ptr<Task>> idle_;
};

}  // namespace stillframe::persist
