#include "restore/load.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <unordered_map>

#include "base/huge_pages.hpp"
#include "base/thread.hpp"

namespace stillframe::restore {
namespace {

constexpr std::size_t kMaxThreads = 8;

// Which chunks are needed, and where each entry goes (empty: not wanted).
struct Plan {
  std::vector<std::span<std::byte>> destinations;  // by entry index
  std::vector<std::uint64_t> chunks;               // ascending
  std::uint64_t raw_bytes = 0;
};

void add_chunks_of(const format::ImageLayout& layout, const Plan& plan, std::vector<std::uint64_t>& chunks) {
  for (std::size_t i = 0; i < layout.entries.size(); ++i) {
    const Entry& entry = layout.entries[i];
    if (plan.destinations[i].empty()) continue;
    const std::uint64_t last = (entry.offset + entry.bytes - 1) / kChunkBytes;
    std::uint64_t chunk = entry.offset / kChunkBytes;
    if (!chunks.empty() && chunks.back() == chunk) ++chunk;  // entries are by offset: only the border chunk is shared
    for (; chunk <= last; ++chunk) chunks.push_back(chunk);
  }
}

// Touches no target: every offence is found before the first byte is read.
Result<Plan> make_plan(const format::ImageLayout& layout, std::span<const Target> targets) {
  std::unordered_map<std::string_view, std::size_t> index_of;
  index_of.reserve(layout.entries.size());
  for (std::size_t i = 0; i < layout.entries.size(); ++i) index_of.emplace(layout.entries[i].name, i);

  Plan plan;
  plan.destinations.resize(layout.entries.size());
  std::vector<bool> given(layout.entries.size(), false);
  std::string offences;
  for (const Target& target : targets) {
    const auto found = index_of.find(target.name);
    if (found == index_of.end()) {
      offences += "\n  '" + target.name + "': the checkpoint has no such entry";
      continue;
    }
    const Entry& entry = layout.entries[found->second];
    if (given[found->second]) offences += "\n  '" + target.name + "': given twice";
    given[found->second] = true;
    if (entry.bytes != target.bytes.size()) {
      offences += "\n  '" + target.name + "': the checkpoint has " + std::to_string(entry.bytes) +
                  " bytes, the target " + std::to_string(target.bytes.size());
    }
    plan.destinations[found->second] = target.bytes;
  }
  if (!offences.empty())
    return Status(Code::mismatch, "the targets do not fit the checkpoint; nothing was touched:" + offences);
  add_chunks_of(layout, plan, plan.chunks);
  for (const std::uint64_t chunk : plan.chunks) plan.raw_bytes += layout.chunk_length(chunk);
  return plan;
}

// Workers take the next chunk of the plan until none is left or one of them failed.
class Loader {
 public:
  Loader(const ChunkSource& source, const Plan& plan) : source_(source), layout_(source.layout()), plan_(plan) {}

  void work(const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
    std::vector<std::byte> raw;
    store::ReadScratch scratch;
    while (!failed_.load(std::memory_order_relaxed)) {
      const std::size_t next = next_.fetch_add(1, std::memory_order_relaxed);
      if (next >= plan_.chunks.size()) return;
      const std::uint64_t chunk = plan_.chunks[next];
      if (Status loaded = load_chunk(chunk, raw, scratch); !loaded.ok()) return fail(std::move(loaded));
      const std::uint64_t length = layout_.chunk_length(chunk);
      const std::uint64_t done = done_bytes_.fetch_add(length, std::memory_order_relaxed) + length;
      if (progress && done < plan_.raw_bytes) progress(done, plan_.raw_bytes);
    }
  }

  Status result() {
    const std::lock_guard guard(mutex_);
    return failure_;
  }

 private:
  void fail(Status failure) {
    const std::lock_guard guard(mutex_);
    if (failure_.ok()) failure_ = std::move(failure);
    failed_.store(true, std::memory_order_relaxed);
  }

  Status load_chunk(std::uint64_t chunk, std::vector<std::byte>& raw, store::ReadScratch& scratch) {
    const std::uint64_t start = chunk * kChunkBytes;
    const std::uint64_t length = layout_.chunk_length(chunk);
    const auto range = format::entries_of_chunk(layout_, chunk);
    const Entry& first = layout_.entries[range.first];
    const auto destination = plan_.destinations[range.first];
    if (!destination.empty() && first.offset <= start && first.offset + first.bytes >= start + length) {
      return source_.read_chunk(chunk, destination.subspan(start - first.offset, length), scratch);
    }
    raw.resize(kChunkBytes);
    const auto bytes = std::span(raw).first(length);
    SF_TRY(source_.read_chunk(chunk, bytes, scratch));
    for (std::size_t i = range.first; i < range.last; ++i)
      place(layout_.entries[i], plan_.destinations[i], start, bytes);
    return Status();
  }

  static void place(const Entry& entry, std::span<std::byte> destination, std::uint64_t start,
                    std::span<const std::byte> chunk) {
    if (destination.empty()) return;
    const std::uint64_t from = std::max(entry.offset, start);
    const std::uint64_t to = std::min(entry.offset + entry.bytes, start + chunk.size());
    if (from >= to) return;
    std::memcpy(destination.data() + (from - entry.offset), chunk.data() + (from - start), to - from);
  }

  const ChunkSource& source_;
  const format::ImageLayout& layout_;
  const Plan& plan_;
  std::atomic<std::size_t> next_{0};
  std::atomic<std::uint64_t> done_bytes_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  Status failure_;
};

}  // namespace

Status load(const store::CheckpointReader& reader, std::size_t rank_index, std::span<const Target> targets,
            std::size_t threads, const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  if (rank_index >= reader.manifest().ranks.size()) {
    return Status(Code::mismatch, "the checkpoint '" + reader.name() + "' has " +
                                      std::to_string(reader.manifest().ranks.size()) + " rank(s), asked for index " +
                                      std::to_string(rank_index) + "; nothing was touched");
  }
  return load(RankOfCheckpoint(reader, rank_index), targets, threads, progress);
}

Status load(const ChunkSource& source, std::span<const Target> targets, std::size_t threads,
            const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  SF_ASSIGN(const Plan plan, make_plan(source.layout(), targets));
  for (const std::span<std::byte> destination : plan.destinations) base::want_huge_pages(destination);
  Loader loader(source, plan);
  const std::size_t wanted = threads != 0 ? threads : std::min(kMaxThreads, base::core_count());
  const std::size_t helpers = std::min(wanted, plan.chunks.size());
  {
    std::vector<base::Thread> others;
    for (std::size_t i = 1; i < helpers; ++i) {
      auto started = base::Thread::start("sf-restore", [&loader] { loader.work({}); });
      if (!started.ok()) break;  // fewer threads are slower, not wrong: the caller's own thread does the work too
      others.push_back(*std::move(started));
    }
    loader.work(progress);
  }
  SF_TRY(loader.result().with_context("restoring from '" + source.name() + "' (the targets are partly overwritten)"));
  if (progress && plan.raw_bytes > 0) progress(plan.raw_bytes, plan.raw_bytes);
  return Status();
}

}  // namespace stillframe::restore
