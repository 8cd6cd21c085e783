#include "daemon/run_session.hpp"

#include <algorithm>
#include <atomic>

#include "base/futex.hpp"
#include "base/log.hpp"
#include "store/file_system.hpp"

namespace stillframe::daemon {

namespace {

constexpr std::uint64_t kLockPatienceMs = 2000;
constexpr std::uint64_t kLockPollMs = 20;

// The lock of a process that has just died may be held for a moment more: by the kernel's clean-up, or by a child that it
// had forked and that has not yet let go.
Result<std::unique_ptr<env::Lock>> lock_run_patiently(const store::Store& store, const std::string& run) {
  const auto deadline = base::Deadline::after_ms(kLockPatienceMs);
  const std::atomic<std::uint32_t> never{0};
  for (;;) {
    Result<std::unique_ptr<env::Lock>> lock = store.lock_run(run);
    if (lock.ok() || lock.status().code() != Code::busy || deadline.expired()) return lock;
    base::futex_wait(never, 0, deadline.at_most_ms(kLockPollMs));
  }
}

// Ranks that each leave out another step never commit the same one.
Status check_group_cadence(const protocol::Hello& hello, const Config& config) {
  if (hello.persist_every_steps != 0 || hello.persist_every_seconds != 0) {
    return {Code::unsupported, "persist_every_steps and persist_every_seconds are for runs of one rank: every snapshot of a "
                               "group goes to the store"};
  }
  if (config.persist_every_steps > 1 || config.persist_every_seconds != 0) {
    base::log(base::LogLevel::warn, "cadence.not_for_groups", {{"run", hello.run}, {"rank", hello.rank}});
  }
  return {};
}

void warn_of_file_system(const store::Store& store) {
  const auto space = store.env().space(store.path());
  const std::string notice = space.ok() ? store::file_system_notice(space->file_system) : "";
  if (!notice.empty()) base::log(base::LogLevel::warn, "store.file_system", {{"store", store.path()}, {"notice", notice}});
}

// Whether a snapshot was ever taken in it.
bool was_used(const arena::Arena& arena) {
  for (std::uint64_t slot = 0; slot < arena.committed_slots(); ++slot) {
    if (arena.slot(slot).generation.load(std::memory_order_relaxed) != 0) return true;
  }
  return false;
}

}  // namespace

RunSession::RunSession(protocol::Hello hello, const Config& config, retention::Policy retention, store::Store store,
                       std::shared_ptr<env::Lock> lock, base::UniqueFd pidfd,
                       std::shared_ptr<persist::GroupCommit> joint)
    : hello_(std::move(hello)),
      config_(config),
      retention_(std::move(retention)),
      store_(std::move(store)),
      joint_(std::move(joint)),
      lock_(std::move(lock)),
      pidfd_(std::move(pidfd)) {}

namespace {

// A trainer restores from what it sees at that path: in another directory it would find no checkpoint, and begin anew over those
// that there are. Two mounts of one file system differ in number, not in what is there.
Status check_same_store(const store::Store& store, std::uint64_t file_id, const protocol::Hello& hello) {
  if (hello.protocol < protocol::kFirstWithStoreId || hello.store_file_id == file_id) return {};
  SF_ASSIGN(const std::vector<store::CheckpointRef> listed, store.list());
  const auto is_it = [&hello](const store::CheckpointRef& one) { return one.name == hello.newest_checkpoint; };
  if (hello.adopt && std::ranges::any_of(listed, is_it)) return {};
  const std::string newest = listed.empty() ? std::string() : listed.front().name;
  if (!hello.adopt && newest == hello.newest_checkpoint) return {};
  const auto named = [](const std::string& name) { return name.empty() ? std::string("none") : "'" + name + "'"; };
  return {Code::invalid_argument, "at '" + store.path() + "' the daemon sees another directory than the trainer: the newest "
                                  "checkpoint is " + named(newest) + " here and " + named(hello.newest_checkpoint) +
                                  " there; mount the store at one path for both (in a container too)"};
}

}  // namespace

Result<std::shared_ptr<RunSession>> RunSession::open(const protocol::Hello& hello, const Config& config,
                                                     base::UniqueFd pidfd, std::shared_ptr<env::Lock> inherited_lock,
                                                     std::shared_ptr<persist::GroupCommit> joint) {
  SF_TRY(format::check_run_name(hello.run));
  if (hello.world_size > 1) SF_TRY(check_group_cadence(hello, config));
  retention::Policy retention = config.retention;
  if (!hello.retention_json.empty()) {
    SF_ASSIGN(retention, retention::policy_from_json(hello.retention_json));
  }
  SF_ASSIGN(store::Store store, store::Store::open_or_create(env::posix_env(), hello.store));
  warn_of_file_system(store);
  SF_ASSIGN(const env::FileInfo directory, env::posix_env().info(store.path()));
  SF_TRY(check_same_store(store, directory.file_id, hello));
  if (inherited_lock == nullptr) {
    SF_ASSIGN(std::unique_ptr<env::Lock> lock, lock_run_patiently(store, hello.run));
    inherited_lock = std::move(lock);
    SF_ASSIGN(const store::RecoveryReport report, store::recover(store, {hello.run}));
    for (const std::string& removed : report.removed) {
      base::log(base::LogLevel::info, "recovery.removed", {{"store", store.path()}, {"name", removed}});
    }
    for (const std::string& failed : report.failed) {
      base::log(base::LogLevel::warn, "recovery.failed", {{"store", store.path()}, {"what", failed}});
    }
  }
  std::shared_ptr<RunSession> session(new RunSession(hello, config, std::move(retention), std::move(store),
                                                     std::move(inherited_lock), std::move(pidfd), std::move(joint)));
  session->store_file_id_ = directory.file_id;
  return session;
}

Status RunSession::begin(arena::Arena arena, persist::Encoders& encoders,
                         std::function<void(const persist::News&)> on_news) {
  persist::PersistOptions options;
  options.run = hello_.run;
  options.group = hello_.group;
  options.rank = hello_.rank;
  options.world_size = hello_.world_size;
  options.level = config_.level;
  options.reads_format = hello_.reads_format;
  options.retention = retention_;
  options.writer = std::string("stillframe ") + STILLFRAME_VERSION;
  options.make_way = [scrub = std::weak_ptr<Scrubber>(scrubber())] {
    if (const auto living = scrub.lock()) living->let_go();
  };
  auto owned = std::make_shared<arena::Arena>(std::move(arena));
  options.joint = joint_;
  options.joint_arena = owned;
  SF_ASSIGN(auto persister,
            persist::Persister::start(*owned, store_, encoders, std::move(options), std::move(on_news)));
  const std::lock_guard lock(mutex_);
  arena_ = std::move(owned);
  persister_ = std::move(persister);
  if (gone_) persister_->trainer_died();  // while its arena came to us
  return {};
}

std::uint64_t RunSession::budget_bytes() const noexcept {
  return hello_.budget_bytes != 0 ? hello_.budget_bytes : config_.budget_bytes;
}

Result<ArenaGrant> RunSession::decide(const protocol::ArenaRequest& request, std::uint64_t free_bytes) const {
  const Cadence cadence = persist_cadence();
  const bool is_rare = cadence.every_steps > 1 || (cadence.every_steps == 0 && cadence.every_seconds != 0);
  // What comes before the first snapshot may be a guess, or the first that is none. Of an arena that grows later the trainer
  // sees itself what no longer fits twice: then every snapshot goes to the store.
  ArenaWish wish{request.image_bytes, request.descriptor_bytes, 0, 0, is_rare && (!arena_ || !was_used(*arena_))};
  if (arena_) {
    wish.slots = arena_->slot_count();
    wish.committed_slots = arena_->committed_slots();
  }
  return decide_grant(wish, budget_bytes(), free_bytes);
}

bool RunSession::would_refuse(const protocol::ArenaRequest& request, std::uint64_t free_bytes) const {
  return !decide(request, free_bytes).ok();
}

Result<protocol::ArenaReady> RunSession::provide_arena(const protocol::ArenaRequest& request, std::uint64_t free_bytes,
                                                       persist::Encoders& encoders,
                                                       std::function<void(const persist::News&)> on_news) {
  const std::lock_guard not_dropped_meanwhile(drop_mutex_);
  if (gone_) return Status(Code::unavailable, "the trainer is gone");
  SF_ASSIGN(const ArenaGrant grant, decide(request, free_bytes));
  if (!arena_) {
    SF_ASSIGN(arena::Arena made, arena::Arena::create(grant.slots));
    SF_TRY(made.commit_slots(grant.committed_slots));
    SF_TRY(begin(std::move(made), encoders, std::move(on_news)));
  } else {
    SF_TRY(arena_->commit_slots(grant.committed_slots));
  }
  base::log(base::LogLevel::info, "arena.ready",
            {{"run", hello_.run},
             {"mode", arena::mode_name(grant.mode)},
             {"image_bytes", request.image_bytes},
             {"committed_bytes", arena_->committed_bytes()},
             {"budget_bytes", budget_bytes()}});
  const std::lock_guard lock(mutex_);
  persister_->set_next_need(arena::chunks_of(request.image_bytes) + arena::chunks_of(request.descriptor_bytes));
  mode_ = grant.mode;
  image_bytes_ = request.image_bytes;
  return protocol::ArenaReady{arena_->slot_count(), arena_->committed_slots(), budget_bytes()};
}

Status RunSession::adopt(base::UniqueFd memfd, persist::Encoders& encoders,
                         std::function<void(const persist::News&)> on_news) {
  const std::lock_guard not_dropped_meanwhile(drop_mutex_);
  SF_ASSIGN(arena::Arena attached, arena::Arena::attach(std::move(memfd)));
  const std::vector<arena::RecordView> records = arena::DaemonSide(attached).records();
  SF_TRY(begin(std::move(attached), encoders, std::move(on_news)));
  base::log(base::LogLevel::info, "arena.adopted",
            {{"run", hello_.run}, {"pid", hello_.pid}, {"committed_bytes", arena_->committed_bytes()}});
  const std::lock_guard lock(mutex_);
  for (const arena::RecordView& view : records) {
    image_bytes_ = view.image_bytes;
    mode_ = arena::mode_of(arena_->committed_slots(), view.image_chunks(), view.descriptor_chunks());
  }
  return {};
}

RunSession::Cadence RunSession::persist_cadence() const noexcept {
  if (!is_alone()) return {};
  const bool clients = hello_.persist_every_steps != 0 || hello_.persist_every_seconds != 0;
  return clients ? Cadence{hello_.persist_every_steps, hello_.persist_every_seconds}
                 : Cadence{config_.persist_every_steps, config_.persist_every_seconds};
}

void RunSession::trainer_gone(bool died) noexcept {
  died_ = died;
  gone_ = true;
  const std::lock_guard lock(mutex_);
  if (persister_) {
    persister_->trainer_died();
  } else if (joint_ && !dropped_) {  // else its place is another session's
    joint_->gone(hello_.rank, "ended before it had a snapshot of it");
  }
}

Result<std::optional<HotOffer>> RunSession::offer_hot_image(const base::Deadline& deadline) {
  const std::lock_guard not_dropped_meanwhile(drop_mutex_);
  const arena::Arena* arena = nullptr;
  const persist::Persister* persister = nullptr;
  {
    const std::lock_guard lock(mutex_);
    arena = arena_.get();
    persister = persister_.get();
  }
  if (arena == nullptr || persister == nullptr) return std::optional<HotOffer>();
  return daemon::offer_hot_image(*arena, *persister, deadline);
}

Leavings RunSession::leavings() {
  const std::lock_guard not_dropped_meanwhile(drop_mutex_);
  const arena::Arena* arena = nullptr;
  {
    const std::lock_guard lock(mutex_);
    arena = arena_.get();
  }
  return arena == nullptr ? Leavings::nothing : leavings_of(*arena);
}

void RunSession::finish(bool stopping) noexcept {
  const std::lock_guard lock(mutex_);
  if (persister_) persister_->finish(stopping);
}

bool RunSession::drained() const {
  const std::lock_guard lock(mutex_);
  return !persister_ || persister_->drained();
}

void RunSession::drop() noexcept {
  const std::lock_guard one_at_a_time(drop_mutex_);
  dropped_ = true;
  // First: from here on the scrub asks us nothing. With the last session of its store it ends.
  if (const auto scrub = scrubber()) scrub->remove_writer(this);
  set_scrubber(nullptr);
  std::unique_ptr<persist::Persister> persister;
  std::shared_ptr<arena::Arena> arena;
  {
    const std::lock_guard guard(mutex_);
    persister = std::move(persister_);
    if (arena_) dropping_bytes_ = arena_->committed_bytes();
    arena = std::move(arena_);
  }
  // In this order: the persister's threads read the arena until they are joined.
  persister.reset();
  arena.reset();
  // Last: until here a successor shares the lock with us, so that the run is never without one.
  const std::lock_guard guard(mutex_);
  dropping_bytes_ = 0;
  lock_.reset();
}

void RunSession::leave_group() noexcept {
  if (joint_) joint_->gone(hello_.rank, "ended, and its memory was let go");
}

void RunSession::set_scrubber(std::shared_ptr<Scrubber> scrubber) {
  if (scrubber) {
    scrubber->add_writer(this, {[this] { return writing(); }, [this](const std::string& name) { return verifies(name); }});
  }
  const std::lock_guard guard(mutex_);
  scrubber_.swap(scrubber);
}

std::shared_ptr<Scrubber> RunSession::scrubber() const {
  const std::lock_guard guard(mutex_);
  return scrubber_;
}

bool RunSession::writing() const {
  const std::lock_guard guard(mutex_);
  return persister_ && persister_->writing();
}

bool RunSession::verifies(const std::string& name) const {
  const std::lock_guard guard(mutex_);
  return persister_ && persister_->verifies(name);
}

std::shared_ptr<env::Lock> RunSession::lock() const {
  const std::lock_guard guard(mutex_);
  return lock_;
}

RunSession::ArenaFacts RunSession::arena_facts() const {
  const std::lock_guard lock(mutex_);
  if (!arena_) {
    ArenaFacts going;
    going.committed_bytes = dropping_bytes_;
    return going;
  }
  return {arena_->memfd(), arena_->id_hex(), arena_->committed_bytes(), image_bytes_, mode_};
}

std::optional<RunSession::CrashOutlook> RunSession::crash_outlook(std::int64_t now_ns) const {
  const std::lock_guard lock(mutex_);
  arena::CrashFacts facts{opened_ns_, 0, hello_.world_size};
  if (!arena_ && hello_.adopt) return std::nullopt;
  if (!arena_) return CrashOutlook{arena::crash_cost(facts, {}, now_ns), std::nullopt};
  const arena::ArenaHeader& header = arena_->header();
  if (header.made_monotonic_ns > 0) facts.begun_ns = std::min(facts.begun_ns, header.made_monotonic_ns);  // adopted
  // The records first: of one that is durable meanwhile the time stands in the header before its state says so.
  const arena::DaemonSide side(*arena_);
  const std::vector<arena::RecordView> records = side.records();
  facts.durable_taken_ns = side.durable_taken();
  const auto seconds = [](const std::atomic<std::uint64_t>& ns) {
    return static_cast<double>(ns.load(std::memory_order_relaxed)) * 1e-9;
  };
  return CrashOutlook{arena::crash_cost(facts, records, now_ns),
                      arena::suggested_cadence(seconds(header.mean_block_ns), seconds(header.failures_apart_ns))};
}

persist::PersistCounters RunSession::counters() const {
  const std::lock_guard lock(mutex_);
  return persister_ ? persister_->counters() : persist::PersistCounters{};
}

}  // namespace stillframe::daemon
