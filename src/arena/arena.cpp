#include "arena/arena.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "base/bytes.hpp"
#include "base/checksum.hpp"
#include "base/clock.hpp"

namespace stillframe::arena {
namespace {

constexpr std::uint64_t kPageBytes = 4096;
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

struct Offsets {
  std::uint64_t slots = 2 * kControlPageBytes;
  std::uint64_t map = 0;
  std::uint64_t chunks = 0;
  std::uint64_t total = 0;
};

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) { return (value + unit - 1) / unit * unit; }

Offsets offsets_for(std::uint64_t slots) noexcept {
  Offsets offsets;
  offsets.map = round_up(offsets.slots + slots * sizeof(ChunkSlot), kPageBytes);
  offsets.chunks = round_up(offsets.map + slots * kMaxSnapshots * sizeof(std::uint32_t), kPageBytes);
  offsets.total = offsets.chunks + slots * kChunkBytes;
  return offsets;
}

Status system_error(Code code, const std::string& what) {
  return {code, what + ": " + std::strerror(errno)};
}

Result<std::byte*> map_shared(int fd, std::uint64_t bytes, int protection) {
  void* base = ::mmap(nullptr, bytes, protection, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (base == MAP_FAILED) {
    return system_error(Code::no_space, "arena of " + base::human_bytes(bytes) + " cannot be mapped");
  }
  return static_cast<std::byte*>(base);
}

// `slots` is the header's slot count, read once: the other side can change the header while we look at it.
Status check_header(const ArenaHeader& header, std::uint64_t slots, std::uint64_t file_bytes) {
  const auto refuse = [](const std::string& what) {
    return Status(Code::corrupt, "the memory handed over is not an arena of this version: " + what);
  };
  if (header.magic != kArenaMagic) return refuse("its magic number differs");
  if (header.version != kArenaVersion || header.max_snapshots != kMaxSnapshots) {
    return Status(Code::unsupported, "arena version " + std::to_string(header.version) + ", this build knows version " +
                                         std::to_string(kArenaVersion) + ": trainer and daemon must be of one release");
  }
  if (slots == 0 || slots > kMaxSlots) return refuse("its slot count is out of range");
  const Offsets offsets = offsets_for(slots);
  if (header.slots_offset != offsets.slots || header.map_offset != offsets.map ||
      header.chunks_offset != offsets.chunks || header.total_bytes != offsets.total || offsets.total != file_bytes) {
    return refuse("its offsets do not fit its size");
  }
  return {};
}

}  // namespace

std::uint64_t control_bytes(std::uint64_t slots) noexcept { return offsets_for(slots).chunks; }

std::uint64_t slots_in_budget(std::uint64_t budget_bytes) noexcept {
  std::uint64_t slots = std::min(budget_bytes / kChunkBytes, kMaxSlots);
  while (slots > 0 && offsets_for(slots).total > budget_bytes) --slots;
  return slots;
}

Result<Arena> Arena::create(std::uint64_t slots) {
  if (slots == 0 || slots > kMaxSlots) {
    return Status(Code::invalid_argument, "an arena has 1 to " + std::to_string(kMaxSlots) + " slots, not " +
                                              std::to_string(slots));
  }
  const Offsets offsets = offsets_for(slots);
  base::UniqueFd memfd(::memfd_create("stillframe-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memfd.valid()) return system_error(Code::no_space, "memfd for the arena was refused");
  // It begins as everybody's, and a descriptor for reading only could be opened anew for writing by the user that it was given to.
  if (::fchmod(memfd.get(), S_IRUSR | S_IWUSR) != 0) return system_error(Code::io_error, "the arena cannot be made private");
  if (::ftruncate(memfd.get(), static_cast<off_t>(offsets.total)) != 0) {
    return system_error(Code::no_space, "arena of " + base::human_bytes(offsets.total) + " was refused");
  }
  if (::fcntl(memfd.get(), F_ADD_SEALS, kSeals) != 0) {
    return system_error(Code::io_error, "arena cannot be sealed against resizing");
  }
  // Control pages now, so that no later touch of them can fail for want of memory.
  if (::fallocate(memfd.get(), 0, 0, static_cast<off_t>(offsets.chunks)) != 0) {
    return system_error(Code::no_space, "memory for the arena's control structures was refused");
  }
  SF_ASSIGN(std::byte * base, map_shared(memfd.get(), offsets.total, PROT_READ | PROT_WRITE));
  Arena arena(std::move(memfd), base, offsets.total, slots);
  auto* header = new (base) ArenaHeader{};
  header->magic = kArenaMagic;
  header->version = kArenaVersion;
  header->max_snapshots = kMaxSnapshots;
  header->total_bytes = offsets.total;
  header->slot_count = slots;
  header->slots_offset = offsets.slots;
  header->map_offset = offsets.map;
  header->chunks_offset = offsets.chunks;
  header->made_monotonic_ns = base::system_clock().monotonic_ns();
  if (::getrandom(header->arena_id.data(), header->arena_id.size(), 0) !=
      static_cast<ssize_t>(header->arena_id.size())) {
    return system_error(Code::io_error, "random bytes for the arena's id were refused");
  }
  return arena;
}

Result<Arena> Arena::attach(base::UniqueFd memfd) { return attach_mapped(std::move(memfd), PROT_READ | PROT_WRITE); }

Result<Arena> Arena::attach_read_only(base::UniqueFd memfd) { return attach_mapped(std::move(memfd), PROT_READ); }

Result<Arena> Arena::attach_mapped(base::UniqueFd memfd, int protection) {
  struct stat info {};
  if (::fstat(memfd.get(), &info) != 0) return system_error(Code::io_error, "arena descriptor cannot be read");
  const auto bytes = static_cast<std::uint64_t>(info.st_size);
  // Without the seals the other side could shrink the file and turn our next read into SIGBUS.
  const int seals = ::fcntl(memfd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals || bytes < 2 * kControlPageBytes) {
    return Status(Code::corrupt, "the memory handed over is not a sealed arena");
  }
  SF_ASSIGN(std::byte * base, map_shared(memfd.get(), bytes, protection));
  const std::uint64_t slots =
      std::atomic_ref(reinterpret_cast<ArenaHeader*>(base)->slot_count).load(std::memory_order_relaxed);
  Arena arena(std::move(memfd), base, bytes, slots);
  SF_TRY(check_header(arena.header(), slots, bytes));
  return arena;
}

Arena::Arena(Arena&& other) noexcept
    : memfd_(std::move(other.memfd_)),
      base_(std::exchange(other.base_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      slot_count_(std::exchange(other.slot_count_, 0)) {}

Arena& Arena::operator=(Arena&& other) noexcept {
  if (this != &other) {
    if (base_ != nullptr) ::munmap(base_, bytes_);
    memfd_ = std::move(other.memfd_);
    base_ = std::exchange(other.base_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    slot_count_ = std::exchange(other.slot_count_, 0);
  }
  return *this;
}

Arena::~Arena() {
  if (base_ != nullptr) ::munmap(base_, bytes_);
}

Status Arena::commit_slots(std::uint64_t slots) {
  if (slots > slot_count_) return {Code::internal, "more slots than the arena has"};
  const std::uint64_t before = committed_slots();
  if (slots <= before) return {};
  const Offsets offsets = offsets_for(slot_count_);
  const std::uint64_t from = offsets.chunks + before * kChunkBytes;
  const std::uint64_t bytes = (slots - before) * kChunkBytes;
  int result;
  do {
    result = ::fallocate(memfd_.get(), 0, static_cast<off_t>(from), static_cast<off_t>(bytes));
  } while (result != 0 && errno == EINTR);
  if (result != 0) {
    return system_error(Code::no_space, "the machine refused " + base::human_bytes(bytes) +
                                            " of memory for the arena; lower the budget or free memory");
  }
  header().committed_slots.store(slots, std::memory_order_release);
  return {};
}

void Arena::populate(std::uint64_t first_slot, std::uint64_t end_slot) noexcept {
  if (first_slot >= end_slot) return;
  std::byte* const from = chunk(first_slot).data();
  const std::uint64_t bytes = (end_slot - first_slot) * kChunkBytes;
  if (::madvise(from, bytes, MADV_POPULATE_WRITE) == 0) return;
  for (std::uint64_t at = 0; at < bytes; at += kControlPageBytes) {
    static_cast<void>(*const_cast<const volatile std::byte*>(from + at));
  }
}

bool Arena::is_of(int memfd) const noexcept {
  struct stat own {};
  struct stat other {};
  return ::fstat(memfd_.get(), &own) == 0 && ::fstat(memfd, &other) == 0 && own.st_dev == other.st_dev &&
         own.st_ino == other.st_ino;
}

Result<base::UniqueFd> Arena::reopen_read_only() const {
  const std::string path = "/proc/self/fd/" + std::to_string(memfd_.get());
  base::UniqueFd reader(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!reader.valid()) return system_error(Code::io_error, "the arena cannot be opened for reading");
  return reader;
}

Status Arena::keep_from_children() noexcept {
  if (::madvise(base_, bytes_, MADV_DONTFORK) != 0) return system_error(Code::io_error, "MADV_DONTFORK was refused");
  return {};
}

std::uint64_t Arena::committed_slots() const noexcept {
  return std::min(header().committed_slots.load(std::memory_order_acquire), slot_count_);
}

std::uint64_t Arena::committed_bytes() const noexcept {
  return offsets_for(slot_count_).chunks + committed_slots() * kChunkBytes;
}

std::string Arena::id_hex() const {
  base::Hash128 id;
  id.bytes = header().arena_id;
  return id.hex();
}

SnapshotRecord& Arena::record(std::uint32_t index) const noexcept {
  return reinterpret_cast<SnapshotRecord*>(base_ + kControlPageBytes)[index];
}

ChunkSlot& Arena::slot(std::uint64_t index) const noexcept {
  return reinterpret_cast<ChunkSlot*>(base_ + offsets_for(slot_count_).slots)[index];
}

std::atomic<std::uint32_t>& Arena::map_entry(std::uint32_t record, std::uint64_t image_chunk) const noexcept {
  auto* map = reinterpret_cast<std::atomic<std::uint32_t>*>(base_ + offsets_for(slot_count_).map);
  return map[record * slot_count_ + image_chunk % slot_count_];
}

std::span<std::byte> Arena::chunk(std::uint64_t slot) const noexcept {
  return {base_ + offsets_for(slot_count_).chunks + slot * kChunkBytes, kChunkBytes};
}

std::uint64_t record_checksum(const SnapshotRecord& record) noexcept {
  const std::array<std::uint64_t, 5> fields{record.snapshot_id, static_cast<std::uint64_t>(record.step), record.image_bytes,
                                            record.descriptor_bytes, static_cast<std::uint64_t>(record.taken_unix_ns)};
  const base::Hash128 hash = base::xxh128(std::as_bytes(std::span(fields)));
  std::uint64_t checksum;
  std::memcpy(&checksum, hash.bytes.data(), sizeof checksum);
  return checksum;
}

}  // namespace stillframe::arena
