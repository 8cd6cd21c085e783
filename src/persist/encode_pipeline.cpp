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

void describe_stored(std::span<const std::byte> stored, format::ChunkRecord& record) {
  record.stored_bytes = static_cast<std::uint32_t>(stored.size());
  record.stored_crc32c = base::crc32c(stored);
}

// Against the hash, not against the memory: that catches a trainer that writes into a sealed chunk as well.
Status compare(std::span<const std::byte> decoded, const format::ChunkRecord& record) {
  if (base::xxh128(decoded) == record.raw_hash && base::crc32(decoded) == record.raw_crc32) return {};
  return {Code::corrupt, "does not decode to what was hashed: its memory changed while it was written, or this machine's "
                         "memory or processor is faulty"};
}

// No codec that could fail, or that an older library could be without. Uncompressed data is a safetensors file, which
// holds every byte: no constants.
Status store_raw(std::span<const std::byte> raw, format::ChunkRecord& record, std::vector<std::byte>& stored) {
  record.location = format::LocationKind::own_bytes;
  record.codec = static_cast<std::uint8_t>(codec::CodecId::raw);
  record.pattern = {};
  stored.assign(raw.begin(), raw.end());
  describe_stored(stored, record);
  return compare(stored, record);
}

// What readers of the wanted version decode.
Result<codec::Encoded> encode_as(const Encoding& encoding, std::span<const std::byte> raw,
                                 std::span<const ElementRun> runs, std::span<std::byte> out,
                                 codec::Decisions& decisions, codec::Context& context) {
  if (!has_levels(encoding)) return codec::encode(codec::CodecId::planes_lz4, raw, runs, out);
  return codec::encode(encoding.level, raw, runs, out, decisions, context);
}

}  // namespace

EncodePipeline::EncodePipeline(Encoders& encoders, const Encoding& encoding, std::size_t depth)
    : encoders_(&encoders), use_(encoders), encoding_(encoding), depth_(std::max<std::size_t>(1, depth)) {}

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
  encoders_->submit([this, one] {
    Status status = encode(*one);
    const std::lock_guard lock(mutex_);
    one->status = std::move(status);
    one->finished = true;
    finished_.notify_all();  // under the lock: the pipeline may be gone right after
  });
}

Status EncodePipeline::encode(Task& task) {
  task.record = {};
  task.record.raw_bytes = static_cast<std::uint32_t>(task.raw.size());
  task.record.raw_hash = base::xxh128(task.raw);
  task.record.raw_crc32 = base::crc32(task.raw);
  if (task.watch) task.watch(task.raw, task.record.raw_hash);
  task.defeated_codec = false;
  if (encoding_.level != codec::Level::raw) {
    const Status encoded = encode_smaller(task);
    if (encoded.code() != Code::corrupt) return encoded;
    task.defeated_codec = true;
  }
  return store_raw(task.raw, task.record, task.stored);
}

Status EncodePipeline::encode_smaller(Task& task) {
  SF_ASSIGN(codec::Context context, encoders_->take_context());
  if (encoding_.level == codec::Level::standard && !context.encodes_literals()) encoders_->note_missing_literals();
  Status encoded = encode_in(context, task);
  encoders_->give_back(std::move(context));
  return encoded;
}

// corrupt when the chunk does not come back.
Status EncodePipeline::encode_in(codec::Context& context, Task& task) const {
  std::span<const std::byte> decoded;
  if (const auto pattern = constant_pattern(task.raw)) {
    decoded = store_constant(*pattern, task.record, context);
  } else {
    task.stored.resize(codec::encoded_bound(task.raw.size()));
    SF_ASSIGN(const codec::Encoded encoded,
              encode_as(encoding_, task.raw, task.runs, task.stored, *task.decisions, context));
    task.record.codec = static_cast<std::uint8_t>(encoded.codec);
    const std::span<const std::byte> stored = std::span<const std::byte>(task.stored).first(encoded.bytes);
    describe_stored(stored, task.record);
    SF_ASSIGN(decoded, codec::decode_within(task.record.codec, stored, task.raw.size(), context));
  }
  return compare(decoded, task.record);
}

Result<EncodedChunk> EncodePipeline::take() {
  std::unique_lock lock(mutex_);
  finished_.wait(lock, [this] { return under_way_.front()->finished; });
  std::unique_ptr<Task> task = std::move(under_way_.front());
  under_way_.pop_front();
  lock.unlock();
  const Status status = std::exchange(task->status, Status());
  const EncodedChunk chunk{task->record, std::span<const std::byte>(task->stored).first(task->record.stored_bytes),
                           task->defeated_codec};
  // Last in, first out: this task's buffer is overwritten only by the next submit().
  idle_.push_back(std::move(task));
  if (!status.ok()) return status;
  return chunk;
}

}  // namespace stillframe::persist
