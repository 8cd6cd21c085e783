#include "capture/plan.hpp"

#include <algorithm>
#include <set>
#include <unordered_map>

#include "format/descriptor.hpp"

namespace stillframe::capture {
namespace {

// What a GPU's copies of one tensor begin at, in the scratch as in its own memory.
constexpr std::uint64_t kGpuAlignBytes = 256;

}  // namespace

Result<std::shared_ptr<const Plan>> Plan::make(std::vector<EntrySpec> specs) {
  auto plan = std::make_shared<Plan>();
  std::unordered_map<std::string, std::size_t> source_by_name;
  std::vector<Entry> entries;
  entries.reserve(specs.size());
  for (std::size_t i = 0; i < specs.size(); ++i) {
    source_by_name.emplace(specs[i].entry.name, i);
    entries.push_back(std::move(specs[i].entry));
  }
  SF_ASSIGN(plan->layout, format::lay_out(std::move(entries)));
  std::vector<bool> trainable;
  std::set<std::int32_t> devices;
  plan->source_of_entry.reserve(specs.size());
  plan->source_bytes.resize(specs.size());
  plan->source_guarded.resize(specs.size());
  plan->scratch_offset.resize(specs.size());
  for (const Entry& entry : plan->layout.entries) {
    const std::size_t source = source_by_name.at(entry.name);
    plan->source_of_entry.push_back(source);
    plan->source_bytes[source] = entry.bytes;
    trainable.push_back(specs[source].trainable);
  }
  for (std::size_t i = 0; i < specs.size(); ++i) {
    plan->source_guarded[i] = specs[i].guarded;
    plan->source_device.push_back(specs[i].device);
    devices.insert(specs[i].device);
    if (specs[i].guarded) {
      plan->guarded_bytes += plan->source_bytes[i];
      continue;
    }
    plan->unguarded_bytes += plan->source_bytes[i];
    const bool on_host = specs[i].device == kHost;
    std::uint64_t& scratch_bytes = on_host ? plan->host_scratch_bytes : plan->gpu_scratch_bytes[specs[i].device];
    if (!on_host) scratch_bytes = (scratch_bytes + kGpuAlignBytes - 1) / kGpuAlignBytes * kGpuAlignBytes;
    plan->scratch_offset[i] = scratch_bytes;
    scratch_bytes += plan->source_bytes[i];
    if (!on_host && plan->source_bytes[i] != 0) ++plan->gathered_sources[specs[i].device];
  }
  std::erase_if(plan->gpu_scratch_bytes, [](const auto& one) { return one.second == 0; });
  plan->devices.assign(devices.begin(), devices.end());
  if (plan->has_gpu()) plan->look_at_chunks();
  plan->layout_text = format::encode_layout(plan->layout, trainable);
  return std::shared_ptr<const Plan>(std::move(plan));
}

bool Plan::has_gpu_bytes() const noexcept {
  return std::any_of(gpu_pieces_before.begin(), gpu_pieces_before.end(), [](const auto& of) { return of.second.back() != 0; });
}

// What is decided for each chunk, once.
void Plan::look_at_chunks() {
  for (const std::int32_t device : devices) {
    if (device != kHost) gpu_pieces_before[device].reserve(layout.chunk_count() + 1);
  }
  std::map<std::int32_t, std::size_t> so_far;
  for (std::uint64_t chunk = 0; chunk <= layout.chunk_count(); ++chunk) {
    for (auto& [gpu, before] : gpu_pieces_before) before.push_back(so_far[gpu]);
    if (chunk == layout.chunk_count()) break;
    const std::vector<Piece> pieces = pieces_of_chunk(chunk);
    for (const Piece& piece : pieces) ++so_far[source_device[piece.source]];
    std::vector<Bundle> found = bundles_of(pieces, source_device, bundled_pieces);
    if (!found.empty()) bundles.emplace(chunk, std::move(found));
  }
}

std::vector<Piece> Plan::pieces_of_chunk(std::uint64_t chunk) const {
  std::vector<Piece> pieces;
  const std::uint64_t begin = chunk * kChunkBytes;
  const std::uint64_t end = begin + layout.chunk_length(chunk);
  const format::EntryRange range = format::entries_of_chunk(layout, chunk);
  for (std::size_t i = range.first; i < range.last; ++i) {
    const Entry& entry = layout.entries[i];
    const std::uint64_t from = std::max(entry.offset, begin);
    const std::uint64_t to = std::min(entry.offset + entry.bytes, end);
    if (from >= to) continue;  // an empty entry
    pieces.push_back({source_of_entry[i], from - entry.offset, static_cast<std::uint32_t>(from - begin),
                      static_cast<std::uint32_t>(to - from)});
  }
  return pieces;
}

}  // namespace stillframe::capture
