#include "persist/verifier.hpp"

#include <algorithm>
#include <optional>

#include "base/log.hpp"
#include "format/names.hpp"
#include "persist/group_commit.hpp"
#include "persist/retention_task.hpp"
#include "store/verify.hpp"

namespace stillframe::persist {
namespace {

constexpr std::uint64_t kIdleWaitMs = 1000;

std::int64_t now_unix_seconds() { return base::system_clock().unix_ns() / 1'000'000'000; }

}  // namespace

Verifier::Verifier(arena::DaemonSide side, store::Store store, std::string run, retention::Policy policy,
                   std::function<void(const Verdict&)> on_verdict, std::shared_ptr<GroupCommit> group)
    : side_(side),
      store_(std::move(store)),
      run_(std::move(run)),
      policy_(policy),
      on_verdict_(std::move(on_verdict)),
      group_(std::move(group)),
      retention_turn_(group_ ? group_->retention_turn() : std::make_shared<RetentionTurn>()) {}

Result<std::unique_ptr<Verifier>> Verifier::start(arena::DaemonSide side, store::Store store, std::string run,
                                                  retention::Policy policy,
                                                  std::function<void(const Verdict&)> on_verdict,
                                                  std::shared_ptr<GroupCommit> group) {
  std::unique_ptr<Verifier> verifier(
      new Verifier(side, std::move(store), std::move(run), policy, std::move(on_verdict), std::move(group)));
  SF_ASSIGN(verifier->thread_, base::Thread::start("sf-verify", [raw = verifier.get()] { raw->run(); }));
  return verifier;
}

Verifier::~Verifier() {
  stopping_ = true;
  side_.wake_self();
  thread_.join();
}

void Verifier::add(const arena::RecordView& view, const std::string& name) {
  {
    const std::lock_guard lock(mutex_);
    items_.push_back({view, name});
  }
  side_.wake_self();
}

void Verifier::trainer_died() noexcept {
  trainer_dead_ = true;
  side_.wake_self();
}

bool Verifier::idle() const {
  const std::lock_guard lock(mutex_);
  return items_.empty() && !busy_;
}

bool Verifier::holds(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  return (busy_ && in_hand_ == name) ||
         std::any_of(items_.begin(), items_.end(), [&](const Item& item) { return item.name == name; });
}

Status Verifier::ensure_room(std::uint64_t needed_bytes, const std::function<void()>& make_way) {
  const std::lock_guard lock(retention_turn_->mutex);
  return persist::ensure_room(store_, run_, policy_, needed_bytes, now_unix_seconds(), &retention_turn_->awaited_space,
                              make_way);
}

bool Verifier::only_unconfirmed() const {
  const std::lock_guard lock(mutex_);
  return !busy_ && std::all_of(items_.begin(), items_.end(),
                               [this](const Item& item) { return word_of(item) == Word::awaited; });
}

Word Verifier::word_of(const Item& item) const {
  if (group_) return group_->word(item.name);
  const auto now = side_.view(item.view.record);
  const std::uint32_t flags = now ? now->flags : 0;
  if ((flags & arena::kWithdrawn) != 0) return Word::withdrawn;
  if ((flags & arena::kConfirmed) != 0) return Word::confirmed;
  return trainer_dead_ ? Word::never : Word::awaited;
}

void Verifier::run() {
  while (!stopping_) {
    const std::uint32_t seen = side_.signal();
    if (!step()) side_.wait(seen, base::Deadline::after_ms(kIdleWaitMs));
  }
}

bool Verifier::step() {
  std::optional<Item> item;
  Word word = Word::awaited;
  {
    const std::lock_guard lock(mutex_);
    for (auto it = items_.begin(); it != items_.end(); ++it) {
      word = word_of(*it);
      if (word == Word::awaited || word == Word::early) continue;
      item = std::move(*it);
      items_.erase(it);
      busy_ = true;
      in_hand_ = item->name;
      break;
    }
  }
  if (!item) return false;
  Verdict verdict{item->view, item->name, Verdict::Kind::unchecked, ""};
  if (word == Word::withdrawn) {
    verdict = mark_bad(*item, Verdict::Kind::withdrawn, "torn: a tensor changed while it was copied");
  } else if (word == Word::confirmed) {
    verdict = check(*item);
  }
  // Cut off by the end of this daemon: the next one finds the record as it is and checks anew.
  if (stopping_ && verdict.kind == Verdict::Kind::unchecked) return false;
  on_verdict_(verdict);
  if (verdict.kind == Verdict::Kind::verified) apply_retention();
  const std::lock_guard lock(mutex_);
  busy_ = false;
  return true;
}

Verdict Verifier::check(const Item& item) {
  const auto report = store::verify(store_, item.name, store::VerifyDepth::full,
                                    [this](std::uint64_t, std::uint64_t) { return !stopping_; });
  if (!report.ok()) {
    return {item.view, item.name, Verdict::Kind::unchecked, "could not be re-read: " + report.status().message()};
  }
  if (report->damaged) return mark_bad(item, Verdict::Kind::bad, store::first_finding(*report));
  if (!report->ok) {
    return {item.view, item.name, Verdict::Kind::unchecked,
            "could not be read whole, which proves no damage: " + store::first_finding(*report)};
  }
  // Withdrawn while we read: the trainer's word comes first.
  if (word_of(item) == Word::withdrawn) {
    return mark_bad(item, Verdict::Kind::withdrawn, "torn: a tensor changed while it was copied");
  }
  const std::string text = "re-read and checked " + base::utc_iso(base::system_clock().unix_ns()) + "\n";
  if (Status marked = store_.set_mark(item.name, format::kVerifiedMark, text); !marked.ok()) {
    return {item.view, item.name, Verdict::Kind::unchecked, "could not be marked verified: " + marked.message()};
  }
  return {item.view, item.name, Verdict::Kind::verified, ""};
}

Verdict Verifier::mark_bad(const Item& item, Verdict::Kind kind, const std::string& reason) {
  std::string error = reason;
  if (Status marked = store_.set_mark(item.name, format::kBadMark, reason + "\n"); !marked.ok()) {
    error += "; and the mark could not be written: " + marked.message();
  }
  return {item.view, item.name, kind, error};
}

void Verifier::apply_retention() {
  const std::lock_guard lock(retention_turn_->mutex);
  const auto removals = prune(store_, run_, policy_, now_unix_seconds(), &retention_turn_->awaited_space);
  if (!removals.ok()) {
    base::log(base::LogLevel::warn, "retention.failed", {{"run", run_}, {"error", removals.status().message()}});
    return;
  }
  for (const Removal& removal : *removals) {
    const Status& trouble = removal.outcome.ok() ? removal.leftovers : removal.outcome;
    base::log(trouble.ok() ? base::LogLevel::info : base::LogLevel::warn,
              removal.outcome.ok() ? "retention.removed" : "retention.left",
              {{"run", run_},
               {"name", removal.name},
               {"reason", removal.reason},
               {"outcome", trouble.ok() ? std::string("ok") : trouble.message()}});
  }
}

}  // namespace stillframe::persist
