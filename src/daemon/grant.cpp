#include "daemon/grant.hpp"

#include <algorithm>

#include "base/bytes.hpp"

namespace stillframe::daemon {

Result<ArenaGrant> decide_grant(const ArenaWish& wish, std::uint64_t budget_bytes, std::uint64_t free_bytes) {
  ArenaGrant grant;
  grant.slots = wish.slots != 0 ? wish.slots : arena::slots_in_budget(budget_bytes);
  const std::uint64_t image_chunks = arena::chunks_of(wish.image_bytes);
  const std::uint64_t descriptor_chunks = std::max<std::uint64_t>(1, arena::chunks_of(wish.descriptor_bytes));
  const std::uint64_t need = image_chunks + descriptor_chunks;

  const std::uint64_t control = wish.slots != 0 ? 0 : arena::control_bytes(grant.slots);
  const std::uint64_t affordable = free_bytes > control ? (free_bytes - control) / kChunkBytes : 0;
  const std::uint64_t reachable = std::min(grant.slots, wish.committed_slots + affordable);
  // Whole segments; the last one of an arena is as short as its budget makes it.
  const std::uint64_t wanted = base::ceil_div(2 * need, kSegmentChunks) * kSegmentChunks;
  grant.committed_slots = std::max(wish.committed_slots, std::min(reachable, wanted));
  grant.mode = arena::mode_of(grant.committed_slots, image_chunks, descriptor_chunks);
  if (grant.mode == arena::Mode::none) {
    const std::uint64_t ring = 2 * descriptor_chunks + arena::kMinRingChunks;
    return Status(Code::no_space,
                  "an arena for a state of " + base::human_bytes(wish.image_bytes) + " needs at least " +
                      base::human_bytes(ring * kChunkBytes + arena::control_bytes(ring)) + "; the trainer's budget is " +
                      base::human_bytes(budget_bytes) + ", and the daemon has " + base::human_bytes(free_bytes) +
                      " left of its own (arena.budget_bytes); raise the smaller one");
  }
  if (wish.rare_persist && grant.mode != arena::Mode::twofold) {
    return Status(Code::invalid_argument,
                  "to persist fewer snapshots than are taken (persist_every_steps, persist_every_seconds) an arena holds two "
                  "images of " + base::human_bytes(wish.image_bytes) + ", in all " +
                      base::human_bytes(2 * need * kChunkBytes + arena::control_bytes(2 * need)) +
                      "; the trainer's budget is " + base::human_bytes(budget_bytes) + ", and the daemon has " +
                      base::human_bytes(free_bytes) +
                      " left of its own (arena.budget_bytes); raise the smaller one, or persist every snapshot");
  }
  return grant;
}

}  // namespace stillframe::daemon
