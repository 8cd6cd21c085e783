// What the client learns after a snapshot has left: news, the arena's own states, the loss of the daemon, and the end.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/futex.hpp"
#include "client/core.hpp"
#include "format/names.hpp"

namespace stillframe::client {
namespace {

constexpr std::size_t kMostWarnings = 64;
constexpr std::size_t kMostEarlyNews = 32;
constexpr std::size_t kMostWordless = 32;
// The daemon's words come after the arena's state by a moment; only when they stay away the arena must do.
constexpr std::int64_t kWordsLateNs = 3'000'000'000;
constexpr std::uint64_t kWaitSliceMs = 100;

// A flag alone may be left from a daemon that meant the record's snapshot before.
bool is_captured_by_all(const arena::TrainerSide::Progress& now) noexcept {
  const bool sealed = now.state == arena::RecordState::sealed || now.state == arena::RecordState::durable ||
                      now.state == arena::RecordState::verified;
  constexpr std::uint32_t kBoth = arena::kCaptured | arena::kSealed;
  return sealed && (now.flags & kBoth) == kBoth;
}

}  // namespace

void Core::on_news(const protocol::SnapshotNews& news) {
  const std::lock_guard lock(mutex_);
  for (std::deque<Outstanding>* list : {&outstanding_, &wordless_}) {
    const auto found = std::find_if(list->begin(), list->end(), [&](const Outstanding& one) {
      return one.snapshot.handle.snapshot_id == news.snapshot_id;
    });
    if (found != list->end()) return take_news(*found, news);
  }
  if (early_news_.size() < kMostEarlyNews) early_news_.push_back(news);
}

void Core::take_news(Outstanding& one, const protocol::SnapshotNews& news) {
  capture::Progress& progress = *one.snapshot.progress;
  if (news.state == "captured") {
    const auto now = copier_->trainer_side().progress(one.snapshot.handle);
    if (now && is_captured_by_all(*now)) progress.set_captured();
  } else if (news.state == "durable") {
    const bool is_new = progress.set_durable(news.sequence, news.name, news.stored_bytes, news.alarms);
    if (is_new && link_) link_->set_newest_checkpoint(news.name);
    one.words_missing = false;
    if (is_new) count_durable(progress.info().step);
    warn_of_alarms(news.alarms);
  } else if (news.state == "verified") {
    if (progress.set_verified()) ++counters_.verified;
  } else if (news.state == "withdrawn" && one.abandonment_told) {
    // By us, who have said so.
  } else if (news.state == "failed" || !progress.ended()) {  // the copier may have seen the failure before its words came
    const bool counted = std::exchange(one.abandonment_told, true);
    progress.end(news.state == "withdrawn" ? SnapshotState::abandoned : SnapshotState::failed, news.code, news.error);
    const bool newest = !outstanding_.empty() && outstanding_.back().snapshot.handle.snapshot_id == news.snapshot_id;
    if (newest) newest_failure_ = Status(news.code, news.error);
    if (!counted) count_failure(news.error);
    counters_.last_error = news.error;
    warn(news.error);
  }
}

// The copier gave it up behind the fence's back: a GPU fails after the fence was passed, or no fence came.
void Core::take_abandonment(Outstanding& one) {
  const TicketInfo info = one.snapshot.progress->info();
  if (info.state == SnapshotState::abandoned) count_abandoned(one, Status(info.code, info.error));
}

void Core::count_abandoned(Outstanding& one, const Status& why) {
  if (std::exchange(one.abandonment_told, true)) return;
  ++counters_.abandoned;
  if (&one == &outstanding_.back()) newest_failure_ = why;
  count_failure(why.message());
  warn(why.message());
}

// Once for each kind, until a snapshot comes without it.
void Core::warn_of_alarms(const std::vector<Alarm>& alarms) {
  std::set<std::string> standing;
  for (const Alarm& alarm : alarms) {
    if (!standing_alarms_.contains(alarm.kind)) warn("alarm " + alarm.kind + ": " + alarm.text);
    standing.insert(alarm.kind);
  }
  standing_alarms_ = std::move(standing);
}

void Core::on_lost(const std::string& why) {
  ledger_->set_daemon_there(false);
  const std::lock_guard lock(mutex_);
  if (copier_) {
    copier_->cancel("the daemon died, and a ring's early chunks lived with it", /*only_ring=*/true);
  }
  if (closed_) return;
  warn("the daemon of " + options_.store + " is gone (" + why +
       "); training goes on, what was captured stays in this process's memory until a new daemon takes it over");
}

// The daemon is done with a snapshot that was captured and never became durable.
bool Core::is_lost(const Outstanding& one, const arena::TrainerSide::Progress& now) {
  return (now.flags & arena::kDone) != 0 && one.snapshot.progress->info().state == SnapshotState::captured &&
         one.snapshot.progress->info().persisted &&
         (now.state == arena::RecordState::sealed || now.state == arena::RecordState::copying);
}

void Core::on_tick() {
  const std::lock_guard lock(mutex_);
  if (!copier_) return;
  for (Outstanding& one : outstanding_) take_abandonment(one);
  std::erase_if(outstanding_, [this](Outstanding& one) {
    const auto now = copier_->trainer_side().progress(one.snapshot.handle);
    const bool let_go = !now || ((now->flags & arena::kDone) != 0 && now->state == arena::RecordState::sealed);
    if (let_go) one.snapshot.progress->set_let_go();
    if (!now) return true;
    if (is_captured_by_all(*now)) one.snapshot.progress->set_captured();
    if (is_lost(one, *now)) {
      const std::string error = "snapshot of step " + std::to_string(one.snapshot.progress->info().step) +
                                " was captured, and the daemon has given it up; its log says why";
      one.snapshot.progress->end(SnapshotState::failed, Code::io_error, error);
      newest_failure_ = Status(Code::io_error, error);
      count_failure(error);
      warn(error);
    }
    catch_up(one, *now);
    const SnapshotState told = one.snapshot.progress->info().state;
    const bool waiting_for_words = one.seen_ahead_ns != 0 || told == SnapshotState::copying;
    const bool given_back = !waiting_for_words && copier_->trainer_side().recycle(one.snapshot.handle);
    if (given_back && one.words_missing) keep_for_its_words(one);
    return given_back;
  });
}

// Its ticket still lacks figures and alarms, which a daemon that is slow to speak sends late.
void Core::keep_for_its_words(const Outstanding& one) {
  if (wordless_.size() == kMostWordless) wordless_.pop_front();
  wordless_.push_back(one);
}

// The arena may know more than we were told: a daemon died before it spoke, or its words were lost.
void Core::catch_up(Outstanding& one, const arena::TrainerSide::Progress& now) {
  capture::Progress& progress = *one.snapshot.progress;
  const SnapshotState told = progress.info().state;
  const bool durable = now.state == arena::RecordState::durable || now.state == arena::RecordState::verified;
  const bool ahead = (durable && told == SnapshotState::captured) ||
                     (now.state == arena::RecordState::verified && told == SnapshotState::durable) ||
                     (now.state == arena::RecordState::failed && !progress.ended());
  const std::int64_t clock_ns = base::system_clock().monotonic_ns();
  if (!ahead) {
    one.seen_ahead_ns = 0;
    return;
  }
  if (one.seen_ahead_ns == 0) one.seen_ahead_ns = clock_ns;
  if (clock_ns - one.seen_ahead_ns < kWordsLateNs) return;
  one.seen_ahead_ns = 0;
  if (now.state == arena::RecordState::failed) {
    const std::string error = "snapshot of step " + std::to_string(progress.info().step) + " failed; the daemon's log says why";
    progress.end(SnapshotState::failed, Code::io_error, error);
    newest_failure_ = Status(Code::io_error, error);
    count_failure(error);
    warn(error);
    return;
  }
  if (told == SnapshotState::captured) {
    const format::CheckpointName name{now.sequence, progress.info().step, base::utc_compact(now.taken_unix_ns)};
    one.words_missing = progress.set_durable(now.sequence, format::to_string(name), 0);
    if (one.words_missing) count_durable(progress.info().step);
  }
  if (now.state == arena::RecordState::verified && progress.set_verified()) ++counters_.verified;
}

void Core::count_durable(std::int64_t step) {
  ++counters_.durable;
  counters_.consecutive_failures = 0;
  counters_.last_durable_step = step;
  counters_.last_durable_ns = base::system_clock().monotonic_ns();
}

void Core::count_failure(const std::string& error) {
  ++counters_.failed;
  ++counters_.consecutive_failures;
  counters_.last_error = error;
}

void Core::warn(std::string text) {
  if (warnings_.size() == kMostWarnings) warnings_.pop_front();
  warnings_.push_back(std::move(text));
}

std::optional<std::string> Core::next_warning() {
  const std::lock_guard lock(mutex_);
  if (warnings_.empty()) return std::nullopt;
  std::string oldest = std::move(warnings_.front());
  warnings_.pop_front();
  return oldest;
}

// Every snapshot is verified, has ended, or the daemon is done with it.
Status Core::wait_finished(const base::Deadline& deadline) {
  for (;;) {
    std::uint32_t seen = 0;
    {
      const std::lock_guard lock(mutex_);
      if (!arena_) return {};
      seen = arena_->header().to_trainer.load(std::memory_order_seq_cst);
      const bool finished = std::all_of(outstanding_.begin(), outstanding_.end(), [this](const Outstanding& one) {
        const SnapshotState state = one.snapshot.progress->info().state;
        if (state == SnapshotState::verified || one.snapshot.progress->ended()) return true;
        if (state == SnapshotState::captured && !one.snapshot.progress->info().persisted) return true;
        const auto now = copier_->trainer_side().progress(one.snapshot.handle);
        return state == SnapshotState::durable && (!now || (now->flags & arena::kDone) != 0);
      });
      if (finished) return {};
    }
    if (deadline.expired()) {
      const char* where = link_->connected() ? "it stays with the daemon, which goes on"
                                             : "no daemon is there to take it over, and it ends with this process";
      return {Code::deadline, std::string("not everything captured is durable and verified yet; ") + where};
    }
    base::futex_wait(arena_->header().to_trainer, seen, deadline.at_most_ms(kWaitSliceMs));
  }
}

Status Core::close(const base::Deadline& deadline) {
  end_reserving();
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(closed_, true)) return {};
  }
  Status result;
  if (copier_) {
    result = copier_->fence(deadline);
    (void)copier_->wait_idle(deadline);  // a fence on a GPU returns before the seal
    send_newest_to_store();
    const Status finished = wait_finished(deadline);
    if (result.ok()) result = finished;
  }
  if (result.ok()) {
    const Status farewell = link_->leave(deadline);
    if (farewell.code() != Code::unavailable) result = farewell;
  }
  const std::lock_guard lock(mutex_);
  for (Outstanding& one : outstanding_) take_abandonment(one);
  return result.ok() ? newest_failure_ : result;
}

nlohmann::json Core::crash_cost_json() const {
  const arena::CrashCost cost = ledger_->cost();
  return {{"trainer_crash_seconds", cost.trainer_crash_seconds},
          {"power_loss_seconds", cost.power_loss_seconds},
          {"text", arena::describe(cost)}};
}

nlohmann::json Core::suggested_cadence_json() const {
  const auto cadence = arena::suggested_cadence(ledger_->mean_block_seconds(), options_.mean_time_between_failures_seconds);
  if (!cadence) return nullptr;
  return {{"snapshot_every_seconds", cadence->snapshot_every_seconds},
          {"mean_block_seconds", cadence->mean_block_seconds},
          {"mean_time_between_failures_seconds", cadence->mean_time_between_failures_seconds},
          {"text", arena::describe(*cadence)}};
}

std::string Core::status_json() const {
  const std::lock_guard lock(mutex_);
  nlohmann::json json{{"store", options_.store},
                      {"run", options_.run},
                      {"daemon", nullptr},
                      {"mode", arena::mode_name(mode_)},
                      {"budget_bytes", budget_bytes_},
                      {"arena_bytes", arena_ ? arena_->committed_bytes() : 0},
                      {"snapshots",
                       {{"taken", counters_.taken},
                        {"memory_only", counters_.memory_only},
                        {"skipped", counters_.skipped},
                        {"superseded", counters_.superseded},
                        {"durable", counters_.durable},
                        {"verified", counters_.verified},
                        {"abandoned", counters_.abandoned},
                        {"failed", counters_.failed}}},
                      {"last_durable_step", nullptr},
                      {"last_durable_age_s", nullptr},
                      {"consecutive_failures", counters_.consecutive_failures},
                      {"last_error", counters_.last_error},
                      {"crash_cost", crash_cost_json()},
                      {"suggested_cadence", suggested_cadence_json()}};
  json["gather"] = nlohmann::json::object();
  for (const capture::GatherWay& way : copier_ ? copier_->gather_ways() : std::vector<capture::GatherWay>()) {
    json["gather"][way.device] = way.why_plain.empty() ? "kernel" : "plain copies: " + way.why_plain;
  }
  json["capture_check"] = nlohmann::json::object();
  for (const capture::CheckWay& way : copier_ ? copier_->check_ways() : std::vector<capture::CheckWay>()) {
    json["capture_check"][way.device] = way.why_not.empty() ? "checked" : "not checked: " + way.why_not;
  }
  if (link_ && link_->connected()) json["daemon"] = {{"pid", link_->daemon_pid()}, {"socket", options_.socket}};
  if (counters_.last_durable_ns != 0) {
    json["last_durable_step"] = counters_.last_durable_step;
    json["last_durable_age_s"] =
        static_cast<double>(base::system_clock().monotonic_ns() - counters_.last_durable_ns) * 1e-9;
  }
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string Core::plan_json(const capture::Plan& plan) const {
  const std::lock_guard lock(mutex_);
  const nlohmann::json json{{"mode", arena::mode_name(mode_)},
                            {"image_bytes", plan.layout.bytes},
                            {"chunks", plan.layout.chunk_count()},
                            {"budget_bytes", budget_bytes_},
                            {"guarded_bytes", plan.guarded_bytes},
                            {"unguarded_bytes", plan.unguarded_bytes}};
  return json.dump();
}

}  // namespace stillframe::client
