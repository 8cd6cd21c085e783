// The persister of a rank among others: one directory and one sequence for all, published once each has written its
// part.
#include <algorithm>

#include "base/log.hpp"
#include "persist/group_seals.hpp"
#include "persist/persister.hpp"

namespace stillframe::persist {
namespace {

using Turn = GroupCommit::Turn;

constexpr std::uint64_t kIdleWaitMs = 1000;
constexpr std::uint64_t kSequencePatienceMs = 30'000;

// Why a snapshot of this rank can never be part of a checkpoint; said of "rank 3".
std::string reason_of(std::uint32_t rank, const std::optional<arena::RecordView>& now) {
  const std::string who = "rank " + std::to_string(rank);
  if (!now || now->state == arena::RecordState::abandoned)
    return who + " gave it up before it was sealed; its ticket says why";
  if ((now->flags & arena::kSuperseded) != 0) return who + " let it give way to a newer one";
  if ((now->flags & arena::kWithdrawn) != 0) return who + " withdrew it: a tensor changed while it was copied";
  return who + " ended before it had sealed it";
}

}  // namespace

Status Persister::enter_group() {
  GroupCommit& group = *options_.joint;
  GroupCommit::Member member;
  member.arena = options_.joint_arena;
  member.on_verdict = [this](const Verdict& verdict) { on_verdict(verdict); };
  member.on_captured = [this](const arena::RecordView& view) {
    on_news_({view.snapshot_id, view.step, "captured", 0, "", view.image_bytes, 0, Code::ok, "", {}});
  };
  member.reads_format = options_.reads_format;
  SF_TRY(group.enter(options_.rank, std::move(member)));
  SF_ASSIGN(watch_, GroupWatch::start(side_, [&group] { group.look_at_seals(); }));
  return {};
}

void Persister::leave_group() {
  // A living trainer's next daemon verifies it; a dead one's record is nobody's any more.
  if (trainer_dead_) options_.joint->give_back_verification(options_.rank);
  options_.joint->leave(options_.rank);
}

// A published record that is taken over. What was found of its checkpoint meanwhile is heard at once.
bool Persister::is_to_verify_with_group(const arena::RecordView& view, const std::string& name) {
  const GroupCommit::Adoption adoption = options_.joint->was_published(options_.rank, view, name);
  if (adoption.missed) {
    on_verdict(*adoption.missed);
    return false;
  }
  const auto verdict = verdict_in_store(view, name);
  if (verdict) options_.joint->tell(*verdict);
  return adoption.verifies && !verdict;
}

// A rank that was away when its fellows heard the verdict reads it off the marks. After was_published(): a verdict that
// comes later is told.
std::optional<Verdict> Persister::verdict_in_store(const arena::RecordView& view, const std::string& name) const {
  const auto marks = store_.marks(name);
  if (!marks.ok()) return std::nullopt;
  if (marks->bad) return Verdict{view, name, Verdict::Kind::bad, "found so while this rank was away"};
  if (marks->verified) return Verdict{view, name, Verdict::Kind::verified, ""};
  return std::nullopt;
}

Result<Persister::Outcome> Persister::persist_with_group(const arena::RecordView& view, Written& written) {
  GroupCommit& group = *options_.joint;
  written.verifies = false;
  if (!side_.take(view)) {
    pass_over(view);
    return Outcome::given_up;
  }
  Outcome outcome = Outcome::again;
  while (outcome == Outcome::again) {
    round_ = group.join(options_.rank, view);
    newest_joined_ = std::max(newest_joined_, view.snapshot_id);
    Result<Outcome> once = persist_part(view, written);
    if (!once.ok()) {
      group.fail_attempt(*round_, options_.rank, once.status().code(),
                         "rank " + std::to_string(options_.rank) + ": " + once.status().message());
      base::log(
          base::LogLevel::warn, "group.attempt_failed",
          {{"run", options_.run}, {"step", view.step}, {"rank", options_.rank}, {"error", once.status().message()}});
    }
    outcome = once.ok() ? *once : Outcome::again;
    if (outcome == Outcome::again && stopping_) outcome = Outcome::left;
    if (outcome == Outcome::again && group.look(*round_, options_.rank) == Turn::off) outcome = Outcome::off;
  }
  const std::uint64_t round = *round_;
  round_.reset();
  if (outcome == Outcome::off) {
    const Status why = group.obstacle(round);
    group.leave_round(round, options_.rank);
    return why;
  }
  if (outcome == Outcome::left) {
    group.step_back(round, options_.rank);
    group.stands_still(options_.rank);
    newest_joined_ = view.snapshot_id - 1;  // what becomes of it is still to be told to the fellows
    // The fellows it waited for have stopped as well: it is for the next daemon, as what is sealed later.
    if (finishing_ && is_sealed(view)) last_to_finish_ = std::min(last_to_finish_.load(), view.snapshot_id - 1);
  } else {
    group.leave_round(round, options_.rank);
  }
  return outcome;
}

Result<Persister::Outcome> Persister::persist_part(const arena::RecordView& view, Written& written) {
  GroupCommit& group = *options_.joint;
  set_phase("copying", view);
  Outcome outcome = Outcome::published;
  SF_ASSIGN(const std::vector<std::byte> bytes, wait_for_descriptor(view, outcome));
  if (outcome != Outcome::published) return outcome;
  SF_ASSIGN(format::Descriptor descriptor, format::decode_descriptor(bytes, view.image_bytes));
  set_phase("waiting for the other ranks with", view);
  group.ready(*round_, options_.rank, most_bytes(view, descriptor.layout), !is_ring(view));
  outcome = wait_for_turn(view, Turn::write, written);
  if (outcome != Outcome::published) return outcome;
  SF_ASSIGN(GroupCommit::Part part, write_part(view, std::move(descriptor), written, outcome));
  if (outcome != Outcome::published) return outcome;
  set_phase("waiting for the other ranks with", view);
  if (!group.part_done(*round_, options_.rank, std::move(part))) return interrupted(view).value_or(Outcome::again);
  return wait_for_turn(view, Turn::published, written);
}

// Its files are closed, and the directory may go, when this has returned.
Result<GroupCommit::Part> Persister::write_part(const arena::RecordView& view, format::Descriptor descriptor,
                                                Written& written, Outcome& outcome) {
  GroupCommit::Part made;
  const std::shared_ptr<store::CheckpointWriter> writer = options_.joint->writer(*round_);
  if (writer == nullptr) {
    outcome = Outcome::again;
    return made;
  }
  side_.set_sequence(view, writer->sequence());
  set_phase("writing", view);
  base::log(base::LogLevel::info, "persist.begin",
            {{"run", options_.run}, {"step", view.step}, {"rank", options_.rank}, {"sequence", writer->sequence()}});
  SF_ASSIGN(const std::unique_ptr<store::RankPart> part, open_part(*writer, descriptor.layout));
  Inspector inspector(descriptor.layout, descriptor.facts, descriptor.metric_entries);
  SF_ASSIGN(outcome, write_chunks(view, *part, descriptor.layout, inspector));
  if (outcome == Outcome::published) {
    SF_ASSIGN(outcome, wait_for_seal(view));
  }
  if (outcome != Outcome::published) return made;
  SF_ASSIGN(made.manifest, part->end(std::move(descriptor.tree_json)));
  SF_ASSIGN(descriptor.metrics_json,
            format::with_numbers(descriptor.metrics_json, descriptor.metric_entries, inspector.metric_elements()));
  written.findings = std::move(inspector).finish(view.step, remembered_ ? &*remembered_ : nullptr,
                                                 format::metric_number(descriptor.metrics_json, "loss"));
  const format::Manifest draft = draft_manifest(view, std::move(descriptor.metrics_json), written.findings.alarms);
  made.view = view;
  if (const auto now = side_.view(view.record); now && now->snapshot_id == view.snapshot_id) made.flags = now->flags;
  made.checkpoint_id = draft.id;
  made.metrics_json = draft.metrics_json;
  made.alarms = draft.alarms;
  return made;
}

// Uncompressed, the data is a safetensors file, except where that format cannot hold the state.
Result<std::unique_ptr<store::RankPart>> Persister::open_part(const store::CheckpointWriter& writer,
                                                              const format::ImageLayout& layout) const {
  if (options_.level == codec::Level::raw) {
    auto part = writer.open_part(options_.rank, layout, store::DataKind::safetensors);
    const Code code = part.ok() ? Code::ok : part.status().code();
    if (code != Code::invalid_argument && code != Code::unsupported) return part;
    base::log(base::LogLevel::warn, "persist.container", {{"run", options_.run}, {"reason", part.status().message()}});
  }
  return writer.open_part(options_.rank, layout, store::DataKind::container);
}

// `wanted`: write or published.
Persister::Outcome Persister::wait_for_turn(const arena::RecordView& view, Turn wanted, Written& written) {
  GroupCommit& group = *options_.joint;
  for (;;) {
    const std::uint32_t seen = side_.signal();
    const Turn now = group.turn(*round_, options_.rank);
    if (now == Turn::open) {
      open_for_all(view);
    } else if (now == Turn::commit) {
      commit_for_all(view, written);
    } else if (now == Turn::published) {
      written.published = group.publication(*round_);
      return Outcome::published;
    } else if (now == Turn::write && wanted == Turn::write) {
      return Outcome::published;
    } else if (const auto stop = interrupted(view)) {
      return *stop;
    } else {
      side_.wait(seen, base::Deadline::after_ms(kIdleWaitMs));
    }
  }
}

void Persister::open_for_all(const arena::RecordView& view) {
  GroupCommit& group = *options_.joint;
  const GroupCommit::Opening opening = group.opening(*round_);
  set_phase("preparing", view);
  const auto make = [&]() -> Result<std::shared_ptr<store::CheckpointWriter>> {
    SF_TRY(ensure_room(opening.needed_bytes));
    SF_ASSIGN(const std::uint64_t sequence, store_.claim_sequence(base::Deadline::after_ms(kSequencePatienceMs)));
    SF_ASSIGN(std::unique_ptr<store::CheckpointWriter> writer,
              store::CheckpointWriter::begin(store_, options_.run, sequence, view.step, view.taken_unix_ns));
    return std::shared_ptr<store::CheckpointWriter>(std::move(writer));
  };
  Result<std::shared_ptr<store::CheckpointWriter>> opened = make();
  if (opened.ok()) return group.opened(*round_, opening, std::move(opened).value());
  group.fail_attempt(*round_, options_.rank, opened.status().code(), opened.status().message());
}

void Persister::commit_for_all(const arena::RecordView& view, Written& written) {
  GroupCommit& group = *options_.joint;
  group.look_at_seals();  // whoever sees durable has seen captured
  GroupCommit::Gathered gathered = group.gather(*round_);
  if (gathered.torn) {
    const std::string who = "rank " + std::to_string(*gathered.torn);
    return group.fail_attempt(*round_, options_.rank, Code::corrupt,
                              who + " withdrew it: a tensor changed while it was copied");
  }
  set_phase("committing", view);
  base::log(base::LogLevel::info, "commit.begin",
            {{"run", options_.run}, {"step", view.step}, {"sequence", gathered.writer->sequence()}});
  format::Manifest draft = draft_manifest(view, gathered.parts.front().metrics_json, {});
  draft.id = gathered.parts.front().checkpoint_id;
  draft.confirmed = gathered.confirmed;
  std::vector<std::uint32_t> flags;
  for (const GroupCommit::Part& part : gathered.parts) flags.push_back(part.flags);
  draft.writer = writer_words(is_checked_by_all(flags));
  const auto commit = [&]() -> Result<store::Published> {
    for (std::uint32_t rank = 0; rank < gathered.parts.size(); ++rank) {
      for (format::Alarm& alarm : gathered.parts[rank].alarms) {
        draft.alarms.push_back({std::move(alarm.kind), "rank " + std::to_string(rank) + ": " + alarm.text});
      }
      SF_TRY(gathered.writer->add_rank(std::move(gathered.parts[rank].manifest)));
    }
    return gathered.writer->commit(std::move(draft));
  };
  const Result<store::Published> published = commit();
  if (!published.ok()) {
    return group.fail_attempt(*round_, options_.rank, published.status().code(), published.status().message());
  }
  written.verifies = true;
  group.published(*round_, options_.rank, *published);
}

std::optional<Persister::Outcome> Persister::interrupted_in_group(const arena::RecordView& view) const {
  GroupCommit& group = *options_.joint;
  if (is_sealed(view)) group.sealed(*round_, options_.rank);
  const Turn now = group.look(*round_, options_.rank);
  if (now == Turn::publishing || now == Turn::published) {
    return stopping_ ? std::optional(Outcome::left) : std::nullopt;
  }
  if (const auto stop = interrupted_alone(view)) {
    const bool given_up = *stop == Outcome::given_up;
    // A fellow that begins to publish it at this very moment is waited for; what was torn is marked then.
    if (given_up && !group.obstruct(*round_, Code::unavailable, reason_of(options_.rank, side_.view(view.record)))) {
      return std::nullopt;
    }
    return stop;
  }
  if (now == Turn::off) return Outcome::off;
  if (now == Turn::again) return Outcome::again;
  if (finishing_ && !trainer_dead_ && group.held_up(*round_)) return Outcome::left;
  return std::nullopt;
}

// What nobody takes any more: for ever when the trainer is dead, else until the next daemon.
void Persister::stand_still_if_finishing(bool trainer_dead) {
  if (trainer_dead) {
    options_.joint->gone(options_.rank, "ended before it had a snapshot of it");
  } else if (finishing_) {
    options_.joint->stands_still(options_.rank);
  }
}

// A snapshot that was given up before the group was asked about it.
void Persister::pass_over(const arena::RecordView& view) {
  if (view.snapshot_id <= newest_joined_) return;
  newest_joined_ = view.snapshot_id;
  GroupCommit& group = *options_.joint;
  const std::uint64_t round = group.join(options_.rank, view);
  (void)group.obstruct(round, Code::unavailable, reason_of(options_.rank, side_.view(view.record)));
  group.leave_round(round, options_.rank);
}

}  // namespace stillframe::persist
