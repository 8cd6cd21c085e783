#include "client/core.hpp"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/futex.hpp"
#include "client/query.hpp"
#include "format/descriptor.hpp"
#include "format/manifest.hpp"
#include "format/names.hpp"
#include "format/tree.hpp"
#include "retention/policy.hpp"
#include "store/file_system.hpp"
#include "store/store.hpp"

namespace stillframe::client {
namespace {

constexpr std::uint64_t kRoomPollMs = 100;
// A copy that was cancelled stops within some chunks; nothing it reads may be freed before.
constexpr std::uint64_t kStopCopyMs = 10'000;
// So many skipped in a row are said once, and again at every tenfold.
constexpr std::uint64_t kSkipsToSay = 10;

Status check_cadence(const CheckpointerOptions& options) {
  if (!(options.mean_time_between_failures_seconds >= 0)) {
    return {Code::invalid_argument, "mean_time_between_failures_seconds must not be negative: 0 when it is not known"};
  }
  if (options.world_size > 1 && options.overrun == Overrun::latest) {
    return {Code::unsupported, "overrun 'latest' is for runs of one rank: ranks that each drop another step never commit the same one"};
  }
  if (options.world_size > 1 && (options.persist_every_steps != 0 || options.persist_every_seconds != 0)) {
    return {Code::unsupported, "persist_every_steps and persist_every_seconds are for runs of one rank: every snapshot of a "
                               "group goes to the store"};
  }
  return {};
}

// The daemon of a named socket may be another user's. The store is its own, then: it makes what is missing, and says what it
// cannot write.
Result<std::string> real_path_of_store(const CheckpointerOptions& options) {
  env::Env& env = env::posix_env();
  if (!options.socket.empty()) {
    if (auto there = env.real_path(options.store); there.ok()) return there;
    if (auto to_be = env::resolve_directory_of(env, options.store); to_be.ok()) return to_be;
  }
  SF_ASSIGN(const store::Store store, store::Store::open_or_create(env, options.store));
  return store.path();
}

void say_which_store(const CheckpointerOptions& options, protocol::Hello& hello) {
  if (const auto seen = env::posix_env().info(options.store); seen.ok()) hello.store_file_id = seen->file_id;
  const auto store = store::Store::open(env::posix_env(), options.store);
  const auto listed = store.ok() ? store->list() : Result<std::vector<store::CheckpointRef>>(store.status());
  if (listed.ok() && !listed->empty()) hello.newest_checkpoint = listed->front().name;
}

}  // namespace

Core::Core(CheckpointerOptions options, std::shared_ptr<device::CopyCrew> crew)
    : options_(std::move(options)), pid_(::getpid()), devices_(capture::devices_of_this_machine(std::move(crew))) {}

Result<std::shared_ptr<Core>> Core::open(CheckpointerOptions options) {
  if (options.store.empty()) return Status(Code::invalid_argument, "store is empty: give the directory for the checkpoints");
  SF_TRY(format::check_run_name(options.run));
  SF_TRY(check_cadence(options));
  if (options.retention) SF_TRY(retention::check(*options.retention));
  SF_ASSIGN(std::shared_ptr<device::CopyCrew> crew, device::CopyCrew::start(options.copy_threads));
  SF_ASSIGN(options.store, real_path_of_store(options));
  LinkOptions link;
  link.may_spawn = options.socket.empty();
  if (link.may_spawn) {
    SF_ASSIGN(options.socket, default_socket_path(options.store));
  }
  link.spawn = {options.socket, options.store, options.daemon_path, options.daemon_config};
  link.connect_deadline_ms = options.connect_deadline_ms;
  link.hello.client_version = STILLFRAME_VERSION;
  link.hello.store = options.store;
  link.hello.run = options.run;
  link.hello.group = options.group;
  link.hello.rank = options.rank;
  link.hello.world_size = options.world_size;
  link.hello.budget_bytes = options.budget_bytes;
  link.hello.persist_every_steps = options.persist_every_steps;
  link.hello.persist_every_seconds = options.persist_every_seconds;
  if (options.retention) link.hello.retention_json = retention::policy_to_json(*options.retention);
  link.hello.pid = ::getpid();
  link.hello.reads_format = format::kFormatVersion;
  say_which_store(options, link.hello);

  std::shared_ptr<Core> core(new Core(std::move(options), std::move(crew)));
  Core* const raw = core.get();
  LinkEvents events;
  events.on_news = [raw](const protocol::SnapshotNews& news) { raw->on_news(news); };
  events.on_lost = [raw](const std::string& why) { raw->on_lost(why); };
  events.on_back = [raw](std::int64_t) { raw->ledger_->set_daemon_there(true); };
  events.on_still_lost = [raw](const std::string& why) {
    const std::lock_guard lock(raw->mutex_);
    raw->warn("still no daemon for " + raw->options_.store + ": " + why + "; training goes on without new checkpoints");
  };
  events.on_tick = [raw] { raw->on_tick(); };
  events.arena_memfd = [raw] {
    const std::lock_guard lock(raw->mutex_);
    return raw->arena_ ? raw->arena_->memfd() : -1;
  };
  if (const auto space = env::posix_env().space(core->options_.store); space.ok()) {
    const std::string notice = store::file_system_notice(space->file_system);
    if (!notice.empty()) core->warnings_.push_back(notice);
  }
  SF_ASSIGN(core->link_, Link::open(std::move(link), std::move(events)));
  return core;
}

Core::~Core() {
  if (in_child()) {
    // The threads are not here, and what they own must not be joined, unlocked or unmapped by us.
    static_cast<void>(reserving_.release());
    static_cast<void>(link_.release());
    static_cast<void>(copier_.release());
    for (auto& pinned : pinned_) static_cast<void>(pinned.release());
    static_cast<void>(arena_.release());
    static_cast<void>(devices_.release());
    return;
  }
  end_reserving();
  std::unique_ptr<capture::Copier> copier;
  {
    const std::lock_guard lock(mutex_);
    copier = std::move(copier_);
  }
  if (copier) copier->stop();
  if (copier && copier->is_stuck()) {
    // A device that does not answer may still write there.
    const std::lock_guard lock(mutex_);
    static_cast<void>(arena_.release());
  }
  copier.reset();
  if (link_ && !closed_) link_->leave_unanswered();
  link_.reset();
}

bool Core::in_child() const noexcept { return ::getpid() != pid_; }

Status Core::settle(const base::Deadline& deadline) {
  end_reserving();
  SF_ASSIGN(const Link::Reply reply, link_->ask(protocol::Settle{daemons_share_ms(deadline)}, deadline));
  return std::holds_alternative<protocol::Done>(reply.message) ? Status() : Status(Code::corrupt, "unexpected answer to settle");
}

Snapshot Core::snapshot(const std::shared_ptr<const capture::Plan>& plan, SnapshotRequest request) {
  const std::int64_t from_ns = base::system_clock().monotonic_ns();
  auto progress = std::make_shared<capture::Progress>(request.step, plan->layout.bytes, ledger_);
  // A rank that skips a step takes it from all: in a group each waits.
  const bool wait = request.wait || options_.overrun == Overrun::wait || options_.world_size > 1;
  if (closed_) return skipped(std::move(progress), Status(Code::invalid_argument, "the checkpointer is closed"));
  const auto deadline =
      base::Deadline::after_ms(request.deadline_ms != 0 ? request.deadline_ms : options_.fence_deadline_ms);
  const std::string tree = request.tree_json.empty() ? format::flat_tree(plan->layout) : std::move(request.tree_json);
  const std::string metrics = request.metrics_json.empty() ? "{}" : std::move(request.metrics_json);
  Result<arena::SnapshotHandle> handle = Status(Code::busy, "");
  const bool memory_only = !goes_to_store(request.step);
  for (;;) {
    const std::uint32_t seen = arena_->header().to_trainer.load(std::memory_order_seq_cst);
    // Before room is looked for: an image for memory only gives way to a newer one that is confirmed, and to no other.
    if (request.unchanged_since) confirm(*request.unchanged_since);
    capture::Job job{plan, request.data, request.streams, request.step, base::system_clock().unix_ns(),
                     format::encode_descriptor(plan->layout_text, tree, metrics), progress, options_.world_size > 1,
                     memory_only, from_ns};
    const std::uint64_t descriptor_bytes = job.descriptor.size();
    handle = copier_->submit(std::move(job), deadline);
    const bool no_room = !handle.ok() && handle.status().code() == Code::busy;
    if (!no_room) break;
    if (Status in_capture = copier_->refuse_in_capture(*plan, request.streams); !in_capture.ok()) {
      handle = std::move(in_capture);
      break;
    }
    const std::uint64_t need = plan->layout.chunk_count() + arena::chunks_of(descriptor_bytes);
    if (options_.overrun == Overrun::latest && supersede_oldest(request.step, need)) continue;
    if (!wait || deadline.expired()) break;
    (void)copier_->wait_idle(deadline.at_most_ms(kRoomPollMs));
    base::futex_wait(arena_->header().to_trainer, seen, deadline.at_most_ms(kRoomPollMs));
  }
  progress->add_call_seconds(static_cast<double>(base::system_clock().monotonic_ns() - from_ns) * 1e-9);
  if (request.unchanged_since) confirm(*request.unchanged_since);
  if (!handle.ok()) {
    if (options_.world_size > 1) tell_fellows(progress, request.step);
    return skipped(std::move(progress), handle.status());
  }
  const std::lock_guard lock(mutex_);
  count_taken({progress, *handle}, from_ns);
  newest_failure_ = Status();
  counters_.skipped_in_a_row = 0;
  counters_.skips_to_say = kSkipsToSay;
  outstanding_.push_back({{progress, *handle}, 0});
  for (const protocol::SnapshotNews& news : early_news_) {
    if (news.snapshot_id == handle->snapshot_id) take_news(outstanding_.back(), news);
  }
  early_news_.clear();
  return outstanding_.back().snapshot;
}

// An abandoned record is what the daemon knows a missing step by; without one the other ranks learn it from our next.
void Core::tell_fellows(const std::shared_ptr<capture::Progress>& progress, std::int64_t step) {
  const std::lock_guard lock(mutex_);
  const auto marker = copier_->trainer_side().begin({step, 0, 0, base::system_clock().unix_ns()});
  if (!marker.ok()) return;
  copier_->trainer_side().abandon(*marker);
  outstanding_.push_back({{progress, *marker}, 0});
}

// One that is captured and that the daemon has not begun to write gives way, when it is chunks that are missing: not while the
// copier is busy, nor when there is no record, nor when all that could give way would not make room enough.
bool Core::supersede_oldest(std::int64_t for_step, std::uint64_t need_chunks) {
  if (!copier_->wait_idle(base::Deadline::after_ms(0))) return false;
  const arena::TrainerSide& arena = copier_->trainer_side();
  std::uint64_t within_reach = arena.free_slots(need_chunks);
  if (within_reach >= need_chunks || !arena.has_free_record()) return false;
  const std::lock_guard lock(mutex_);
  for (const Outstanding& one : outstanding_) within_reach += arena.supersedable_slots(one.snapshot.handle);
  if (within_reach < need_chunks) return false;
  for (Outstanding& one : outstanding_) {
    capture::Progress& progress = *one.snapshot.progress;
    if (progress.info().state != SnapshotState::captured || !copier_->trainer_side().supersede(one.snapshot.handle)) continue;
    progress.end(SnapshotState::abandoned, Code::busy,
                 "snapshot of step " + std::to_string(progress.info().step) + " was captured and gave way to step " +
                     std::to_string(for_step) + " before it was written (overrun: latest)");
    ++counters_.superseded;
    one.abandonment_told = true;  // asked for, and no failure
    return true;
  }
  return false;
}

std::string Core::count_skip(std::int64_t step, const std::string& why) {
  ++counters_.skipped;
  if (++counters_.skipped_in_a_row == counters_.skips_to_say) {
    counters_.skips_to_say *= 10;
    warn(std::to_string(counters_.skipped_in_a_row) + " snapshots in a row were skipped, step " + std::to_string(step) +
         " last: " + why + "; the disk or the daemon is behind, and nothing newer than the last durable step is safe");
  }
  return "snapshot of step " + std::to_string(step) + " was skipped: " + why;
}

Snapshot Core::skipped(std::shared_ptr<capture::Progress> progress, const Status& why) {
  const std::int64_t step = progress->info().step;
  const std::lock_guard lock(mutex_);
  if (why.code() == Code::busy) {
    progress->end(SnapshotState::skipped, Code::busy, count_skip(step, why.message()));
  } else {
    const std::string error = "snapshot of step " + std::to_string(step) + " was not taken: " + why.message();
    progress->end(SnapshotState::failed, why.code(), error);
    count_failure(error);
  }
  return {std::move(progress), {}};
}

Status Core::wait_copied(std::uint64_t wait_ms, std::span<const capture::StreamRef> streams) {
  const auto deadline = base::Deadline::after_ms(wait_ms != 0 ? wait_ms : options_.fence_deadline_ms);
  return has_copier() ? passed(copier_->wait_copied(deadline, streams)) : Status();
}

Status Core::fence(std::uint64_t wait_ms, std::span<const capture::StreamRef> streams) {
  const auto deadline = base::Deadline::after_ms(wait_ms != 0 ? wait_ms : options_.fence_deadline_ms);
  return has_copier() ? passed(copier_->fence(deadline, streams)) : Status();
}

Status Core::place_on_gpu(const capture::StreamRef& trainers, std::span<const Placement> copies,
                          std::uint64_t wait_ms) {
  end_reserving();
  const auto deadline = base::Deadline::after_ms(wait_ms != 0 ? wait_ms : options_.fence_deadline_ms);
  SF_ASSIGN(device::Device * device, devices_->get(trainers.device));
  SF_ASSIGN(const std::unique_ptr<device::Stream> stream, device->create_stream("sf-restore"));
  SF_ASSIGN(const std::unique_ptr<device::TrainingStream> training, device->training_stream(trainers.handle));
  SF_ASSIGN(std::shared_ptr<device::Event> before, training->record());
  SF_TRY(stream->wait(std::move(before)));
  for (const Placement& one : copies) SF_TRY(stream->copy_to_device(one.to, one.from, deadline));
  SF_ASSIGN(const std::shared_ptr<device::Event> placed, stream->record());
  return placed->wait(deadline);
}

// busy: a graph is being captured, in which nothing runs; the snapshot stays pending for the fence that follows.
Status Core::passed(Status passed) {
  if (!passed.ok() && passed.code() != Code::busy) {
    (void)copier_->wait_idle(base::Deadline::after_ms(kStopCopyMs));
    const std::lock_guard lock(mutex_);
    const std::uint64_t whose = copier_->given_up_at_fence();
    // Where it is outstanding no more, it was told already.
    for (Outstanding& one : outstanding_) {
      if (one.snapshot.handle.snapshot_id == whose) count_abandoned(one, passed);
    }
  }
  return passed;
}

void Core::confirm(const Snapshot& snapshot) {
  if (snapshot.handle.snapshot_id == 0 || snapshot.progress->copying()) return;
  copier_->confirm(snapshot.handle);
}

void Core::withdraw(const Snapshot& snapshot, const std::string& reason) {
  if (snapshot.handle.snapshot_id == 0) return;
  {
    // What copier and daemon then say of it is no news.
    const std::lock_guard lock(mutex_);
    for (Outstanding& one : outstanding_) {
      if (one.snapshot.handle.snapshot_id == snapshot.handle.snapshot_id) one.abandonment_told = true;
    }
  }
  const bool copying = snapshot.progress->copying();
  if (copying) copier_->cancel(reason, /*only_ring=*/false);
  copier_->trainer_side().withdraw(snapshot.handle);
  // The caller lets go of the tensors next.
  if (copying) (void)copier_->wait_idle(base::Deadline::after_ms(kStopCopyMs));
  snapshot.progress->end(SnapshotState::abandoned, Code::corrupt,
                         "snapshot of step " + std::to_string(snapshot.progress->info().step) + " is torn: " + reason);
  const std::lock_guard lock(mutex_);
  ++counters_.abandoned;
  count_failure(snapshot.progress->info().error);
}

}  // namespace stillframe::client
