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

// What the record will be decoded to, in the context.
std::span<const std::byte> store_constant(const format::Pattern& pattern, format::ChunkRecord& record,
                                          const codec::Context& context) {
  record.location = format::LocationKind::constant;
  record.pattern = pattern;
  const auto filled = context.second().first(record.raw_bytes);
  format::fill_constant(pattern, filled);
  return filled;
}

// What readers of the wanted version decode.
Result<codec::Encoded> encode_as(const Encoding& encoding, std::span<const std::byte> raw,
                                 std::span<const ElementRun> runs, std::span<std::byte> out,
                                 codec::Decisions& decisions, codec::Context& context) {
  if (encoding.level == codec::Level::raw) return codec::encode(codec::CodecId::raw, raw, runs, out);
  if (!has_levels(encoding)) return codec::encode(codec::CodecId::planes_lz4, raw, runs, out);
  return codec::encode(encoding.level, raw, runs, out, decisions, context);
}

}  // namespace

EncodePipeline::EncodePipeline(base::WorkerPool& pool, const Encoding& encoding, std::size_t depth)
    : pool_(&pool), encoding_(encoding), depth_(std::max<std::size_t>(1, depth)) {}

EncodePipeline::~EncodePipeline() {
  std::unique_lock lock(mutex_);
  finished_.wait(lock, [this] {
    return std::all_of(under_way_.begin(), under_way_.end(), [](const auto& task) { return task->finished; });
  });
}

void EncodePipeline::submit(std::span<const std::byte> raw, std::vector<ElementRun> runs, codec::Decisions& decisions,
                            ChunkWatcher watch) {
  std::unique_ptr<Task> task;
  if (idle_.empty()) {
    task = std::make_unique<Task>();
  } else {
    task = std::move(idle_.back());
    idle_.pop_back();
  }
  task->raw = raw;
  task->runs = std::move(runs);
  task->decisions = &decisions;
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

Result<codec::Context> EncodePipeline::take_context() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_contexts_.empty()) {
      codec::Context context = std::move(idle_contexts_.back());
      idle_contexts_.pop_back();
      return context;
    }
  }
  return codec::Context::create();
}

// As many contexts as threads that encode: one of them has one at a time.
Status EncodePipeline::encode(Task& task) {
  SF_ASSIGN(codec::Context context, take_context());
  Status encoded = encode_in(context, task);
  const std::lock_guard lock(mutex_);
  idle_contexts_.push_back(std::move(context));
  return encoded;
}

Status EncodePipeline::encode_in(codec::Context& context, Task& task) const {
  task.record = {};
  task.record.raw_bytes = static_cast<std::uint32_t>(task.raw.size());
  task.record.raw_hash = base::xxh128(task.raw);
  task.record.raw_crc32 = base::crc32(task.raw);
  if (task.watch) task.watch(task.raw, task.record.raw_hash);
  std::span<const std::byte> decoded;
  // Uncompressed data is a safetensors file, which holds every byte.
  const auto pattern = encoding_.level == codec::Level::raw ? std::nullopt : constant_pattern(task.raw);
  if (pattern) {
    decoded = store_constant(*pattern, task.record, context);
  } else {
    task.stored.resize(codec::encoded_bound(task.raw.size()));
    SF_ASSIGN(const codec::Encoded encoded,
              encode_as(encoding_, task.raw, task.runs, task.stored, *task.decisions, context));
    task.record.codec = static_cast<std::uint8_t>(encoded.codec);
    task.record.stored_bytes = static_cast<std::uint32_t>(encoded.bytes);
    const std::span<const std::byte> stored = std::span<const std::byte>(task.stored).first(encoded.bytes);
    task.record.stored_crc32c = base::crc32c(stored);
    SF_ASSIGN(decoded, codec::decode_within(task.record.codec, stored, task.raw.size(), context));
  }
  // Against the hash, not against the memory: that catches a trainer that writes into a sealed chunk as well.
  if (base::xxh128(decoded) != task.record.raw_hash || base::crc32(decoded) != task.record.raw_crc32) {
    return {Code::corrupt, "a chunk does not decode to what was hashed: its memory changed while it was written, or this "
                           "machine's memory or processor is faulty"};
  }
  return {};
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
