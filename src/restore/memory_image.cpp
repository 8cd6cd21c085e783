#include "restore/memory_image.hpp"

#include <cstring>

#include "arena/read_through.hpp"
#include "base/clock.hpp"
#include "format/names.hpp"

namespace stillframe::restore {
namespace {

bool is_as_claimed(const arena::RecordView& view, const MemoryClaim& claim) {
  return view.snapshot_id == claim.snapshot_id && view.step == claim.step && view.image_bytes == claim.image_bytes &&
         view.descriptor_bytes == claim.descriptor_bytes &&
         (view.flags & (arena::kSealed | arena::kWithdrawn)) == arena::kSealed;
}

std::string name_in_memory(const arena::RecordView& view) {
  const std::string as_checkpoint = format::to_string({0, view.step, base::utc_compact(view.taken_unix_ns)});
  return "memory" + as_checkpoint.substr(as_checkpoint.find('-'));
}

}  // namespace

Result<std::unique_ptr<MemoryImage>> MemoryImage::open(base::UniqueFd memory, const MemoryClaim& claim) {
  SF_ASSIGN(arena::Arena arena, arena::Arena::attach_read_only(std::move(memory)));
  SF_TRY(arena.keep_from_children());
  const auto view = arena::DaemonSide(arena).view(claim.record);
  if (!view || !is_as_claimed(*view, claim)) {
    return Status(Code::corrupt, "the memory of the dead trainer does not hold the snapshot of step " +
                                     std::to_string(claim.step) + " that the daemon spoke of");
  }
  std::unique_ptr<MemoryImage> image(new MemoryImage(std::move(arena), *view));
  image->name_ = claim.name.empty() ? name_in_memory(*view) : claim.name;
  SF_TRY(image->find_chunks());
  SF_TRY(image->read_descriptor());
  SF_TRY(image->read_metrics());
  return image;
}

Status MemoryImage::wrong(const std::string& what) const {
  return {Code::corrupt, what + " of step " + std::to_string(view_.step) + " in the memory of the dead trainer"};
}

Status MemoryImage::find_chunks() {
  if (view_.image_chunks() > arena_.committed_slots()) return wrong("there is no whole image");
  slots_.reserve(view_.image_chunks());
  for (std::uint64_t chunk = 0; chunk < view_.image_chunks(); ++chunk) {
    const auto slot = side_.filled_slot(view_, chunk);
    if (!slot) return wrong("chunk " + std::to_string(chunk) + " is missing");
    slots_.push_back(*slot);
  }
  return {};
}

Status MemoryImage::read_descriptor() {
  const auto slots = side_.descriptor_slots(view_);
  if (!slots) return wrong("the descriptor is missing");
  std::vector<std::byte> bytes(view_.descriptor_bytes);
  for (std::uint64_t i = 0; i < slots->size(); ++i) {
    const std::uint64_t length = arena::chunk_length(bytes.size(), i);
    const auto part = std::span(bytes).subspan(i * kChunkBytes, length);
    std::memcpy(part.data(), side_.chunk((*slots)[i]).data(), length);
    if (side_.hash((*slots)[i]) != base::xxh128(part)) return wrong("the descriptor does not match its hash");
  }
  SF_ASSIGN(descriptor_, format::decode_descriptor(bytes, view_.image_bytes));
  return {};
}

Status MemoryImage::read_metrics() {
  std::vector<format::MetricElement> elements;
  std::vector<std::byte> raw;
  store::ReadScratch unused;
  for (const format::MetricEntry& one : descriptor_.metric_entries) {
    const std::uint64_t chunk = one.image_offset / kChunkBytes;
    raw.resize(arena::chunk_length(view_.image_bytes, chunk));
    SF_TRY(read_chunk(chunk, raw, unused));
    std::memcpy(elements.emplace_back().data(), raw.data() + one.image_offset % kChunkBytes, dtype_bytes(one.dtype));
  }
  SF_ASSIGN(descriptor_.metrics_json,
            format::with_numbers(descriptor_.metrics_json, descriptor_.metric_entries, elements));
  return {};
}

// Copied first and checked where it went, while it is warm: one pass, and no byte is handed out that was not checked.
Status MemoryImage::read_chunk(std::uint64_t chunk, std::span<std::byte> raw, store::ReadScratch&) const {
  const std::uint64_t slot = slots_[chunk];
  SF_TRY(arena::read_through(arena_, slot, raw));
  if (side_.hash(slot) == base::xxh128(raw)) return {};
  return wrong("chunk " + std::to_string(chunk) + " does not match the hash that was taken when it was captured;");
}

}  // namespace stillframe::restore
