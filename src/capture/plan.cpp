#include "capture/plan.hpp"

#include <algorithm>
#include <unordered_map>

#include "format/descriptor.hpp"

namespace stillframe::capture {

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
    if (specs[i].guarded) {
      plan->guarded_bytes += plan->source_bytes[i];
    } else {
      plan->scratch_offset[i] = plan->unguarded_bytes;
      plan->unguarded_bytes += plan->source_bytes[i];
    }
  }
  plan->layout_text = format::encode_layout(plan->layout, trainable);
  return std::shared_ptr<const Plan>(std::move(plan));
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
