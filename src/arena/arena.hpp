// An arena: the memfd, its mapping, and checked views into it. Both sides use it; trainer_side.hpp and daemon_side.hpp hold
// what each may do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "arena/layout.hpp"
#include "base/unique_fd.hpp"
#include "stillframe/status.hpp"

namespace stillframe::arena {

// Bytes of control structures and of chunks for `slots` slots; what counts against a budget.
[[nodiscard]] std::uint64_t control_bytes(std::uint64_t slots) noexcept;
// The most slots whose control and chunk bytes fit in `budget_bytes`; 0 when not one does.
[[nodiscard]] std::uint64_t slots_in_budget(std::uint64_t budget_bytes) noexcept;

// Movable; unmaps and closes when it goes.
class Arena {
 public:
  // Daemon: a memfd for up to `slots` slots, sealed against resizing, close-on-exec, no chunk memory committed yet.
  [[nodiscard]] static Result<Arena> create(std::uint64_t slots);
  // Either side: maps a memfd made by create(). corrupt when it is not one (size, seals and header are checked).
  [[nodiscard]] static Result<Arena> attach(base::UniqueFd memfd);
  // The same, mapped for reading only: what writes through it dies.
  [[nodiscard]] static Result<Arena> attach_read_only(base::UniqueFd memfd);

  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&& other) noexcept;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  // Daemon: gives memory to slots [committed, slots), prefaulted. no_space when the machine has none; then nothing changed.
  [[nodiscard]] Status commit_slots(std::uint64_t slots);
  // Trainer: the chunks of these slots, which are committed, are in this process's page tables, so that no copy into them
  // stops for that. Where the kernel has no such call (before 5.14) each page is looked at.
  void populate(std::uint64_t first_slot, std::uint64_t end_slot) noexcept;
  // Whether a descriptor is of the same memory.
  [[nodiscard]] bool is_of(int memfd) const noexcept;
  // Daemon: the memfd opened once more, for reading only; whoever gets it can neither write to the memory nor map it so.
  [[nodiscard]] Result<base::UniqueFd> reopen_read_only() const;
  // Trainer: the mapping is not inherited by forked children.
  [[nodiscard]] Status keep_from_children() noexcept;

  [[nodiscard]] int memfd() const noexcept { return memfd_.get(); }
  [[nodiscard]] std::uint64_t slot_count() const noexcept { return slot_count_; }
  // Never more than slot_count().
  [[nodiscard]] std::uint64_t committed_slots() const noexcept;
  [[nodiscard]] std::uint64_t committed_bytes() const noexcept;
  [[nodiscard]] std::string id_hex() const;

  [[nodiscard]] ArenaHeader& header() const noexcept { return *reinterpret_cast<ArenaHeader*>(base_); }
  [[nodiscard]] SnapshotRecord& record(std::uint32_t index) const noexcept;
  [[nodiscard]] ChunkSlot& slot(std::uint64_t index) const noexcept;
  [[nodiscard]] std::atomic<std::uint32_t>& map_entry(std::uint32_t record, std::uint64_t image_chunk) const noexcept;
  [[nodiscard]] std::span<std::byte> chunk(std::uint64_t slot) const noexcept;

 private:
  Arena(base::UniqueFd memfd, std::byte* base, std::uint64_t bytes, std::uint64_t slots) noexcept
      : memfd_(std::move(memfd)), base_(base), bytes_(bytes), slot_count_(slots) {}
  [[nodiscard]] static Result<Arena> attach_mapped(base::UniqueFd memfd, int protection);
  base::UniqueFd memfd_;
  std::byte* base_ = nullptr;
  std::uint64_t bytes_ = 0;
  std::uint64_t slot_count_ = 0;  // our own copy: the header is writable by the other side
};

[[nodiscard]] std::uint64_t record_checksum(const SnapshotRecord& record) noexcept;

}  // namespace stillframe::arena
