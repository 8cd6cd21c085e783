#include "support/fault_content.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "base/bytes.hpp"

namespace stillframe::test {
namespace {

// A copy of which the caller may change bytes before it hands it on.
std::shared_ptr<FaultBlock> copy_of(const FaultBlockPtr& block) {
  return block != nullptr ? std::make_shared<FaultBlock>(*block) : std::make_shared<FaultBlock>();
}

// Some sectors of one version, the others of the other.
FaultBlockPtr torn(const FaultBlockPtr& older, const FaultBlockPtr& newer, FaultDice& dice) {
  const auto mixed = copy_of(older);
  const FaultBlock zeros{};
  const FaultBlock& from = newer != nullptr ? *newer : zeros;
  std::uint64_t chosen = 0;
  for (std::size_t at = 0; at < kFaultBlockBytes; at += kFaultSectorBytes) {
    const bool is_new = dice.below(2) == 1;
    chosen = chosen * 2 + (is_new ? 1 : 0);
    if (is_new)
      std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(at), kFaultSectorBytes,
                  mixed->begin() + static_cast<std::ptrdiff_t>(at));
  }
  dice.note(chosen);
  return mixed;
}

}  // namespace

void FaultBytes::set_block(std::size_t index, FaultBlockPtr block) {
  if (blocks.size() <= index) blocks.resize(index + 1);
  blocks[index] = std::move(block);
}

void FaultBytes::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::size_t index = offset / kFaultBlockBytes;
    const std::size_t in_block = offset % kFaultBlockBytes;
    const std::size_t length = std::min(bytes.size(), kFaultBlockBytes - in_block);
    const auto changed = copy_of(block(index));
    std::ranges::copy(bytes.first(length), changed->begin() + static_cast<std::ptrdiff_t>(in_block));
    set_block(index, changed);
    bytes = bytes.subspan(length);
    offset += length;
    size = std::max(size, offset);
  }
}

std::size_t FaultBytes::read(std::uint64_t offset, std::span<std::byte> into) const {
  if (offset >= size) return 0;
  const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), size - offset));
  std::size_t done = 0;
  while (done < wanted) {
    const std::size_t in_block = (offset + done) % kFaultBlockBytes;
    const std::size_t length = std::min(wanted - done, kFaultBlockBytes - in_block);
    const FaultBlockPtr from = block((offset + done) / kFaultBlockBytes);
    const auto part = into.subspan(done, length);
    if (from == nullptr) {
      std::ranges::fill(part, std::byte{0});
    } else {
      std::copy_n(from->begin() + static_cast<std::ptrdiff_t>(in_block), length, part.begin());
    }
    done += length;
  }
  return wanted;
}

void FaultBytes::resize(std::uint64_t bytes) {
  if (bytes < size) {
    blocks.resize(std::min<std::size_t>(blocks.size(), base::ceil_div(bytes, kFaultBlockBytes)));
    const std::size_t last_bytes = bytes % kFaultBlockBytes;
    const std::size_t last = bytes / kFaultBlockBytes;
    if (last_bytes != 0 && block(last) != nullptr) {
      const auto cut = copy_of(block(last));
      std::fill(cut->begin() + static_cast<std::ptrdiff_t>(last_bytes), cut->end(), std::byte{0});
      blocks[last] = cut;
    }
  }
  size = bytes;
}

void FaultContent::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  const std::uint64_t size_before = now_.size;
  now_.write(offset, bytes);
  if (now_.size != size_before) sizes_.push_back(now_.size);
  const std::size_t last = (offset + bytes.size() - 1) / kFaultBlockBytes;
  for (std::size_t index = offset / kFaultBlockBytes; index <= last; ++index) {
    written_.push_back({index, now_.block(index)});
  }
}

void FaultContent::sync() {
  if (sync_lost_ || !has_unsynced()) return;
  synced_ = now_;
  written_.clear();
  sizes_.clear();
  thought_synced_ = 0;
}

void FaultContent::drop_cache() {
  const auto first_kept = written_.begin() + static_cast<std::ptrdiff_t>(thought_synced_);
  std::set<std::size_t> kept;
  std::for_each(first_kept, written_.end(), [&](const Written& written) { kept.insert(written.block); });
  const auto dropped = [&](const Written& written) { return !kept.contains(written.block); };
  std::for_each(written_.begin(), first_kept, [&](const Written& written) {
    if (dropped(written)) now_.set_block(written.block, synced_.block(written.block));
  });
  std::erase_if(written_, dropped);
  thought_synced_ = 0;
}

FaultBlockPtr FaultContent::surviving_block(std::size_t index, std::span<const Written> versions,
                                            FaultDice& dice) const {
  const std::size_t chosen = dice.version(versions.size() + 1);
  dice.note(chosen);
  const FaultBlockPtr before = synced_.block(index);
  constexpr std::size_t kTornPercent = 15;
  if (dice.percent(kTornPercent)) return torn(before, versions.back().version, dice);
  return chosen == 0 ? before : versions[chosen - 1].version;
}

FaultBytes FaultContent::survivor(FaultDice& dice) const {
  if (!has_unsynced()) return synced_;
  FaultBytes kept = synced_;
  std::map<std::size_t, std::vector<Written>> versions;
  for (const Written& written : written_) versions[written.block].push_back(written);
  for (const auto& [index, of_block] : versions) kept.set_block(index, surviving_block(index, of_block, dice));
  const std::size_t size_at = dice.version(sizes_.size() + 1);
  dice.note(size_at);
  const std::uint64_t size = size_at == 0 ? synced_.size : sizes_[size_at - 1];
  kept.size = std::max<std::uint64_t>(size, kept.blocks.size() * kFaultBlockBytes);  // so that what lies beyond is cut
  kept.resize(size);
  return kept;
}

}  // namespace stillframe::test
