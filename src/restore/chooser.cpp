#include "restore/chooser.hpp"

#include <atomic>

#include "base/futex.hpp"
#include "store/checkpoint_files.hpp"

namespace stillframe::restore {
namespace {

// Retention holds a checkpoint's lock for some milliseconds before its name is gone.
constexpr std::uint64_t kRemovalPatienceMs = 1000;
constexpr std::uint64_t kRemovalPollMs = 20;

constexpr std::string_view kDefaultRun = "main";

std::string bad_reason(const store::Store& store, const std::string& name) {
  const auto text = store::mark_text(store, name, format::kBadMark);
  if (!text.ok()) return "marked bad (the mark cannot be read: " + text.status().message() + ")";
  return text->empty() ? "marked bad" : "marked bad: " + *text;
}

std::string list_of(const std::vector<Skipped>& skipped) {
  std::string text;
  for (const Skipped& one : skipped) text += "\n  " + one.name + ": " + one.reason;
  return text;
}

std::string described(const store::Store& store, const format::Address& address) {
  std::string text = "run '" + address.run + "' of the store '" + store.path() + "'";
  return address.select == format::Select::step ? text + " at step " + std::to_string(address.step) : text;
}

}  // namespace

Result<Chooser> Chooser::open(env::Env& env, const format::Address& address) {
  if (address.select == format::Select::best || address.select == format::Select::before_nan) {
    return Status(Code::unsupported, format::to_string(address) + ": expected @latest or @<step>");
  }
  SF_ASSIGN(auto store, store::Store::open(env, address.store));
  format::Address wanted = address;
  if (wanted.run.empty()) wanted.run = kDefaultRun;
  Chooser chooser(std::move(store), std::move(wanted));
  const auto patience = base::Deadline::after_ms(kRemovalPatienceMs);
  const std::atomic<std::uint32_t> never{0};
  for (;;) {
    SF_TRY(chooser.list());
    const Status chosen = chooser.advance();
    // What went away between listing and opening made room for a newer one, which the next listing shows.
    if (!chooser.vanished_ || patience.expired()) return chosen.ok() ? Result<Chooser>(std::move(chooser)) : chosen;
    base::futex_wait(never, 0, patience.at_most_ms(kRemovalPollMs));
  }
}

Status Chooser::list() {
  SF_ASSIGN(auto listed, store_.list());
  candidates_.clear();
  for (auto& ref : listed) {
    const bool any_step = address_.select != format::Select::step;
    if (any_step || ref.parsed.step == address_.step) candidates_.push_back(std::move(ref));
  }
  position_ = 0;
  current_.reset();
  skipped_.clear();
  vanished_ = false;
  return Status();
}

Status Chooser::next(std::string reason) {
  const auto& manifest = current_->manifest();
  skipped_.push_back({current_->name(), manifest.step, std::move(reason)});
  current_.reset();
  return advance();
}

// `current_` becomes the next older candidate of the run that opens.
Status Chooser::advance() {
  const bool first = position_ == 0;
  for (; position_ < candidates_.size(); ++position_) {
    const auto& ref = candidates_[position_];
    const auto skip = [&](std::string reason) { skipped_.push_back({ref.name, ref.parsed.step, std::move(reason)}); };
    auto opened = store::open_manifest(store_, ref.name, store::ReadFrom::cache);
    if (!opened.ok()) {  // it may be of another run, but nobody can tell: said rather than hidden
      vanished_ = vanished_ || opened.status().code() == Code::not_found;
      skip(opened.status().message());
      continue;
    }
    if (opened->manifest.run != address_.run) continue;
    const auto marks = store_.marks(ref.name);
    if (!marks.ok()) {
      skip(marks.status().message());
      continue;
    }
    if (marks->bad) {
      skip(bad_reason(store_, ref.name));
      continue;
    }
    auto reader = store::CheckpointReader::open(store_, *std::move(opened));
    if (!reader.ok()) {
      skip(reader.status().message());
      continue;
    }
    current_ = *std::move(reader);
    ++position_;
    return Status();
  }
  if (skipped_.empty()) {
    return Status(Code::not_found, "there is no checkpoint of " + described(store_, address_));
  }
  return Status(first ? Code::corrupt : Code::not_found, "no checkpoint of " + described(store_, address_) +
                                                             " can be restored; passed over:" + list_of(skipped_));
}

}  // namespace stillframe::restore
