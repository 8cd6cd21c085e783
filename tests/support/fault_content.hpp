// The bytes of one file on a FaultDisk: what a reader sees now, and apart from it what is certainly on disk. Blocks are
// shared between copies, so that a copy of a whole disk costs little. Not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "support/fault_dice.hpp"

namespace stillframe::test {

inline constexpr std::size_t kFaultBlockBytes = 4096;  // written to disk or not, each for itself
inline constexpr std::size_t kFaultSectorBytes = 512;  // what a disk writes whole even when the power fails

using FaultBlock = std::array<std::byte, kFaultBlockBytes>;
using FaultBlockPtr = std::shared_ptr<const FaultBlock>;  // null: a hole, all zeros

// Bytes of the last block beyond `size` are zeros.
struct FaultBytes {
  std::uint64_t size = 0;
  std::vector<FaultBlockPtr> blocks;

  void write(std::uint64_t offset, std::span<const std::byte> bytes);
  [[nodiscard]] std::size_t read(std::uint64_t offset, std::span<std::byte> into) const;
  // Cuts, or grows by a hole.
  void resize(std::uint64_t bytes);
  void set_block(std::size_t index, FaultBlockPtr block);
  [[nodiscard]] FaultBlockPtr block(std::size_t index) const { return index < blocks.size() ? blocks[index] : nullptr; }
};

class FaultContent {
 public:
  FaultContent() = default;
  explicit FaultContent(FaultBytes on_disk) : now_(on_disk), synced_(std::move(on_disk)) {}

  [[nodiscard]] const FaultBytes& now() const noexcept { return now_; }
  void write(std::uint64_t offset, std::span<const std::byte> bytes);
  void sync();
  // The system forgets which of the written blocks are not on disk: a later sync says ok and does nothing for them.
  void lose_a_sync() noexcept {
    sync_lost_ = true;
    believe_a_lie();
  }
  // The disk said ok and did nothing: the system takes what was written so far for being on disk.
  void believe_a_lie() noexcept { thought_synced_ = written_.size(); }
  // The system drops the blocks that it takes for being on disk, and reads them from there: as of the last real sync.
  // Blocks written since are kept, and so is the size.
  void drop_cache();
  [[nodiscard]] bool dropping_shows() const noexcept { return thought_synced_ != 0; }
  [[nodiscard]] bool has_unsynced() const noexcept { return !written_.empty() || !sizes_.empty(); }

  // What the disk may hold after a power loss: for each block any version since the last sync or the one before, whole
  // or torn between sectors; any size the file had since.
  [[nodiscard]] FaultBytes survivor(FaultDice& dice) const;

 private:
  struct Written {
    std::size_t block = 0;
    FaultBlockPtr version;
  };
  [[nodiscard]] FaultBlockPtr surviving_block(std::size_t index, std::span<const Written> versions,
                                              FaultDice& dice) const;

  FaultBytes now_;
  FaultBytes synced_;
  std::vector<Written> written_;      // since the last sync, oldest first
  std::vector<std::uint64_t> sizes_;  // that the file had since the last sync
  std::size_t thought_synced_ = 0;    // so many of `written_`, though they are not
  bool sync_lost_ = false;
};

}  // namespace stillframe::test
