#include "capture/proof.hpp"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/log.hpp"

namespace stillframe::capture {
namespace {

constexpr std::size_t kNamedAtMost = 8;

}  // namespace

bool is_to_be_checked(CaptureCheck check, std::uint64_t snapshot) noexcept {
  if (check == CaptureCheck::off) return false;
  return snapshot < kFirstChecked || (check == CaptureCheck::sample && snapshot % kSnapshotsPerCheck == 0);
}

Status CaptureProof::prepare(const Plan& plan, std::int32_t gpu, device::Device& device) {
  OneGpu& one = gpus_[gpu];
  one.name = device.name();
  const std::size_t pieces = plan.gpu_pieces_before.at(gpu).back();
  const bool unchecked_for_good = one.why_not && !one.why_not->empty();
  if (check_ == CaptureCheck::off || unchecked_for_good || pieces == 0) return {};
  if (one.prints != nullptr && one.prints->most_ranges() >= pieces) return {};
  if (one.prints != nullptr) one.outgrown.push_back(std::move(one.prints));
  auto made = device.make_fingerprints(std::bit_ceil(pieces));
  if (device.lost()) return made.status();
  if (made.ok()) {
    one.prints = std::move(made).value();
    one.why_not = "";
    return {};
  }
  one.why_not = made.status().message();
  base::log(base::LogLevel::warn, "capture.unchecked", {{"device", one.name}, {"why", *one.why_not}});
  return {};
}

bool CaptureProof::wants(std::int32_t gpu) const noexcept {
  const auto found = gpus_.find(gpu);
  return found != gpus_.end() && found->second.prints != nullptr;
}

void CaptureProof::begin(const Plan& plan) {
  const bool is_checked = is_to_be_checked(check_, snapshot_++);
  torn_.clear();
  std::size_t unchecked = 0;
  std::size_t checked = 0;
  for (auto& [gpu, one] : gpus_) {
    const auto pieces = plan.gpu_pieces_before.find(gpu);
    const bool has_bytes = pieces != plan.gpu_pieces_before.end() && pieces->second.back() != 0;
    one.taken = is_checked && has_bytes && one.prints != nullptr;
    if (has_bytes) ++(one.taken ? checked : unchecked);
  }
  checks_all_ = checked != 0 && unchecked == 0;
}

bool CaptureProof::takes(std::int32_t gpu) const noexcept {
  const auto found = gpus_.find(gpu);
  return found != gpus_.end() && found->second.taken;
}

Status CaptureProof::take(const Plan& plan, std::int32_t gpu, std::span<const void* const> data, device::Stream& stream,
                          const base::Deadline& deadline) {
  if (!takes(gpu)) return {};
  std::vector<device::DeviceRange> ranges;
  ranges.reserve(plan.gpu_pieces_before.at(gpu).back());
  for (std::uint64_t chunk = 0; chunk < plan.layout.chunk_count(); ++chunk) {
    for (const Piece& piece : plan.pieces_of_chunk(chunk)) {
      if (plan.source_device[piece.source] != gpu) continue;
      ranges.push_back({static_cast<const std::byte*>(data[piece.source]) + piece.offset, piece.bytes});
    }
  }
  return stream.take_fingerprints(*gpus_.at(gpu).prints, ranges, deadline);
}

Status CaptureProof::fetch(std::int32_t gpu, device::Stream& stream, const base::Deadline& deadline) {
  return takes(gpu) ? stream.fetch_fingerprints(*gpus_.at(gpu).prints, deadline) : Status();
}

void CaptureProof::compare(const Plan& plan, std::uint64_t chunk, std::span<const std::byte> memory) {
  std::map<std::int32_t, std::size_t> seen;
  for (const Piece& piece : plan.pieces_of_chunk(chunk)) {
    const std::int32_t gpu = plan.source_device[piece.source];
    if (!takes(gpu)) continue;
    const std::size_t index = plan.gpu_pieces_before.at(gpu)[chunk] + seen[gpu]++;
    const std::uint64_t arrived = device::fingerprint_of(memory.subspan(piece.chunk_offset, piece.bytes));
    if (arrived != gpus_.at(gpu).prints->value(index)) torn_.insert(piece.source);
  }
}

std::vector<CheckWay> CaptureProof::ways() const {
  std::vector<CheckWay> ways;
  for (const auto& [gpu, one] : gpus_) {
    const std::string off = check_ == CaptureCheck::off ? "capture_check is off" : "";
    ways.push_back({one.name, one.why_not.value_or(off)});
  }
  return ways;
}

std::vector<std::string> names_of(const Plan& plan, const std::set<std::size_t>& sources) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < plan.layout.entries.size(); ++i) {
    if (sources.contains(plan.source_of_entry[i])) names.push_back(plan.layout.entries[i].name);
  }
  return names;
}

std::string describe_torn(std::span<const std::string> names) {
  std::string text =
      "its bytes are not those that stood on the GPU when it was taken, changed before they were copied: ";
  for (std::size_t i = 0; i < std::min(names.size(), kNamedAtMost); ++i) text += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kNamedAtMost) text += " and " + std::to_string(names.size() - kNamedAtMost) + " more";
  return text;
}

}  // namespace stillframe::capture
