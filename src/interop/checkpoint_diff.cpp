#include "interop/checkpoint_diff.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

namespace stillframe::interop {
namespace {

// One rank of one checkpoint; keeps the chunk that was read last, since tensors that follow each other share it.
class Side {
 public:
  Side(const store::CheckpointReader& reader, std::size_t rank_index)
      : reader_(reader), rank_index_(rank_index), layout_(reader.manifest().ranks[rank_index].layout) {}

  [[nodiscard]] const format::ImageLayout& layout() const noexcept { return layout_; }
  [[nodiscard]] const format::ChunkRecord& record(std::uint64_t chunk) const {
    return reader_.table(rank_index_).chunks[chunk];
  }

  // Valid until the next call.
  Result<std::span<const std::byte>> read(std::uint64_t chunk) {
    if (held_ == 0 || held_chunk_ != chunk) {
      raw_.resize(kChunkBytes);
      held_ = 0;
      const std::size_t length = layout_.chunk_length(chunk);
      SF_TRY(reader_.read_chunk(rank_index_, chunk, std::span(raw_).first(length), scratch_));
      held_ = length;
      held_chunk_ = chunk;
    }
    return std::span<const std::byte>(raw_).first(held_);
  }

 private:
  const store::CheckpointReader& reader_;
  std::size_t rank_index_;
  const format::ImageLayout& layout_;
  std::vector<std::byte> raw_;
  store::ReadScratch scratch_;
  std::uint64_t held_chunk_ = 0;
  std::size_t held_ = 0;  // bytes of it; 0: none yet
};

bool same_content(const format::ChunkRecord& a, const format::ChunkRecord& b) {
  return a.raw_bytes == b.raw_bytes && a.raw_hash == b.raw_hash && a.raw_crc32 == b.raw_crc32;
}

class Comparison {
 public:
  Comparison(const std::function<void(std::uint64_t, std::uint64_t)>& progress, std::uint64_t total_bytes,
             CheckpointDiff& diff)
      : progress_(progress), total_bytes_(total_bytes), diff_(diff) {}

  Status compare_rank(std::uint32_t rank, Side& before, Side& after) {
    std::map<std::string_view, const Entry*> unseen;
    for (const Entry& entry : before.layout().entries) unseen.emplace(entry.name, &entry);
    for (const Entry& entry : after.layout().entries) {
      const auto old = unseen.find(entry.name);
      if (old == unseen.end()) {
        diff_.tensors.push_back({ChangeKind::added, rank, {}, entry, {}});
      } else {
        SF_TRY(compare_entry(rank, before, *old->second, after, entry));
        unseen.erase(old);
      }
      done_bytes_ += entry.bytes;
      if (progress_) progress_(done_bytes_, total_bytes_);
    }
    for (const Entry& entry : before.layout().entries) {
      if (unseen.contains(entry.name)) diff_.tensors.push_back({ChangeKind::removed, rank, entry, {}, {}});
    }
    return {};
  }

 private:
  Status compare_entry(std::uint32_t rank, Side& before, const Entry& old, Side& after, const Entry& entry) {
    if (old.dtype != entry.dtype || old.shape != entry.shape) {
      diff_.tensors.push_back({ChangeKind::layout, rank, old, entry, {}});
      return {};
    }
    TensorDifference difference;
    // Ranges that lie in one chunk of either side. Elements never cross a chunk's border.
    for (std::uint64_t at = 0; at < entry.bytes;) {
      const std::uint64_t old_at = (old.offset + at) % kChunkBytes;
      const std::uint64_t new_at = (entry.offset + at) % kChunkBytes;
      const std::uint64_t length = std::min(kChunkBytes - std::max(old_at, new_at), entry.bytes - at);
      const std::uint64_t old_chunk = (old.offset + at) / kChunkBytes;
      const std::uint64_t new_chunk = (entry.offset + at) / kChunkBytes;
      if (old_at == new_at && same_content(before.record(old_chunk), after.record(new_chunk))) {
        difference.elements += length / dtype_bytes(entry.dtype);
        diff_.skipped_bytes += length;
      } else {
        SF_ASSIGN(const auto old_bytes, before.read(old_chunk));
        SF_ASSIGN(const auto new_bytes, after.read(new_chunk));
        add_difference(entry.dtype, old_bytes.subspan(old_at, length), new_bytes.subspan(new_at, length), difference);
        diff_.compared_bytes += length;
      }
      at += length;
      if (progress_) progress_(done_bytes_ + at, total_bytes_);
    }
    if (difference.changed == 0) {
      ++diff_.equal_tensors;
    } else {
      diff_.tensors.push_back({ChangeKind::values, rank, old, entry, difference});
    }
    return {};
  }

  const std::function<void(std::uint64_t, std::uint64_t)>& progress_;
  std::uint64_t total_bytes_;
  std::uint64_t done_bytes_ = 0;
  CheckpointDiff& diff_;
};

// Rank number -> index in the manifest.
std::map<std::uint32_t, std::size_t> indices_of(const format::Manifest& manifest) {
  std::map<std::uint32_t, std::size_t> indices;
  for (std::size_t i = 0; i < manifest.ranks.size(); ++i) indices.emplace(manifest.ranks[i].rank, i);
  return indices;
}

}  // namespace

Result<CheckpointDiff> diff_checkpoints(const store::CheckpointReader& before, const store::CheckpointReader& after,
                                        const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  CheckpointDiff diff;
  std::uint64_t total_bytes = 0;
  for (const format::RankManifest& rank : after.manifest().ranks) total_bytes += rank.layout.bytes;
  Comparison comparison(progress, total_bytes, diff);
  auto unseen = indices_of(before.manifest());
  for (const auto& [rank, index] : indices_of(after.manifest())) {
    const auto old = unseen.find(rank);
    if (old == unseen.end()) {
      diff.ranks_added.push_back(rank);
      continue;
    }
    Side old_side(before, old->second);
    Side new_side(after, index);
    SF_TRY(comparison.compare_rank(rank, old_side, new_side));
    TreeDiff values =
        diff_trees(before.manifest().ranks[old->second].tree_json, after.manifest().ranks[index].tree_json);
    if (values.total != 0) diff.values.push_back({rank, std::move(values)});
    unseen.erase(old);
  }
  for (const auto& [rank, index] : unseen) diff.ranks_removed.push_back(rank);
  return diff;
}

}  // namespace stillframe::interop
