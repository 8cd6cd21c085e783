#include "crash/actor.hpp"

#include <algorithm>
#include <utility>

#include "persist/retention_task.hpp"
#include "store/catalog.hpp"
#include "store/scrub.hpp"

namespace stillframe::test {
namespace {

constexpr std::int64_t kUtcNs = 1'795'350'605'000'000'000;
constexpr std::int64_t kNsPerSecond = 1'000'000'000;
constexpr std::uint64_t kNoWaitMs = 0;  // nobody holds the store's lock while a scenario waits for it

// Open while the call runs; then as it was told.
void settle(Promise& promise, const Status& told, Promise wanted) {
  if (told.ok()) promise = wanted;
}

}  // namespace

Status Actor::open() {
  SF_ASSIGN(store::Store opened, store::Store::open_or_create(process_, std::string(kStorePath)));
  store_.emplace(std::move(opened));
  ledger_.store_exists = true;
  ledger_.pages_whole = true;
  return {};
}

Status Actor::open_as_reader() {
  SF_ASSIGN(store::Store opened, store::Store::open(process_, std::string(kStorePath)));
  store_.emplace(std::move(opened));
  return {};
}

Status Actor::lock_run(const std::string& run) {
  SF_ASSIGN(auto lock, store_->lock_run(run));
  run_locks_.push_back(std::move(lock));
  runs_.push_back(run);
  return {};
}

Status Actor::recover() {
  SF_ASSIGN(const auto report, store::recover(*store_, runs_));
  for (const std::string& name : names()) {  // what is found is durable from here on
    const auto known = ledger_.checkpoints.find(name);
    if (known != ledger_.checkpoints.end() && known->second.standing == Promise::open) {
      known->second.standing = Promise::there;
    }
  }
  if (report.failed.empty()) return {};
  return {Code::io_error, "recovery could not remove " + report.failed.front()};
}

Status Actor::start_up(const std::string& run) {
  SF_TRY(open());
  SF_TRY(lock_run(run));
  SF_TRY(recover());
  return scrub_all();
}

Status Actor::claim() {
  SF_ASSIGN(const std::uint64_t sequence, store_->claim_sequence(base::Deadline::after_ms(kNoWaitMs)));
  if (sequence <= ledger_.highest_claimed) {
    return {Code::internal, "sequence " + std::to_string(sequence) + " was handed out after " +
                                std::to_string(ledger_.highest_claimed)};
  }
  ledger_.highest_claimed = sequence;
  return {};
}

Status Actor::begin(ContentPtr content) {
  SF_TRY(claim());
  const std::uint64_t sequence = ledger_.highest_claimed;
  writing_ = std::move(content);
  SF_ASSIGN(writer_, store::CheckpointWriter::begin(*store_, writing_->run, sequence, writing_->step, kUtcNs));
  KnownCheckpoint& known = ledger_.checkpoints[writer_->name()];
  known.content = writing_;
  known.sequence = sequence;
  return {};
}

Status Actor::write() {
  const Status written = write_ranks(*writer_, *writing_);
  if (!written.ok()) writer_.reset();
  return written;
}

Status Actor::publish() {
  const auto published = writer_->commit(draft_of(*writing_));
  settle(ledger_.checkpoints[writer_->name()].standing, published.status(), Promise::there);
  writer_.reset();
  return published.status();
}

Status Actor::commit(ContentPtr content) {
  SF_TRY(begin(std::move(content)));
  SF_TRY(write());
  return publish();
}

Status Actor::remove(const std::string& name) {
  Promise& standing = ledger_.checkpoints.at(name).standing;
  standing = Promise::open;
  const auto removed = store_->remove(name);
  settle(standing, removed.status(), Promise::gone);
  return removed.ok() ? removed->leftovers : removed.status();
}

Status Actor::set_mark(const std::string& name, std::string_view mark) {
  Promise& promise = ledger_.checkpoints.at(name).marks[std::string(mark)];
  promise = Promise::open;
  const Status marked = store_->set_mark(name, mark, "crash suite\n");
  settle(promise, marked, Promise::there);
  return marked;
}

Status Actor::clear_mark(const std::string& name, std::string_view mark) {
  Promise& promise = ledger_.checkpoints.at(name).marks[std::string(mark)];
  promise = Promise::open;
  const Status cleared = store_->clear_mark(name, mark);
  settle(promise, cleared, Promise::gone);
  return cleared;
}

Status Actor::scrub(const std::string& name) {
  KnownCheckpoint& known = ledger_.checkpoints.at(name);
  return known.damaged ? scrub_damaged(name, known) : scrub_whole(name, known);
}

Status Actor::scrub_whole(const std::string& name, KnownCheckpoint& known) {
  Promise& verified = known.marks[std::string(format::kVerifiedMark)];
  const bool was_verified = verified == Promise::there;
  verified = Promise::open;
  SF_ASSIGN(const auto scrubbed, store::scrub_checkpoint(*store_, name, store::Pace{}));
  const bool as_expected = scrubbed.outcome == store::ScrubOutcome::already_verified ||
                           (scrubbed.outcome == store::ScrubOutcome::verified && !was_verified);
  if (!as_expected) return {Code::internal, "scrub of " + name + " judged otherwise: " + scrubbed.reason};
  if (was_verified || scrubbed.marked) verified = Promise::there;
  // Verified means durable, also of one whose writer died before it could say so.
  if (scrubbed.marked) known.standing = Promise::there;
  return {};
}

// Read again even if it was verified before it rotted: bad first, then no longer verified.
Status Actor::scrub_damaged(const std::string& name, KnownCheckpoint& known) {
  Promise& bad = known.marks[std::string(format::kBadMark)];
  const bool was_bad = bad == Promise::there;
  bad = Promise::open;
  const auto verified = known.marks.find(format::kVerifiedMark);
  if (verified != known.marks.end() && verified->second == Promise::there) verified->second = Promise::open;
  constexpr bool kRecheck = true;
  SF_ASSIGN(const auto scrubbed, store::scrub_checkpoint(*store_, name, store::Pace{}, kRecheck));
  if (scrubbed.outcome != store::ScrubOutcome::bad) return {Code::internal, "scrub of " + name + " found no damage"};
  if (was_bad || scrubbed.marked) bad = Promise::there;
  SF_TRY(scrubbed.mark_error);
  if (verified != known.marks.end() && scrubbed.marked) verified->second = Promise::gone;
  return {};
}

Status Actor::scrub_all() {
  for (const std::string& name : names()) {
    if (ledger_.checkpoints.find(name) == ledger_.checkpoints.end()) {
      return {Code::internal, "there is a checkpoint that nobody wrote: " + name};
    }
    SF_TRY(scrub(name));
  }
  return {};
}

// Whatever a policy with this keep_last may remove is open from here on.
void Actor::begin_retention(const std::string& run, std::uint32_t keep_last) {
  std::uint32_t newer = 0;
  for (const std::string& name : names()) {
    KnownCheckpoint& known = ledger_.checkpoints.at(name);
    if (known.content->run != run || newer++ < keep_last || known.standing != Promise::there) continue;
    known.expirable = true;
    known.standing = Promise::open;
    ++known.expiring;
    expiring_.push_back(name);
  }
}

// It is over without an error: what it did not touch stands as before.
void Actor::end_retention() {
  const std::vector<std::string> left = names();
  for (const std::string& name : expiring_) {
    const bool is_left = std::ranges::find(left, name) != left.end();
    KnownCheckpoint& known = ledger_.checkpoints.at(name);
    const bool only_ours = --known.expiring == 0;
    if (is_left && only_ours) known.standing = Promise::there;
  }
  expiring_.clear();
}

Status Actor::prune(const std::string& run, std::uint32_t keep_last) {
  begin_retention(run, keep_last);
  const retention::Policy policy{.keep_last = keep_last, .min_free_bytes = 0};
  SF_ASSIGN(const auto removals, persist::prune(*store_, run, policy, kUtcNs / kNsPerSecond));
  for (const auto& removal : removals) {
    KnownCheckpoint& known = ledger_.checkpoints.at(removal.name);
    if (!known.expirable) return {Code::internal, "retention removed " + removal.name + ", which had to stay"};
    const auto pinned = known.marks.find(format::kPinnedMark);
    if (removal.outcome.ok() && pinned != known.marks.end() && pinned->second == Promise::there) {
      return {Code::internal, "retention removed " + removal.name + ", which was pinned"};
    }
    settle(known.standing, removal.outcome, Promise::gone);
    if (!removal.outcome.ok() && removal.outcome.code() != Code::busy) return removal.outcome;
  }
  end_retention();
  return {};
}

Status Actor::make_room(const std::string& run) {
  constexpr std::uint32_t kKeepLast = 1;
  constexpr std::uint64_t kNeededBytes = 2'000;
  begin_retention(run, kKeepLast);
  SF_ASSIGN(const std::uint64_t bytes, store::store_bytes(*store_));
  const retention::Policy policy{.keep_last = kKeepLast, .max_bytes = bytes, .min_free_bytes = 0};
  const Status room = persist::ensure_room(*store_, run, policy, kNeededBytes, kUtcNs / kNsPerSecond);
  if (room.ok()) end_retention();
  return room;
}

std::vector<std::string> Actor::names() const {
  std::vector<std::string> names;
  const auto listed = store_->list();
  if (!listed.ok()) return names;
  for (const auto& ref : *listed) names.push_back(ref.name);
  return names;
}

}  // namespace stillframe::test
