#include "daemon/scrubber.hpp"

#include <algorithm>
#include <chrono>
#include <new>
#include <utility>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "format/names.hpp"
#include "store/checkpoint_files.hpp"

namespace stillframe::daemon {
namespace {

constexpr std::uint64_t kWritingPollMs = 50;
constexpr std::uint64_t kLetGoMs = 1000;
// A mark from further in the future than this was made by a clock that was wrong.
constexpr std::int64_t kClockSlackSeconds = 86'400;

std::int64_t now_unix_seconds() { return base::system_clock().unix_ns() / 1'000'000'000; }

const char* word_of(store::ScrubOutcome outcome) noexcept {
  switch (outcome) {
    case store::ScrubOutcome::verified: return "verified";
    case store::ScrubOutcome::bad: return "bad";
    case store::ScrubOutcome::intact_unconfirmed: return "intact, never confirmed by its trainer";
    case store::ScrubOutcome::already_verified: return "verified before";
    case store::ScrubOutcome::ended: return "not read to its end";
    case store::ScrubOutcome::gone: return "removed meanwhile";
  }
  return "?";
}

std::optional<int> digits(std::string_view text, std::size_t at, std::size_t count) {
  int value = 0;
  for (std::size_t i = at; i < at + count; ++i) {
    if (text[i] < '0' || text[i] > '9') return std::nullopt;
    value = value * 10 + (text[i] - '0');
  }
  return value;
}

// "2026-11-22T12:30:05Z", exactly.
std::optional<std::int64_t> parse_utc(std::string_view text) {
  if (text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' || text[16] != ':' || text[19] != 'Z') {
    return std::nullopt;
  }
  const auto year = digits(text, 0, 4), month = digits(text, 5, 2), day = digits(text, 8, 2);
  const auto hour = digits(text, 11, 2), minute = digits(text, 14, 2), second = digits(text, 17, 2);
  if (!year || !month || !day || !hour || !minute || !second) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(*year), std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok() || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
  const std::int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  return ((days * 24 + *hour) * 60 + *minute) * 60 + *second;
}

// A forged checkpoint may take more memory than there is, which proves no damage and must not end the daemon.
Result<store::ScrubReport> scrub_in_memory_there_is(const store::Store& store, const std::string& name,
                                                    const store::Pace& pace, bool recheck) {
  try {
    return store::scrub_checkpoint(store, name, pace, recheck);
  } catch (const std::bad_alloc&) {
    return Status(Code::no_space, "there is not enough memory to check it; nothing was marked");
  }
}

}  // namespace

std::optional<std::int64_t> time_in_mark(std::string_view text) {
  constexpr std::size_t kTimeBytes = 20;
  for (std::size_t at = 0; at + kTimeBytes <= text.size(); ++at) {
    if (const auto time = parse_utc(text.substr(at, kTimeBytes))) return time;
  }
  return std::nullopt;
}

Result<std::shared_ptr<Scrubber>> Scrubber::start(store::Store store, const ScrubOptions& options) {
  std::shared_ptr<Scrubber> scrubber(new Scrubber(std::move(store), options));
  SF_ASSIGN(scrubber->thread_, base::Thread::start("sf-scrub", [raw = scrubber.get()] { raw->run(); }));
  return scrubber;
}

Scrubber::~Scrubber() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void Scrubber::add_writer(const void* key, Writer writer) {
  const std::lock_guard lock(mutex_);
  writers_[key] = std::move(writer);
}

void Scrubber::remove_writer(const void* key) {
  const std::lock_guard lock(mutex_);
  writers_.erase(key);
}

void Scrubber::let_go() {
  std::unique_lock lock(mutex_);
  if (counters_.reading.empty()) return;
  letting_go_ = true;
  changed_.notify_all();
  changed_.wait_for(lock, std::chrono::milliseconds(kLetGoMs), [this] { return counters_.reading.empty() || stopping_; });
}

ScrubCounters Scrubber::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

void Scrubber::pause(std::uint64_t ms) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::milliseconds(ms), [this] { return stopping_; });
}

// False when what is being done is to end.
bool Scrubber::wait_while_writing() {
  std::unique_lock lock(mutex_);
  const auto writing = [this] {
    return std::any_of(writers_.begin(), writers_.end(), [](const auto& one) { return one.second.writing(); });
  };
  while (!stopping_ && !letting_go_ && writing()) {
    changed_.wait_for(lock, std::chrono::milliseconds(kWritingPollMs), [this] { return stopping_ || letting_go_; });
  }
  return !stopping_ && !letting_go_;
}

bool Scrubber::in_other_hands(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  return std::any_of(writers_.begin(), writers_.end(), [&](const auto& one) { return one.second.verifies(name); });
}

void Scrubber::run() {
  pause(options_.first_look_ms);
  for (;;) {
    if (!wait_while_writing()) return;
    mark_again();
    const auto due = next_due();
    if (!due.ok()) {
      base::log(base::LogLevel::warn, "scrub.failed", {{"store", store_.path()}, {"error", due.status().message()}});
    }
    if (due.ok() && *due) {
      scrub(**due);
    } else {
      pause(options_.look_again_ms);
    }
  }
}

// Unverified ones first. What was looked at and stays unverified (never confirmed, or unreadable) waits its turn like the rest.
Result<std::optional<Scrubber::Due>> Scrubber::next_due() {
  SF_ASSIGN(const std::vector<store::CheckpointRef> listed, store_.list());
  std::erase_if(looked_at_, [&](const auto& one) {
    return std::none_of(listed.begin(), listed.end(), [&](const auto& ref) { return ref.name == one.first; });
  });
  const std::int64_t now_seconds = now_unix_seconds();
  std::optional<Due> old;
  for (const store::CheckpointRef& ref : listed) {
    const auto marks = store_.marks(ref.name);
    if (!marks.ok() || marks->bad) continue;
    if (!marks->verified) {
      if ((!looked_at_.contains(ref.name) || is_old(ref.name, now_seconds)) && !in_other_hands(ref.name)) {
        return std::optional(Due{ref.name, false});
      }
    } else if (!old && is_old(ref.name, now_seconds)) {
      old = Due{ref.name, true};
    }
  }
  return old;
}

// Longer ago than every_seconds since this scrub looked at it, else since the time in its mark. A time that cannot be read, or lies
// far in the future, is as good as none.
bool Scrubber::is_old(const std::string& name, std::int64_t now_seconds) {
  if (options_.every_seconds == 0) return false;
  auto known = looked_at_.find(name);
  if (known == looked_at_.end()) {
    const auto text = store::mark_text(store_, name, format::kVerifiedMark);
    const auto time = text.ok() ? time_in_mark(*text) : std::nullopt;
    known = looked_at_.emplace(name, time.value_or(0)).first;
  }
  const std::int64_t age_seconds = now_seconds - known->second;
  return age_seconds < -kClockSlackSeconds || age_seconds > static_cast<std::int64_t>(options_.every_seconds);
}

void Scrubber::scrub(const Due& due) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    counters_.reading = due.name;
  }
  const store::Pace pace{options_.bytes_per_second, [this] { return wait_while_writing(); }};
  note(due, scrub_in_memory_there_is(store_, due.name, pace, due.recheck));
}

// What is known to be bad needs no second reading, only a disk that takes the mark.
void Scrubber::mark_again() {
  std::erase_if(unmarked_, [this](const auto& one) {
    const auto& [name, reason] = one;
    Status marked = store_.set_mark(name, format::kBadMark,
                                    "scrub " + base::utc_iso(base::system_clock().unix_ns()) + ": " + reason + "\n");
    if (marked.ok()) marked = store_.clear_mark(name, format::kVerifiedMark);
    return marked.ok() || marked.code() == Code::not_found;
  });
}

void Scrubber::note(const Due& due, const Result<store::ScrubReport>& done) {
  const bool ended = done.ok() && done->outcome == store::ScrubOutcome::ended;
  if (!ended) looked_at_[due.name] = now_unix_seconds();
  const bool bad = done.ok() && done->outcome == store::ScrubOutcome::bad;
  const bool read = done.ok() && !ended && done->outcome != store::ScrubOutcome::gone;
  std::string what = done.ok() ? word_of(done->outcome) : "could not be read: " + done.status().message();
  if (bad) what += ": " + done->reason;
  if (bad && !done->mark_error.ok()) {
    unmarked_[due.name] = done->reason;
    base::log(base::LogLevel::error, "scrub.bad",
              {{"store", store_.path()}, {"name", due.name}, {"reason", done->reason},
               {"mark", "could not be written, which is tried again: " + done->mark_error.message()},
               {"safe", "a restore finds the damage too and passes it over; older and newer checkpoints are untouched"}});
  } else if (bad) {
    base::log(base::LogLevel::error, "scrub.bad",
              {{"store", store_.path()}, {"name", due.name}, {"reason", done->reason},
               {"safe", "it is marked bad and no restore takes it; older and newer checkpoints are untouched"}});
  } else if (!ended) {
    base::log(done.ok() ? base::LogLevel::info : base::LogLevel::warn, "scrub.checked",
              {{"store", store_.path()}, {"name", due.name}, {"outcome", what}});
  }
  if (due.recheck && read && !bad) {
    // The next daemon shall not read it again at once.
    const std::string text = "re-read and checked again by scrub " + base::utc_iso(base::system_clock().unix_ns()) + "\n";
    const Status marked = store_.set_mark(due.name, format::kVerifiedMark, text);
    if (!marked.ok() && marked.code() != Code::not_found) {
      base::log(base::LogLevel::warn, "scrub.failed", {{"store", store_.path()}, {"error", marked.message()}});
    }
  }
  const std::lock_guard lock(mutex_);
  counters_.reading.clear();
  letting_go_ = false;
  changed_.notify_all();
  if (ended) return;
  counters_.checked += read ? 1 : 0;
  counters_.bad += bad ? 1 : 0;
  counters_.last = due.name + ": " + what;
}

}  // namespace stillframe::daemon
