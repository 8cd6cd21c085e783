// The persister's inner loop, and what happens after it: chunks out of the arena, slots and records back to the trainer.
#include <algorithm>
#include <deque>
#include <utility>

#include "base/log.hpp"
#include "persist/encode_pipeline.hpp"
#include "persist/persister.hpp"

namespace stillframe::persist {
namespace {

constexpr std::uint64_t kIdleWaitMs = 1000;
constexpr std::size_t kMostDurableRemembered = 16;

// What the store refuses, and not the image: that one is worth keeping.
bool is_about_the_store(const Status& status) noexcept {
  return status.code() != Code::corrupt && status.code() != Code::invalid_argument && status.code() != Code::unsupported;
}

// A chunk on its way from its slot to the file, and in a ring until it is synced there.
struct OnItsWay {
  std::uint64_t index = 0;
  std::uint64_t slot = 0;
  std::uint64_t generation = 0;
};

std::string place_of(const std::string& file, std::uint64_t chunk) {
  return file + ", chunk " + std::to_string(chunk);
}

}  // namespace

template <typename Sink>
Result<Persister::Outcome> Persister::write_chunks(const arena::RecordView& view, Sink& sink,
                                                   const format::ImageLayout& layout, Inspector& inspector) {
  const bool ring = is_ring(view);
  // A quarter of the ring per sync: few syncs, and the trainer is never starved while we wait for one.
  const std::uint64_t sync_every = std::max<std::uint64_t>(1, arena_->committed_slots() / 4);
  // Of another layout, those that happen to fit are used, and soon sampled anew; the codec takes no harm.
  decisions_.resize(view.image_chunks());
  EncodePipeline pipeline(*encoders_, encoding(), 2 * encoders_->threads() + 1);
  std::deque<OnItsWay> under_way;
  std::vector<OnItsWay> unsynced;
  const auto give_back = [&]() -> Status {
    SF_TRY(sink.sync_data());
    const auto still = keeper_->hold_still();
    for (const OnItsWay& chunk : unsynced) side_.release_chunk(view, chunk.index, chunk.slot);
    unsynced.clear();
    side_.wake_trainer();
    return {};
  };

  const std::uint64_t chunks = view.image_chunks();
  std::uint64_t next = 0;
  std::uint64_t written = 0;
  std::uint64_t defeats = 0;
  std::uint32_t looked_at = side_.signal();
  while (written < chunks) {
    const std::uint32_t seen = side_.signal();
    if (const auto stop = interrupted(view)) return *stop;
    if (std::exchange(looked_at, seen) != seen) {
      retire_abandoned();
      release_where_due();
    }
    const auto slot = next < chunks && !pipeline.full() ? side_.filled_slot(view, next) : std::nullopt;
    if (slot) {
      under_way.push_back({next, *slot, side_.generation(*slot)});
      pipeline.submit(side_.chunk(*slot).first(layout.chunk_length(next)), format::element_runs(layout, next),
                      decisions_[next], [&inspector, next](std::span<const std::byte> raw, const base::Hash128& hash) {
                        inspector.look(next, raw, hash);
                      });
      ++next;
    } else if (!pipeline.empty()) {
      const OnItsWay from = under_way.front();
      const Result<EncodedChunk> taken = pipeline.take();
      if (!taken.ok()) return taken.status().with_context(place_of(sink.data_file(), from.index));
      const EncodedChunk& chunk = *taken;
      if (chunk.defeated_codec && defeats++ == 0) {
        base::log(base::LogLevel::warn, "encode.defeated",
                  {{"run", options_.run}, {"step", view.step}, {"where", place_of(sink.data_file(), from.index)}});
      }
      under_way.pop_front();
      if (side_.filled_slot(view, from.index) != from.slot || side_.generation(from.slot) != from.generation) {
        return Status(Code::corrupt, "chunk " + std::to_string(from.index) + " left its slot while it was read");
      }
      if (!has_the_hash(from.slot, from.generation, chunk.record.raw_hash)) {
        return Status(Code::corrupt, "chunk " + std::to_string(from.index) + " is no longer what was captured: its memory was "
                                                                             "changed since");
      }
      SF_TRY(sink.append(chunk.record, chunk.stored));
      if (ring) unsynced.push_back(from);
      ++written;
      count_chunk();
      if (unsynced.size() >= sync_every) SF_TRY(give_back());
    } else if (!unsynced.empty()) {
      SF_TRY(give_back());  // nothing to do but make room
    } else if (is_sealed(view) && !side_.filled_slot(view, next)) {
      return lost_before_seal("chunk " + std::to_string(next));
    } else {
      side_.wait(seen, base::Deadline::after_ms(kIdleWaitMs));
    }
  }
  if (!unsynced.empty()) SF_TRY(give_back());
  return Outcome::published;
}

template Result<Persister::Outcome> Persister::write_chunks(const arena::RecordView&, store::CheckpointWriter&,
                                                            const format::ImageLayout&, Inspector&);
template Result<Persister::Outcome> Persister::write_chunks(const arena::RecordView&, store::RankPart&,
                                                            const format::ImageLayout&, Inspector&);

// As it was when the daemon read the chunk first. The keeper hashes too: one at a time.
bool Persister::has_the_hash(std::uint64_t slot, std::uint64_t generation, const base::Hash128& hash) const {
  const auto still = keeper_->hold_still();
  side_.set_hash(slot, generation, hash);
  return side_.hash(slot) == hash;
}

// A dead trainer leases nothing: what it leaves stays whole, for its successor to restore from.
void Persister::give_slots_back(const arena::RecordView& view) {
  const auto still = keeper_->hold_still();
  give_slots_back_held(view);
}

void Persister::give_slots_back_held(const arena::RecordView& view) {
  const auto now = side_.view(view.record);
  const bool left_behind = trainer_dead_ && now && (now->flags & arena::kSealed) != 0;
  if (!left_behind) side_.release_all(view);
}

void Persister::publish_done(const arena::RecordView& view, Written written) {
  const store::Published& published = written.published;
  News news{view.snapshot_id,     view.step, "durable", published.sequence, published.name, published.raw_bytes,
            published.stored_bytes, Code::ok, "", {}};
  for (const FoundAlarm& alarm : written.findings.alarms) news.alarms.push_back({alarm.kind, alarm.text});
  {
    const std::lock_guard lock(mutex_);
    ++counters_.durable;
    counters_.consecutive_failures = 0;
    counters_.last_durable_step = view.step;
    counters_.last_durable_monotonic_ns = base::system_clock().monotonic_ns();
  }
  remember_durable(view.taken_monotonic_ns);
  base::log(base::LogLevel::info, "checkpoint.durable",
            {{"run", options_.run},
             {"step", view.step},
             {"sequence", published.sequence},
             {"name", published.name},
             {"raw_bytes", published.raw_bytes},
             {"stored_bytes", published.stored_bytes}});
  count_alarms(view, written.findings.alarms);
  remembered_ = std::move(written.findings.remembered);
  // Room first: whoever sees durable takes the next snapshot. Then the words: whoever sees the state finds the name.
  add_finished(view, /*slots_released=*/false, /*checked=*/false);
  release_where_due();
  on_news_(news);
  const bool advanced = side_.advance(view, arena::RecordState::sealed, arena::RecordState::durable);
  if (!advanced) {
    base::log(base::LogLevel::error, "arena.state", {{"run", options_.run}, {"step", view.step}});
  }
  if (options_.joint) options_.joint->acknowledge(options_.rank, published.name);
  if (written.verifies) verifier_->add(view, published.name);
}

void Persister::count_alarms(const arena::RecordView& view, const std::vector<FoundAlarm>& found) {
  const std::lock_guard lock(mutex_);
  for (const AlarmTally::Change& change : tally_.update(view.step, found)) {
    if (change.what == AlarmTally::Change::What::raised) {
      base::log(base::LogLevel::warn, "training.alarm",
                {{"run", options_.run}, {"step", view.step}, {"kind", change.alarm.kind}, {"text", change.alarm.text}});
    } else {
      base::log(base::LogLevel::info, "training.alarm_cleared",
                {{"run", options_.run}, {"step", view.step}, {"kind", change.alarm.kind}, {"times", change.alarm.times}});
    }
  }
  counters_.alarms = tally_.standing();
}

// Abandoned by the trainer, cut off by its death, superseded, or withdrawn as torn before it was published.
void Persister::give_up(const arena::RecordView& view) {
  const auto still = keeper_->hold_still();  // two threads give up: one of them does it
  const auto now = side_.view(view.record);
  if (!now || now->snapshot_id != view.snapshot_id || (now->flags & arena::kDone) != 0) return;
  const bool sealed = now->state == arena::RecordState::sealed;
  const bool withdrawn = sealed && (now->flags & arena::kWithdrawn) != 0;
  const bool superseded = sealed && (now->flags & arena::kSuperseded) != 0;
  if (superseded && !trainer_dead_) return;  // its trainer is about to free it
  if (sealed && !withdrawn && !superseded) return;  // sealed since it was looked at: captured, and taken next
  if (options_.joint) pass_over(view);
  if (withdrawn && !side_.advance(view, arena::RecordState::sealed, arena::RecordState::failed)) return;
  base::log(base::LogLevel::info, withdrawn ? "snapshot.withdrawn" : "snapshot.abandoned",
            {{"run", options_.run}, {"step", view.step}});
  if (withdrawn) {
    on_news_({view.snapshot_id, view.step, "withdrawn", 0, "", 0, 0, Code::corrupt, "torn, withdrawn before it was published", {}});
  }
  give_slots_back_held(view);
  side_.done(view);
}

// Their records are the trainer's again at once: while one snapshot is written for long, several may be superseded.
void Persister::retire_abandoned() {
  if (options_.joint) return;  // in their turn: by the order of its steps a rank tells its fellows what it has
  for (const arena::RecordView& view : side_.records()) {
    const bool ours = (view.flags & (arena::kDone | arena::kMemoryOnly)) == 0;  // the keeper's otherwise
    const bool is_written = view.snapshot_id == being_taken_;  // its files go first, on the persister's thread
    if (ours && !is_written && view.state == arena::RecordState::abandoned) give_up(view);
  }
}

void Persister::fail(const arena::RecordView& view, const Status& status) {
  const std::string error = "snapshot of step " + std::to_string(view.step) + " of run '" + options_.run +
                            "' was not written: " + status.message() + "; older checkpoints in " + store_.path() +
                            " are whole";
  {
    const std::lock_guard lock(mutex_);
    ++counters_.failed;
    ++counters_.consecutive_failures;
    counters_.last_error = error;
  }
  base::log(base::LogLevel::error, "checkpoint.failed", {{"run", options_.run}, {"step", view.step}, {"error", error}});
  on_news_({view.snapshot_id, view.step, "failed", 0, "", 0, 0, status.code(), error, {}});
  // Still being copied: the trainer goes on filling until it reads the state, and abandons the snapshot then. In this order:
  // a seal between the two finds the second.
  if (side_.advance(view, arena::RecordState::copying, arena::RecordState::failed)) return;
  {
    const auto still = keeper_->hold_still();  // an image that goes must not be taken for one that stays
    if (!side_.advance(view, arena::RecordState::sealed, arena::RecordState::failed)) return;
    // No successor of a group restores from memory: an image that was not written is of no use there.
    if (options_.joint || !is_about_the_store(status)) {
      give_slots_back_held(view);
      side_.done(view);
      return;
    }
    side_.set_unwritten(view);
  }
  add_finished(view, /*slots_released=*/false, /*checked=*/true);
  release_where_due();
}

void Persister::on_verdict(const Verdict& verdict) {
  const arena::RecordView& view = verdict.view;
  News news{view.snapshot_id, view.step, "", view.sequence, verdict.name, view.image_bytes, 0, Code::ok, verdict.error, {}};
  if (verdict.kind == Verdict::Kind::verified) {
    news.state = "verified";
    base::log(base::LogLevel::info, "checkpoint.verified",
              {{"run", options_.run}, {"step", view.step}, {"name", verdict.name}});
    on_news_(news);
    (void)side_.advance(view, arena::RecordState::durable, arena::RecordState::verified);
    const std::lock_guard lock(mutex_);
    ++counters_.verified;
  } else if (verdict.kind == Verdict::Kind::unchecked) {
    const bool tried = !verdict.error.empty();
    base::log(tried ? base::LogLevel::warn : base::LogLevel::info, "checkpoint.unchecked",
              {{"run", options_.run},
               {"step", view.step},
               {"name", verdict.name},
               {"reason", tried ? verdict.error : std::string("the trainer ended before it passed the fence")}});
  } else {
    const bool torn = verdict.kind == Verdict::Kind::withdrawn;
    news.state = torn ? "withdrawn" : "failed";
    news.code = Code::corrupt;
    news.error = verdict.name + " is marked bad: " + verdict.error;
    base::log(base::LogLevel::error, "checkpoint.bad",
              {{"run", options_.run}, {"step", view.step}, {"name", verdict.name}, {"error", verdict.error}});
    on_news_(news);
    (void)side_.advance(view, arena::RecordState::durable, arena::RecordState::failed);
    forget_durable(view.taken_monotonic_ns);
    const std::lock_guard lock(mutex_);
    ++counters_.failed;
    ++counters_.consecutive_failures;
    counters_.last_error = news.error;
  }
  const std::lock_guard lock(mutex_);
  for (Finished& one : finished_) {
    if (one.view.snapshot_id != view.snapshot_id) continue;
    one.checked = true;
    // A whole sealed image is kept for the sake of a good one; whoever waits for the end of this one waits no longer.
    if (verdict.kind != Verdict::Kind::verified && !std::exchange(one.slots_released, true)) give_slots_back(one.view);
  }
  collect_finished();
}

void Persister::add_finished(const arena::RecordView& view, bool slots_released, bool checked) {
  const std::lock_guard lock(mutex_);
  finished_.push_back({view, slots_released, checked});
}

// Slots of a durable image come back at once, or, where the arena holds two images, once a newer one is sealed: so a whole
// sealed image is always there. One that could not be written is nowhere else: it waits until a newer one is confirmed.
void Persister::release_where_due() {
  const std::vector<arena::RecordView> records = side_.records();
  const std::lock_guard lock(mutex_);
  for (Finished& one : finished_) {
    if (one.slots_released) continue;
    // Beside it there must be room for the next one, which may be larger than itself (optimizer state that came to be).
    const std::uint64_t own_need = one.view.image_chunks() + one.view.descriptor_chunks();
    const bool twofold = arena_->committed_slots() >= own_need + std::max(own_need, next_need_.load());
    if (twofold && !gives_way(one.view, records)) continue;
    give_slots_back(one.view);
    one.slots_released = true;
  }
  collect_finished();
}

bool Persister::gives_way(const arena::RecordView& finished, const std::vector<arena::RecordView>& records) noexcept {
  const auto now = std::find_if(records.begin(), records.end(), [&](const arena::RecordView& view) {
    return view.snapshot_id == finished.snapshot_id;
  });
  const bool newer_is_captured = std::any_of(records.begin(), records.end(), [&](const arena::RecordView& other) {
    constexpr std::uint32_t kGoes = arena::kSuperseded | arena::kWithdrawn;
    return other.snapshot_id > finished.snapshot_id && (other.flags & kGoes) == 0 &&
           (other.state == arena::RecordState::sealed || other.state == arena::RecordState::durable ||
            other.state == arena::RecordState::verified || is_kept_unwritten(other));
  });
  if (now != records.end() && now->state == arena::RecordState::failed) {
    // Unconfirmed though a newer one was taken, it never will be: images of which nothing is known do not pile up.
    const bool unconfirmed = (now->flags & arena::kConfirmed) == 0;
    return !is_kept_unwritten(*now) || newest_confirmed(records) > now->snapshot_id || (unconfirmed && newer_is_captured);
  }
  return newer_is_captured;
}

void Persister::collect_finished() {
  std::erase_if(finished_, [this](const Finished& one) {
    if (!one.slots_released || !one.checked) return false;
    side_.done(one.view);
    return true;
  });
}

void Persister::remember_durable(std::int64_t taken_monotonic_ns) {
  // A time that cannot be would hide every true one.
  if (taken_monotonic_ns <= 0 || taken_monotonic_ns > base::system_clock().monotonic_ns()) return;
  const std::lock_guard lock(mutex_);
  durable_taken_ns_.insert(taken_monotonic_ns);
  if (durable_taken_ns_.size() > kMostDurableRemembered) durable_taken_ns_.erase(durable_taken_ns_.begin());
  side_.set_durable_taken(*durable_taken_ns_.rbegin());
}

void Persister::forget_durable(std::int64_t taken_monotonic_ns) {
  const std::lock_guard lock(mutex_);
  durable_taken_ns_.erase(taken_monotonic_ns);
  side_.set_durable_taken(durable_taken_ns_.empty() ? 0 : *durable_taken_ns_.rbegin());
}

void Persister::count_chunk() {
  const std::lock_guard lock(mutex_);
  ++counters_.chunks_written;
}

void Persister::set_phase(const char* phase, const arena::RecordView& view) {
  const std::lock_guard lock(mutex_);
  counters_.phase = phase;
  counters_.phase_since_monotonic_ns = base::system_clock().monotonic_ns();
  if (counters_.phase != "idle") counters_.phase += " step " + std::to_string(view.step);
}

}  // namespace stillframe::persist
