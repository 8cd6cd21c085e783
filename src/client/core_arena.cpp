// How the client comes by its arena: asked for, mapped, prefaulted, pinned; in the call, or behind it.
#include <algorithm>
#include <utility>

#include "client/core.hpp"

namespace stillframe::client {
namespace {

// Tree and metrics are not known when a plan is made; this much is assumed for them, with the layout's own size twice over.
constexpr std::uint64_t kTreeAllowanceBytes = 256 * 1024;
// Name, dtype, shape and its place in the tree, generously.
constexpr std::uint64_t kDescriptorBytesOfATensor = 512;
// An answer that needs no waiting still needs its way.
constexpr std::uint64_t kAnswerMs = 5'000;
// Of the daemon's wait behind one question of a reservation.
constexpr std::uint64_t kReserveAskMs = 250;
// A daemon that stands still answers all it was asked when it goes on: so it is not asked often.
constexpr std::uint64_t kUnansweredMs = 600'000;
// No thread of this process can map memory while some is populated, and a reservation ends between two parts.
constexpr std::uint64_t kPopulateSlots = 64;
constexpr std::uint64_t kPinSlots = 1024;

std::uint64_t deadline_ms(const base::Deadline& deadline) { return static_cast<std::uint64_t>(deadline.remaining_ms()); }

}  // namespace

Result<std::shared_ptr<const capture::Plan>> Core::make_plan(std::vector<capture::EntrySpec> specs,
                                                             const base::Deadline& deadline) {
  auto made = plan_for(std::move(specs), deadline);
  if (!made.ok()) {  // the snapshot that wanted it failed, and only here is that known
    const std::lock_guard lock(mutex_);
    count_failure(made.status().message());
  }
  return made;
}

Result<std::shared_ptr<const capture::Plan>> Core::plan_for(std::vector<capture::EntrySpec> specs,
                                                            const base::Deadline& deadline) {
  SF_ASSIGN(std::shared_ptr<const capture::Plan> plan, capture::Plan::make(std::move(specs)));
  end_reserving();
  const std::uint64_t descriptor_bytes = 2 * plan->layout_text.size() + kTreeAllowanceBytes;
  // A daemon that stands still must not hold up a loop that needs nothing of it.
  if (!has_planned_ || !stays_twofold(plan->layout.bytes, descriptor_bytes)) {
    SF_TRY(make_room({plan->layout.bytes, descriptor_bytes, deadline_ms(deadline), /*while_training=*/false}, deadline, nullptr));
  }
  has_planned_ = true;
  SF_TRY(prepare(*plan, deadline));
  return plan;
}

Status Core::reserve(const StateSize& size, const base::Deadline& deadline) {
  end_reserving();
  const std::uint64_t descriptor_bytes = size.tensors * kDescriptorBytesOfATensor + kTreeAllowanceBytes;
  device::Device* const gpu = pinning_gpu(size);
  SF_TRY(make_room({size.image_bytes, descriptor_bytes, deadline_ms(deadline), /*while_training=*/false}, deadline, nullptr));
  if (gpu != nullptr) pin_arena(*gpu, nullptr);
  return {};
}

device::Device* Core::pinning_gpu(const StateSize& size) {
  if (size.gpu == kHost) return nullptr;
  const Result<device::Device*> gpu = devices_->get(size.gpu);
  gpu.status().ignore("the first plan opens it again, and says what is wrong");
  return gpu.ok() ? *gpu : nullptr;
}

Status Core::reserve_behind(const StateSize& size) {
  if (reserving_ != nullptr || arena_ != nullptr) return {};
  device::Device* const gpu = pinning_gpu(size);  // here, where the trainer's context is current
  auto reserving = std::make_unique<Reserving>();
  SF_ASSIGN(reserving->thread, base::Thread::start("sf-reserve", [this, gpu, size, &ended = reserving->ended, &done = reserving->done] {
              reserve_patiently(gpu, size, ended);
              const std::lock_guard lock(mutex_);
              done = true;
              reserving_done_.notify_all();
            }));
  reserving_ = std::move(reserving);
  return {};
}

void Core::reserve_patiently(device::Device* gpu, const StateSize& size, const std::atomic<bool>& ended) {
  const std::uint64_t descriptor_bytes = size.tensors * kDescriptorBytesOfATensor + kTreeAllowanceBytes;
  Status made;
  do {
    const protocol::ArenaRequest request{size.image_bytes, descriptor_bytes, kReserveAskMs, /*while_training=*/true};
    made = make_room(request, base::Deadline::after_ms(kUnansweredMs), &ended);
  } while (made.code() == Code::deadline && !ended);
  if (made.ok() && gpu != nullptr) pin_arena(*gpu, &ended);
  made.ignore("the first plan asks for the same, and says what is wrong");
}

Status Core::reserved(std::int64_t for_step, const base::Deadline& deadline) {
  if (reserving_ == nullptr) return {};
  std::unique_lock lock(mutex_);
  if (reserving_done_.wait_for(lock, deadline.remaining(), [this] { return reserving_->done; })) return {};
  const std::string why = "the memory for snapshots is still on its way: what a process before had captured is written first, or "
                          "the daemon does not answer";
  return {Code::busy, count_skip(for_step, why)};
}

void Core::end_reserving() noexcept {
  if (reserving_ == nullptr) return;
  reserving_->ended = true;
  link_->wake();
  reserving_.reset();
}

bool Core::stays_twofold(std::uint64_t image_bytes, std::uint64_t descriptor_bytes) const {
  const std::lock_guard lock(mutex_);
  return mode_ == arena::Mode::twofold && mode_for(image_bytes, descriptor_bytes) == arena::Mode::twofold;
}

arena::Mode Core::mode_for(std::uint64_t image_bytes, std::uint64_t descriptor_bytes) const {
  return arena::mode_of(arena_->committed_slots(), arena::chunks_of(image_bytes), arena::chunks_of(descriptor_bytes));
}

Status Core::make_room(const protocol::ArenaRequest& request, const base::Deadline& deadline, const std::atomic<bool>* ended) {
  // The arena may grow, and its chunks are handed out by position: not while a copy is under way.
  if (copier_ && !copier_->wait_idle(deadline)) return {Code::deadline, "the snapshot before is still being copied"};
  SF_ASSIGN(Link::Reply reply, ended != nullptr ? link_->ask_patiently(request, deadline, *ended)
                                                : link_->ask(request, deadline.at_least_ms(kAnswerMs)));
  SF_TRY(attach(std::move(reply)));
  populate(ended);
  const std::lock_guard lock(mutex_);
  mode_ = mode_for(request.image_bytes, request.descriptor_bytes);
  return {};
}

Status Core::attach(Link::Reply reply) {
  const auto* ready = std::get_if<protocol::ArenaReady>(&reply.message);
  if (ready == nullptr) return {Code::corrupt, "unexpected answer to the request for an arena"};
  {
    const std::lock_guard lock(mutex_);
    budget_bytes_ = ready->budget_bytes;
  }
  if (arena_) {
    if (reply.descriptors.empty() || arena_->is_of(reply.descriptors.front().get())) return {};
    link_->begin_anew(reply.connection_number);
    return {Code::unavailable, "the daemon has not taken over the memory of this process yet; the next snapshot asks again"};
  }
  if (reply.descriptors.empty()) return {Code::corrupt, "the daemon gave no memory with its arena"};
  ForkGuard guard(reply.descriptors.front().get());
  SF_ASSIGN(arena::Arena attached, arena::Arena::attach(std::move(reply.descriptors.front())));
  SF_TRY(attached.keep_from_children());
  auto arena = std::make_unique<arena::Arena>(std::move(attached));
  SF_ASSIGN(auto copier, capture::Copier::start(*devices_, *arena, options_.scratch_bytes, options_.fence_deadline_ms,
                                                options_.capture_check));
  {
    const std::lock_guard lock(mutex_);
    arena_guard_ = std::move(guard);
    arena_ = std::move(arena);
    copier_ = std::move(copier);
  }
  // The daemon that gave it may have died since, and the next one been told that there is nothing to take over.
  const std::uint64_t now = link_->connections_made();
  if (now != reply.connection_number) link_->begin_anew(now);
  return {};
}

void Core::populate(const std::atomic<bool>* ended) noexcept {
  while (populated_slots_ < arena_->committed_slots() && (ended == nullptr || !*ended)) {
    const std::uint64_t end = std::min(populated_slots_ + kPopulateSlots, arena_->committed_slots());
    arena_->populate(std::exchange(populated_slots_, end), end);
  }
}

Status Core::prepare(const capture::Plan& plan, const base::Deadline& deadline) {
  if (!copier_->wait_idle(deadline)) return {Code::deadline, "the snapshot before is still being copied"};
  SF_TRY(copier_->prepare(plan));
  if (!plan.has_gpu()) return {};
  SF_ASSIGN(device::Device * gpu, devices_->get(plan.devices.back()));
  pin_arena(*gpu, nullptr);
  return {};
}

// One GPU pins for all. Growth is pinned as it comes.
void Core::pin_arena(device::Device& gpu, const std::atomic<bool>* ended) {
  const std::uint64_t slots = arena_->committed_slots();
  while (!pinning_refused_ && pinned_slots_ < slots && (ended == nullptr || !*ended)) {
    const std::uint64_t end = std::min(pinned_slots_ + kPinSlots, slots);
    auto pinned = gpu.pin({arena_->chunk(pinned_slots_).data(), (end - pinned_slots_) * kChunkBytes});
    if (!pinned.ok()) {
      pinning_refused_ = true;
      const std::lock_guard lock(mutex_);
      warn("copies from " + gpu.name() + " go through memory that is not pinned, slower and with the host waiting: " +
           pinned.status().message());
      return;
    }
    pinned_.push_back(std::move(pinned).value());
    pinned_slots_ = end;
  }
}

}  // namespace stillframe::client
