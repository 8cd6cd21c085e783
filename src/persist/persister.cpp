#include "persist/persister.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "format/descriptor.hpp"
#include "format/writer_words.hpp"
#include "store/catalog.hpp"

namespace stillframe::persist {
namespace {

constexpr std::uint64_t kIdleWaitMs = 1000;
// While the arena holds the image it is written again to fresh files, so often at most.
constexpr int kAttempts = 3;

}  // namespace

Persister::Persister(const arena::Arena& arena, store::Store store, Encoders& encoders, PersistOptions options,
                     std::function<void(const News&)> on_news)
    : arena_(&arena),
      side_(arena),
      store_(std::move(store)),
      encoders_(&encoders),
      options_(std::move(options)),
      on_news_(std::move(on_news)) {}

Result<std::unique_ptr<Persister>> Persister::start(const arena::Arena& arena, store::Store store,
                                                    Encoders& encoders, PersistOptions options,
                                                    std::function<void(const News&)> on_news) {
  std::unique_ptr<Persister> persister(
      new Persister(arena, std::move(store), encoders, std::move(options), std::move(on_news)));
  KeeperEvents events;
  events.on_withdrawn = [raw = persister.get()](const arena::RecordView& view) {
    raw->on_news_({view.snapshot_id, view.step, "withdrawn", 0, "", 0, 0, Code::corrupt,
                   "torn, withdrawn while it was kept in memory", {}});
  };
  events.on_look = [raw = persister.get()] {
    if (!raw->begun_) return;
    raw->retire_abandoned();
    raw->release_where_due();
  };
  SF_ASSIGN(persister->keeper_, Keeper::start(arena, persister->options_.run, std::move(events)));
  SF_ASSIGN(persister->verifier_,
            Verifier::start(persister->side_, persister->store_, persister->options_.run, persister->options_.retention,
                            [raw = persister.get()](const Verdict& verdict) {
                              if (raw->options_.joint) return raw->options_.joint->tell(verdict);
                              raw->on_verdict(verdict);
                            },
                            persister->options_.joint));
  if (persister->options_.joint) SF_TRY(persister->enter_group());
  SF_TRY(persister->adopt_finished());
  SF_ASSIGN(persister->thread_, base::Thread::start("sf-persist", [raw = persister.get()] { raw->run(); }));
  persister->begun_ = true;
  return persister;
}

Persister::~Persister() {
  stopping_ = true;
  finishing_ = true;
  side_.wake_self();
  thread_.join();
  watch_.reset();
  verifier_.reset();
  if (options_.joint) leave_group();
  if (keeper_) keeper_->stop();  // before it is gone: its thread gives slots back through us
  keeper_.reset();
}

void Persister::trainer_died() noexcept {
  trainer_dead_ = true;
  keeper_->trainer_died();
  verifier_->trainer_died();
  if (options_.joint) options_.joint->trainer_died(options_.rank);
  side_.wake_self();
}

void Persister::set_next_need(std::uint64_t chunks) noexcept {
  next_need_ = chunks;
  side_.wake_self();
}

void Persister::finish(bool stopping) noexcept {
  std::uint64_t newest_sealed = 0;
  for (const arena::RecordView& view : side_.records()) {
    if (view.state == arena::RecordState::sealed) newest_sealed = std::max(newest_sealed, view.snapshot_id);
  }
  last_to_finish_ = newest_sealed;  // before the flag: whoever sees that one sees this
  if (stopping) {
    keeper_->leave_with(newest_sealed);
    last_call_ = true;
  }
  finishing_ = true;
  side_.wake_self();
}

bool Persister::has_sealed_to_write() const {
  const std::vector<arena::RecordView> records = side_.records();
  const std::uint64_t newest = newest_to_write(records);
  return std::any_of(records.begin(), records.end(), [&](const arena::RecordView& view) {
    return view.state == arena::RecordState::sealed && (view.flags & arena::kDone) == 0 && !is_next_daemons(view) &&
           !stays_in_memory(view, newest);
  });
}

bool Persister::drained() const {
  if (has_sealed_to_write() || writing() || !verifier_->only_unconfirmed()) return false;
  // A bad verdict in between may have sent an older one, kept for memory only, to the store.
  return !has_sealed_to_write();
}

PersistCounters Persister::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

bool Persister::writing() const {
  const std::lock_guard lock(mutex_);
  return busy_;
}

// A daemon before us may have died between publishing and saying so: the sequence in the record tells.
Status Persister::adopt_finished() {
  const std::vector<arena::RecordView> records = side_.records();
  if (const std::int64_t before_us = side_.durable_taken(); before_us > 0) remember_durable(before_us);
  if (records.empty()) return {};
  // Without the list a published snapshot would be published a second time.
  SF_ASSIGN(const std::vector<store::CheckpointRef> listed, store_.list());
  // The name may be there and its durability not yet: the daemon before us may have died between rename and sync.
  SF_TRY(store_.env().sync_dir(store_.path()));
  for (arena::RecordView view : records) {
    if ((view.flags & arena::kDone) != 0) continue;
    if (is_kept_unwritten(view)) {
      add_finished(view, /*slots_released=*/false, /*checked=*/true);
    } else if (view.state == arena::RecordState::failed && (view.flags & arena::kSealed) != 0) {
      give_slots_back(view);
      side_.done(view);
    }
    if (view.state == arena::RecordState::failed || view.sequence == 0) continue;
    const auto found = std::find_if(listed.begin(), listed.end(), [&](const store::CheckpointRef& ref) {
      return ref.parsed.sequence == view.sequence;
    });
    const bool published = found != listed.end();
    if (published && view.state == arena::RecordState::sealed &&
        side_.advance(view, arena::RecordState::sealed, arena::RecordState::durable)) {
      view.state = arena::RecordState::durable;
    }
    if (published && view.state == arena::RecordState::durable) {
      on_news_(news_of_published(view, *found));
      remember_durable(view.taken_monotonic_ns);
      add_finished(view, /*slots_released=*/false, /*checked=*/false);
      if (!options_.joint || is_to_verify_with_group(view, found->name)) verifier_->add(view, found->name);
    } else if (view.state == arena::RecordState::durable || view.state == arena::RecordState::verified) {
      // Verified, or removed meanwhile: only its slots are still to be given back.
      add_finished(view, /*slots_released=*/false, /*checked=*/true);
    }
  }
  return {};
}

// What the daemon before us could not say any more; its alarms stand in the manifest.
News Persister::news_of_published(const arena::RecordView& view, const store::CheckpointRef& ref) const {
  News news{view.snapshot_id, view.step, "durable", view.sequence, ref.name, view.image_bytes, 0, Code::ok, "", {}};
  const auto entry = store::read_catalog_entry(store_, ref);
  if (!entry.ok() || !*entry || !(*entry)->head.ok()) return news;
  const format::ManifestHead& head = *(*entry)->head;
  news.stored_bytes = head.stored_bytes + (*entry)->manifest_bytes;
  for (const format::Alarm& alarm : head.alarms) news.alarms.push_back({alarm.kind, alarm.text});
  return news;
}

void Persister::run() {
  while (!stopping_) {
    const std::uint32_t seen = side_.signal();
    if (!step()) side_.wait(seen, base::Deadline::after_ms(kIdleWaitMs));
  }
}

bool Persister::step() {
  release_where_due();
  const bool trainer_dead = trainer_dead_;  // before the records: what was sealed until then is seen as sealed
  const std::vector<arena::RecordView> records = side_.records();
  const std::uint64_t newest = newest_to_write(records);
  for (const arena::RecordView& view : records) {
    if ((view.flags & arena::kDone) != 0 || stays_in_memory(view, newest)) continue;
    if ((view.flags & arena::kMemoryOnly) != 0 && !keeper_->claim_for_store(view)) continue;
    if (view.state == arena::RecordState::abandoned) {
      give_up(view);
      return true;
    }
    if (view.state == arena::RecordState::sealed) {
      const bool superseded = (view.flags & arena::kSuperseded) != 0;
      if (is_next_daemons(view) || (superseded && !trainer_dead)) continue;
      return take(view);
    }
    if (view.state == arena::RecordState::copying) {
      if (trainer_dead) {
        give_up(view);
        return true;
      }
      if (finishing_) break;
      return take(view);
    }
  }
  if (options_.joint) stand_still_if_finishing(trainer_dead);
  return false;
}

bool Persister::take(const arena::RecordView& view) {
  being_taken_ = view.snapshot_id;
  {
    const std::lock_guard lock(mutex_);
    busy_ = true;
  }
  Written written;
  Result<Outcome> outcome = Outcome::left;
  const bool ring = is_ring(view);  // once: an arena that grows in between has still lost the early chunks
  if (options_.joint) outcome = persist_with_group(view, written);
  for (int attempt = 1; !options_.joint && attempt <= kAttempts; ++attempt) {
    outcome = persist_once(view, written);
    // A full disk stays full, and in ring mode the early chunks are gone: only then is another attempt of no use.
    const bool worth_it = !outcome.ok() && outcome.status().code() == Code::io_error && !ring && !stopping_;
    if (!worth_it) break;
    base::log(base::LogLevel::warn, "persist.again",
              {{"run", options_.run}, {"step", view.step}, {"attempt", attempt}, {"error", outcome.status().message()}});
  }
  if (!outcome.ok()) {
    fail(view, outcome.status());
  } else if (*outcome == Outcome::published) {
    publish_done(view, std::move(written));
  } else if (*outcome == Outcome::given_up) {
    give_up(view);
  }
  set_phase("idle", view);
  being_taken_ = 0;
  const std::lock_guard lock(mutex_);
  busy_ = false;
  return !outcome.ok() || *outcome != Outcome::left;
}

Result<Persister::Outcome> Persister::persist_once(const arena::RecordView& view, Written& written) {
  if (!side_.take(view)) return Outcome::given_up;
  set_phase("copying", view);
  Outcome outcome = Outcome::published;
  SF_ASSIGN(const std::vector<std::byte> bytes, wait_for_descriptor(view, outcome));
  if (outcome != Outcome::published) return outcome;
  SF_ASSIGN(format::Descriptor descriptor, format::decode_descriptor(bytes, view.image_bytes));

  set_phase("preparing", view);
  SF_TRY(ensure_room(most_bytes(view, descriptor.layout)));
  SF_ASSIGN(const std::uint64_t sequence, store_.claim_sequence(base::Deadline::after_ms(30'000)));
  side_.set_sequence(view, sequence);
  SF_ASSIGN(const std::unique_ptr<store::CheckpointWriter> writer,
            store::CheckpointWriter::begin(store_, options_.run, sequence, view.step, view.taken_unix_ns));
  set_phase("writing", view);
  base::log(base::LogLevel::info, "persist.begin", {{"run", options_.run}, {"step", view.step}, {"sequence", sequence}});
  SF_TRY(begin_rank(*writer, descriptor.layout));
  Inspector inspector(descriptor.layout, descriptor.facts, descriptor.metric_entries);
  SF_ASSIGN(outcome, write_chunks(view, *writer, descriptor.layout, inspector));
  if (outcome == Outcome::published) {
    SF_ASSIGN(outcome, wait_for_seal(view));
  }
  if (outcome != Outcome::published) return outcome;

  set_phase("committing", view);
  base::log(base::LogLevel::info, "commit.begin", {{"run", options_.run}, {"step", view.step}, {"sequence", sequence}});
  SF_TRY(writer->end_rank(std::move(descriptor.tree_json)));
  if (const auto stop = interrupted(view)) return *stop;
  SF_ASSIGN(descriptor.metrics_json,
            format::with_numbers(descriptor.metrics_json, descriptor.metric_entries, inspector.metric_elements()));
  written.findings = std::move(inspector).finish(view.step, remembered_ ? &*remembered_ : nullptr,
                                                 format::metric_number(descriptor.metrics_json, "loss"));
  SF_ASSIGN(written.published, writer->commit(draft_manifest(view, std::move(descriptor.metrics_json),
                                                             written.findings.alarms)));
  return Outcome::published;
}

// At most what the checkpoint will take of this rank. Chunks are never stored larger than they are; the manifest and a
// safetensors header say again what the descriptor says, spread over lines.
std::uint64_t Persister::most_bytes(const arena::RecordView& view, const format::ImageLayout& layout) {
  constexpr std::uint64_t kTableRecordBytes = 64, kEntryBytes = 512, kDescriptorFold = 4, kSlackBytes = 256 * 1024;
  return view.image_bytes + kTableRecordBytes * (1 + view.image_chunks()) + kEntryBytes * layout.entries.size() +
         kDescriptorFold * view.descriptor_bytes + kSlackBytes;
}

format::Manifest Persister::draft_manifest(const arena::RecordView& view, std::string metrics_json,
                                           const std::vector<FoundAlarm>& alarms) const {
  format::Manifest draft;
  base::Hash128 id;
  id.bytes = arena_->header().arena_id;
  // The snapshot's number in the low half of the arena's id: unique, and the same for every attempt.
  for (std::size_t i = 0; i < sizeof view.snapshot_id; ++i) {
    id.bytes[15 - i] = static_cast<std::uint8_t>(id.bytes[15 - i] ^ (view.snapshot_id >> (8 * i)));
  }
  draft.id = id.hex();
  draft.run = options_.run;
  draft.step = view.step;
  draft.group = options_.group;
  draft.world_size = options_.world_size;
  draft.confirmed = is_confirmed(view);
  draft.metrics_json = std::move(metrics_json);
  for (const FoundAlarm& alarm : alarms) draft.alarms.push_back({alarm.kind, alarm.text});
  draft.writer = writer_words(is_checked(view));
  return draft;
}

Encoding Persister::encoding() const {
  return {options_.level, options_.joint ? options_.joint->reads_format() : options_.reads_format};
}

// Of the levels, as they are since version 2.
std::string Persister::writer_words(bool checked) const {
  return format::writer_words(options_.writer, has_levels(encoding()) ? codec::level_name(options_.level) : "", checked);
}

// Uncompressed, the data is a safetensors file, except where that format cannot hold the state.
Status Persister::begin_rank(store::CheckpointWriter& writer, const format::ImageLayout& layout) const {
  if (options_.level == codec::Level::raw) {
    Status begun = writer.begin_rank(options_.rank, layout, store::DataKind::safetensors);
    if (begun.code() != Code::invalid_argument && begun.code() != Code::unsupported) return begun;
    base::log(base::LogLevel::warn, "persist.container", {{"run", options_.run}, {"reason", begun.message()}});
  }
  return writer.begin_rank(options_.rank, layout, store::DataKind::container);
}

Status Persister::ensure_room(std::uint64_t needed_bytes) {
  return verifier_->ensure_room(needed_bytes, options_.make_way);
}

Result<std::vector<std::byte>> Persister::wait_for_descriptor(const arena::RecordView& view, Outcome& outcome) {
  // A rank that could not take a step says so by a record without bytes, which it abandons in the next moment.
  const bool announced = view.descriptor_bytes != 0;
  for (;;) {
    const std::uint32_t seen = side_.signal();
    auto bytes = announced ? side_.descriptor(view) : std::nullopt;
    if (bytes) return std::move(*bytes);
    if (const auto stop = interrupted(view)) {
      outcome = *stop;
      return std::vector<std::byte>();
    }
    if (is_sealed(view) && !(announced && side_.descriptor(view))) return lost_before_seal("its descriptor");
    side_.wait(seen, base::Deadline::after_ms(kIdleWaitMs));
  }
}

Result<Persister::Outcome> Persister::wait_for_seal(const arena::RecordView& view) {
  for (;;) {
    const std::uint32_t seen = side_.signal();
    if (const auto stop = interrupted(view)) return *stop;
    if (is_sealed(view)) {
      base::log(base::LogLevel::info, "snapshot.sealed", {{"run", options_.run}, {"step", view.step}});
      return Outcome::published;
    }
    side_.wait(seen, base::Deadline::after_ms(kIdleWaitMs));
  }
}

}  // namespace stillframe::persist
