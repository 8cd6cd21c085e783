#include "capture/progress.hpp"

namespace stillframe::capture {
namespace {

bool is_end(SnapshotState state) noexcept {
  return state == SnapshotState::failed || state == SnapshotState::abandoned || state == SnapshotState::skipped;
}

const char* word_of(SnapshotState state) noexcept {
  switch (state) {
    case SnapshotState::captured: return "captured";
    case SnapshotState::durable: return "durable";
    case SnapshotState::verified: return "verified";
    default: return "copied";
  }
}

}  // namespace

Progress::Progress(std::int64_t step, std::uint64_t raw_bytes, std::shared_ptr<CrashLedger> ledger)
    : called_ns_(base::system_clock().monotonic_ns()), ledger_(std::move(ledger)) {
  info_.step = step;
  info_.raw_bytes = raw_bytes;
}

double Progress::since_call() const {
  return static_cast<double>(base::system_clock().monotonic_ns() - called_ns_) * 1e-9;
}

void Progress::set_memory_only(bool memory_only) {
  const std::lock_guard lock(mutex_);
  info_.persisted = !memory_only;
  changed_.notify_all();
}

void Progress::set_captured() {
  const std::lock_guard lock(mutex_);
  if (info_.state != SnapshotState::copying) return;
  info_.state = SnapshotState::captured;
  info_.captured_seconds = since_call();
  if (ledger_) ledger_->captured(called_ns_);
  changed_.notify_all();
}

void Progress::set_sealed() {
  const std::lock_guard lock(mutex_);
  sealed_ = true;
  changed_.notify_all();
}

bool Progress::still_copying() const noexcept { return info_.state == SnapshotState::copying && !sealed_; }

void Progress::set_checked() {
  const std::lock_guard lock(mutex_);
  info_.checked = true;
}

void Progress::set_torn(std::vector<std::string> names, const std::string& what) {
  const std::lock_guard lock(mutex_);
  info_.torn = std::move(names);
  info_.alarms.push_back({"missed_fence", what + ". Call fence() before they are changed"});
}

bool Progress::set_durable(std::uint64_t sequence, std::string name, std::uint64_t stored_bytes,
                           std::vector<Alarm> alarms) {
  const std::lock_guard lock(mutex_);
  if (is_end(info_.state)) return false;
  info_.sequence = sequence;
  info_.name = std::move(name);
  info_.stored_bytes = stored_bytes;
  info_.alarms = std::move(alarms);
  // The daemon's words may overtake the copier's own, by an instant.
  if (info_.state != SnapshotState::captured && info_.state != SnapshotState::copying) return false;
  if (info_.state == SnapshotState::copying) {
    info_.captured_seconds = since_call();
    if (ledger_) ledger_->captured(called_ns_);
  }
  info_.persisted = true;
  info_.state = SnapshotState::durable;
  info_.durable_seconds = since_call();
  if (ledger_) ledger_->durable(called_ns_);
  changed_.notify_all();
  return true;
}

bool Progress::set_verified() {
  const std::lock_guard lock(mutex_);
  if (info_.state != SnapshotState::durable) return false;
  info_.state = SnapshotState::verified;
  info_.verified_seconds = since_call();
  changed_.notify_all();
  return true;
}

void Progress::set_let_go() {
  const std::lock_guard lock(mutex_);
  if (info_.persisted || info_.state != SnapshotState::captured) return;
  if (ledger_) ledger_->ended(called_ns_);
}

void Progress::end(SnapshotState state, Code code, std::string error) {
  const std::lock_guard lock(mutex_);
  if (is_end(info_.state)) return;
  info_.state = state;
  info_.code = code;
  info_.error = std::move(error);
  if (ledger_) ledger_->ended(called_ns_);
  changed_.notify_all();
}

void Progress::add_call_seconds(double seconds) {
  const std::lock_guard lock(mutex_);
  info_.call_seconds += seconds;
  if (ledger_) ledger_->add_block_seconds(seconds);
}

void Progress::add_fence_seconds(double seconds) {
  const std::lock_guard lock(mutex_);
  info_.fence_seconds += seconds;
  if (ledger_) ledger_->add_block_seconds(seconds);
}

TicketInfo Progress::info() const {
  const std::lock_guard lock(mutex_);
  TicketInfo info = info_;
  if (ledger_) {
    const arena::CrashCost cost = ledger_->cost();
    info.trainer_crash_seconds = cost.trainer_crash_seconds;
    info.power_loss_seconds = cost.power_loss_seconds;
  }
  return info;
}

bool Progress::ended() const {
  const std::lock_guard lock(mutex_);
  return is_end(info_.state);
}

SnapshotState Progress::state() const {
  const std::lock_guard lock(mutex_);
  return info_.state;
}

bool Progress::copying() const {
  const std::lock_guard lock(mutex_);
  return still_copying();
}

Status Progress::wait(SnapshotState wanted, const base::Deadline& deadline) const {
  std::unique_lock lock(mutex_);
  const bool of_the_store = static_cast<int>(wanted) > static_cast<int>(SnapshotState::captured);
  const auto never_comes = [&] { return of_the_store && !info_.persisted; };
  const bool reached = changed_.wait_for(lock, deadline.remaining(), [&] {
    return is_end(info_.state) || static_cast<int>(info_.state) >= static_cast<int>(wanted) || never_comes();
  });
  if (is_end(info_.state)) return {info_.code, info_.error};
  if (never_comes()) {
    return {Code::unsupported, "the snapshot of step " + std::to_string(info_.step) + " is kept in memory only, and will not " +
                                   "be " + word_of(wanted) +
                                   ": persist_every_steps and persist_every_seconds choose others for the store"};
  }
  if (reached) return {};
  const char* now = still_copying()                            ? "still being copied"
                    : info_.state == SnapshotState::copying ? "sealed by this rank and not yet by all of its group"
                                                            : word_of(info_.state);
  return {Code::deadline, "step " + std::to_string(info_.step) + " was not " + word_of(wanted) + " in time; it is " + now +
                              ", and on its way"};
}

bool Progress::wait_copied(const base::Deadline& deadline) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, deadline.remaining(), [&] { return !still_copying(); });
}

}  // namespace stillframe::capture
