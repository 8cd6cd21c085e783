#include "persist/encode_pipeline.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "base/checksum.hpp"

namespace stillframe::persist {
namespace {

// Zeros, ones, any value of an element of up to 16 bytes: state that was never touched. A look at the first bytes tells
// for almost every chunk that is none.
std::optional<format::Pattern> constant_pattern(std::span<const std::byte> raw) {
  format::Pattern pattern;
  if (raw.size() <= pattern.size()) return std::nullopt;
  if (std::memcmp(raw.data(), raw.data() + pattern.size(), raw.size() - pattern.size()) != 0) return std::nullopt;
  std::memcpy(pattern.data(), raw.data(), pattern.size());
  return pattern;
}

}  // namespace

EncodePipeline::EncodePipeline(base::WorkerPool& pool, codec::CodecId codec, std::size_t depth)
    : pool_(&pool), codec_(codec), depth_(std::max<std::size_t>(1, depth)) {}

EncodePipeline::~EncodePipeline() {
  std::unique_lock lock(mutex_);
  finished_.wait(lock, [this] {
    return std::all_of(under_way_.begin(), under_way_.end(), [](const auto& task) { return task->finished; });
  });
}

void EncodePipeline::submit(std::span<const std::byte> raw, std::vector<ElementRun> runs, ChunkWatcher watch) {
  std::unique_ptr<Task> task;
  if (idle_.empty()) {
    task = std::make_unique<Task>();
  } else {
    task = std::move(idle_.back());
    idle_.pop_back();
  }
  task->raw = raw;
  task->runs = std::move(runs);
  task->watch = std::move(watch);
  task->finished = false;
  Task* const one = task.get();
  under_way_.push_back(std::move(task));
  pool_->submit([this, one] {
    Status status = encode(*one);
    const std::lock_guard lock(mutex_);
    one->status = std::move(status);
    one->finished = true;
    finished_.notify_all();  // under the lock: the pipeline may be gone right after
  });
}

Status EncodePipeline::encode(Task& task) const {
  task.stored.resize(codec::encoded_bound(task.raw.size()));
  task.decoded.resize(task.raw.size());
  task.record = {};
  task.record.raw_bytes = static_cast<std::uint32_t>(task.raw.size());
  task.record.raw_hash = base::xxh128(task.raw);
  task.record.raw_crc32 = base::crc32(task.raw);
  if (task.watch) task.watch(task.raw, task.record.raw_hash);
  // Uncompressed data is a safetensors file, which holds every byte.
  const auto pattern = codec_ == codec::CodecId::raw ? std::nullopt : constant_pattern(task.raw);
  if (pattern) {
    task.record.location = format::LocationKind::constant;
    task.record.pattern = *pattern;
    format::fill_constant(*pattern, task.decoded);
  } else {
    SF_TRY(encode_stored(task));
  }
  // Against the hash, not against the memory: that catches a trainer that writes into a sealed chunk as well.
  if (base::xxh128(task.decoded) != task.record.raw_hash || base::crc32(task.decoded) != task.record.raw_crc32) {
    return {Code::corrupt, "a chunk does not decode to what was hashed: its memory changed while it was written, or this "
                           "machine's memory or processor is faulty"};
  }
  return {};
}

Status EncodePipeline::encode_stored(Task& task) const {
  SF_ASSIGN(const codec::Encoded encoded, codec::encode(codec_, task.raw, task.runs, task.stored));
  task.record.codec = static_cast<std::uint8_t>(encoded.codec);
  task.record.stored_bytes = static_cast<std::uint32_t>(encoded.bytes);
  const std::span<const std::byte> stored = std::span<const std::byte>(task.stored).first(encoded.bytes);
  task.record.stored_crc32c = base::crc32c(stored);
  return codec::decode(task.record.codec, stored, task.decoded);
}

Result<EncodedChunk> EncodePipeline::take() {
  std::unique_lock lock(mutex_);
  finished_.wait(lock, [this] { return under_way_.front()->finished; });
  std::unique_ptr<Task> task = std::move(under_way_.front());
  under_way_.pop_front();
  lock.unlock();
  const Status status = std::exchange(task->status, Status());
  const EncodedChunk chunk{task->record, std::span<const std::byte>(task->stored).first(task->record.stored_bytes)};
  // Last in, first out: this task's buffer is overwritten only by the next submit().
  idle_.push_back(std::move(task));
  if (!status.ok()) return status;
  return chunk;
}

}  // namespace stillframe::persist
