#include "capture/copier.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

namespace stillframe::capture {
namespace {

// Chunks whose copies may be under way at once: enough to keep a copy engine busy, few enough that "chunk filled" is not late.
constexpr std::size_t kCopiesUnderWay = 8;
// A wait for a chunk looks for a cancellation this often.
constexpr std::uint64_t kCancelCheckMs = 100;
// The daemon's reason for a failure comes by another way than the state in the arena, and later by a moment.
constexpr std::uint64_t kWordsLateMs = 3000;
constexpr std::uint64_t kThreadFreeMs = 1000;
// Copies under way of a snapshot that is given up; a device that has not done them by then does not answer.
constexpr std::uint64_t kStopCopiesMs = 5'000;

}  // namespace

Copier::Copier(Devices& devices, const arena::Arena& arena, std::uint64_t scratch_bytes, std::uint64_t fence_deadline_ms,
               CaptureCheck check)
    : arena_(&arena),
      crew_(&devices.crew()),
      trainer_(arena),
      scratch_limit_(scratch_bytes),
      fence_deadline_ms_(fence_deadline_ms),
      streams_(devices, check) {}

Result<std::unique_ptr<Copier>> Copier::start(Devices& devices, const arena::Arena& arena, std::uint64_t scratch_bytes,
                                              std::uint64_t fence_deadline_ms, CaptureCheck check) {
  std::unique_ptr<Copier> copier(new Copier(devices, arena, scratch_bytes, fence_deadline_ms, check));
  SF_ASSIGN(copier->thread_, base::Thread::start("sf-copier", [raw = copier.get()] { raw->run(); }));
  return copier;
}

Copier::~Copier() { stop(); }

void Copier::stop() {
  {
    std::unique_lock lock(mutex_);
    if (copying_ && all_is_copied()) {
      changed_.wait_for(lock, std::chrono::milliseconds(kThreadFreeMs), [this] { return !copying_; });
    }
  }
  cancel("the client was closed while the snapshot was being copied", /*only_ring=*/false);
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

Status Copier::prepare(const Plan& plan) {
  const std::lock_guard lock(mutex_);
  if (copying_) return {Code::busy, "the snapshot before is still being copied"};
  SF_TRY(still_stuck());  // memory that is let go for more must not be under copies
  return streams_.prepare(plan, scratch_limit_);
}

Status Copier::refuse_in_capture(const Plan& plan, std::span<const StreamRef> streams) const {
  const std::lock_guard lock(mutex_);
  return streams_.refuse_in_capture(plan, streams);
}

std::vector<GatherWay> Copier::gather_ways() const {
  const std::lock_guard lock(mutex_);
  return streams_.gather_ways();
}

bool Copier::is_stuck() const {
  const std::lock_guard lock(mutex_);
  return !unended_.empty();
}

bool Copier::all_is_copied() const {
  return enqueued_ && std::ranges::all_of(copied_, [](const DeviceEvent& one) { return one.event->reached(); });
}

Status Copier::still_stuck() {
  if (unended_.empty()) return {};
  std::erase_if(unended_, [this](const DeviceEvent& one) { return streams_.has_ended(one); });
  if (!unended_.empty()) {
    return {Code::unavailable,
            "a device has not finished the copies of an earlier snapshot, and takes no further ones before it has; what was "
            "captured before is safe. When it never does, start the training process anew"};
  }
  trainer_.abandon(unended_handle_);
  return {};
}

Result<arena::SnapshotHandle> Copier::submit(Job job, const base::Deadline& deadline) {
  std::unique_lock lock(mutex_);
  // Copied or sealed, and the thread about to say that it is free: no reason to skip.
  if (copying_ && (!job_->progress->copying() || (all_is_copied() && !is_checked_for_long()))) {
    changed_.wait_for(lock, deadline.at_most_ms(kThreadFreeMs).remaining(), [this] { return !copying_; });
  }
  if (copying_) return Status(Code::busy, "the snapshot before is still being copied");
  SF_TRY(still_stuck());
  const std::uint64_t image_chunks = job.plan->layout.chunk_count();
  const std::uint64_t descriptor_chunks = arena::chunks_of(job.descriptor.size());
  const arena::Mode mode = arena::mode_of(arena_->committed_slots(), image_chunks, descriptor_chunks);
  if (mode == arena::Mode::none) {
    return Status(Code::no_space, "the arena is too small for this state; raise the budget");
  }
  if (mode != arena::Mode::ring && trainer_.free_slots(image_chunks + descriptor_chunks) < image_chunks + descriptor_chunks) {
    return Status(Code::busy, "the arena still holds earlier snapshots that are being written");
  }
  // Before anything is issued: a caller that waits for room comes back, and would have it gathered each time.
  if (!trainer_.has_free_record()) {
    return Status(Code::busy, "the daemon has not finished the earlier snapshots, which take every record of the arena");
  }
  SF_TRY(streams_.prepare(*job.plan, scratch_limit_));
  SF_TRY(streams_.begin(*job.plan, job.streams, job.data, deadline));
  SF_ASSIGN(handle_, trainer_.begin({job.step, job.plan->layout.bytes, job.descriptor.size(), job.taken_unix_ns,
                                        job.memory_only && mode == arena::Mode::twofold, job.taken_monotonic_ns,
                                        job.plan->has_gpu_bytes()}));
  job.progress->set_memory_only(job.memory_only && mode == arena::Mode::twofold);
  job_ = std::move(job);
  const bool whole_copy_in_call = job_->plan->host_scratch_bytes > scratch_limit_;
  if (!whole_copy_in_call) take_unguarded();
  mode_ = mode;
  enqueued_ = false;
  copied_.clear();
  copying_ = true;
  cancel_reason_.reset();
  starved_ = false;
  pending_ = job_->progress;
  pending_handle_ = handle_;
  const arena::SnapshotHandle handle = handle_;
  const std::shared_ptr<Progress> progress = pending_;
  changed_.notify_all();
  lock.unlock();
  if (whole_copy_in_call && !progress->wait_copied(deadline)) {
    cancel("its unguarded tensors were not copied before the deadline of the call", /*only_ring=*/false);
  }
  return handle;
}

void Copier::take_unguarded() {
  const Plan& plan = *job_->plan;
  scratch_.resize(std::max<std::size_t>(scratch_.size(), plan.host_scratch_bytes));
  taken_.clear();
  for (std::size_t source = 0; source < job_->data.size(); ++source) {
    const bool taken = plan.source_device[source] == kHost && !plan.source_guarded[source] && plan.source_bytes[source] != 0;
    if (!taken) continue;
    const auto place = std::span(scratch_).subspan(plan.scratch_offset[source], plan.source_bytes[source]);
    taken_.push_back({place, job_->data[source]});
    job_->data[source] = place.data();
  }
  crew_->copy(taken_);
}

void Copier::cancel(const std::string& reason, bool only_ring) {
  const std::lock_guard lock(mutex_);
  if (!copying_ || cancel_reason_) return;
  if (only_ring) {
    const arena::Mode mode = arena::mode_of(arena_->committed_slots(), job_->plan->layout.chunk_count(),
                                            arena::chunks_of(job_->descriptor.size()));
    if (mode != arena::Mode::ring) return;
  }
  cancel_reason_ = reason;
}

Status Copier::given_up_by_daemon() {
  return {Code::io_error, "the daemon could not write it (its log and the next warning say why)"};
}

Status Copier::cancelled() {
  const auto now = trainer_.progress(handle_);
  if (now && now->state == arena::RecordState::failed) return given_up_by_daemon();
  const std::lock_guard lock(mutex_);
  if (!cancel_reason_) return {};
  return {Code::deadline, *cancel_reason_};
}

// Under the lock of cancel(): a cancellation comes before the seal and holds, or finds the snapshot captured.
Status Copier::seal() {
  const std::lock_guard lock(mutex_);
  if (cancel_reason_) return {Code::deadline, *cancel_reason_};
  if (!trainer_.seal(handle_)) return given_up_by_daemon();
  if (job_->of_group) {
    job_->progress->set_sealed();
  } else {
    job_->progress->set_captured();
  }
  return {};
}

void Copier::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || copying_; });
    if (!copying_) return;
    lock.unlock();
    copy_job();
    lock.lock();
    copying_ = false;
    job_.reset();
    changed_.notify_all();
  }
}

void Copier::copy_job() {
  Status status = copy_descriptor();
  if (status.ok()) status = copy_image();
  if (status.ok()) status = all_enqueued();
  while (status.ok() && !filling_.empty()) status = finish_oldest();
  if (status.ok()) status = prove();
  if (status.ok()) status = seal();
  if (status.ok()) return;
  stop_copies();
  give_up(status);
}

// After an error nothing may write into slots that are given back, or read tensors that may be freed.
void Copier::stop_copies() {
  filling_.clear();
  std::vector<DeviceEvent> left = streams_.wait_quiet(*job_->plan, base::Deadline::after_ms(kStopCopiesMs));
  const std::lock_guard lock(mutex_);
  unended_ = std::move(left);
  unended_handle_ = handle_;
}

void Copier::give_up(const Status& why) {
  const auto now = trainer_.progress(handle_);
  if (now && now->state == arena::RecordState::failed) {
    (void)job_->progress->wait_copied(base::Deadline::after_ms(kWordsLateMs));
  }
  // Where a device may still write into its slots, they stay leased.
  if (!is_stuck()) trainer_.abandon(handle_);
  {
    const std::lock_guard lock(mutex_);
    starved_ = why.code() == Code::deadline && !cancel_reason_;
  }
  const bool torn = why.code() == Code::corrupt;
  job_->progress->end(SnapshotState::abandoned, why.code(),
                      "snapshot of step " + std::to_string(job_->step) +
                          (torn ? " is torn and was withdrawn: " : " was abandoned: ") + why.message() +
                          "; older checkpoints are whole");
}

Status Copier::all_enqueued() {
  SF_ASSIGN(std::vector<DeviceEvent> copied, streams_.record_all(*job_->plan));
  const std::lock_guard lock(mutex_);
  copied_ = std::move(copied);
  enqueued_ = true;
  changed_.notify_all();
  return {};
}

Result<std::uint64_t> Copier::lease(arena::SlotKind kind, std::uint64_t index) {
  const auto deadline = base::Deadline::after_ms(fence_deadline_ms_);
  for (;;) {
    SF_TRY(cancelled());
    Result<std::uint64_t> slot = trainer_.lease(handle_, kind, index, deadline.at_most_ms(kCancelCheckMs));
    if (slot.ok() || slot.status().code() != Code::deadline || deadline.expired()) return slot;
  }
}

Status Copier::copy_descriptor() {
  const std::span<const std::byte> bytes(job_->descriptor);
  for (std::uint64_t i = 0; i * kChunkBytes < bytes.size(); ++i) {
    SF_ASSIGN(const std::uint64_t slot, lease(arena::SlotKind::descriptor, i));
    const std::size_t length = std::min<std::size_t>(kChunkBytes, bytes.size() - i * kChunkBytes);
    std::memcpy(arena_->chunk(slot).data(), bytes.data() + i * kChunkBytes, length);
    trainer_.mark_filled(handle_, slot);
  }
  return {};
}

Status Copier::copy_image() {
  // The fence of a GPU waits until all is enqueued, so nothing but a lack of chunks may hold that up.
  const bool ahead = job_->plan->has_gpu() && mode_ != arena::Mode::ring;
  const bool compares_later = ahead && streams_.proof().is_checking();
  SF_TRY(streams_.open_copies(*job_->plan, job_->data, base::Deadline::after_ms(fence_deadline_ms_)));
  for (std::uint64_t chunk = 0; chunk < job_->plan->layout.chunk_count(); ++chunk) {
    if (!ahead && filling_.size() >= kCopiesUnderWay) SF_TRY(finish_oldest());
    if (!compares_later) SF_TRY(finish_reached());
    SF_TRY(cancelled());
    Result<std::uint64_t> slot =
        trainer_.lease(handle_, arena::SlotKind::image, chunk, base::Deadline::after_ms(0));
    if (!slot.ok()) {
      // What is under way must reach the daemon before we wait for it to give a chunk back, or both would wait.
      while (!filling_.empty()) SF_TRY(finish_oldest());
      slot = lease(arena::SlotKind::image, chunk);
    }
    if (!slot.ok()) return std::move(slot).status();
    SF_TRY(start_chunk(chunk, *slot));
  }
  return {};
}

Status Copier::start_chunk(std::uint64_t chunk, std::uint64_t slot) {
  SF_ASSIGN(auto copied, streams_.copy(*job_->plan, chunk, job_->data, arena_->chunk(slot),
                                       base::Deadline::after_ms(fence_deadline_ms_)));
  filling_.push_back({chunk, slot, std::move(copied)});
  return {};
}

Status Copier::finish_oldest() {
  const auto deadline = base::Deadline::after_ms(fence_deadline_ms_);
  for (const auto& event : filling_.front().copied) {
    Status copied = event->wait(deadline.at_most_ms(kCancelCheckMs));
    while (copied.code() == Code::deadline && !deadline.expired()) {
      SF_TRY(cancelled());
      copied = event->wait(deadline.at_most_ms(kCancelCheckMs));
    }
    SF_TRY(copied);
  }
  const Filling& filled = filling_.front();
  streams_.proof().compare(*job_->plan, filled.chunk, arena_->chunk(filled.slot));
  trainer_.mark_filled(handle_, filled.slot);
  filling_.pop_front();
  return {};
}

// Chunks whose copies have ended, so that "filled" is not late while others are still being given.
Status Copier::finish_reached() {
  const auto reached = [](const std::shared_ptr<device::Event>& event) { return event->reached(); };
  while (!filling_.empty() && std::ranges::all_of(filling_.front().copied, reached)) SF_TRY(finish_oldest());
  return {};
}

}  // namespace stillframe::capture
