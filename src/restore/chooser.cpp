#include "restore/chooser.hpp"

#include <atomic>

#include "base/futex.hpp"
#include "store/catalog.hpp"
#include "store/checkpoint_files.hpp"

namespace stillframe::restore {
namespace {

// Retention holds a checkpoint's lock for some milliseconds before its name is gone.
constexpr std::uint64_t kRemovalPatienceMs = 1000;
constexpr std::uint64_t kRemovalPollMs = 20;

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
  SF_ASSIGN(auto store, store::Store::open(env, address.store));
  format::Address wanted = address;
  if (wanted.run.empty()) wanted.run = store::kDefaultRun;
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
  candidates_.clear();
  none_.clear();
  position_ = 0;
  current_.reset();
  skipped_.clear();
  vanished_ = false;
  const bool by_sequence = address_.select == format::Select::latest || address_.select == format::Select::step;
  return by_sequence ? list_by_sequence() : list_by_heads();
}

// Names say enough; whether one belongs to the run shows when its turn comes.
Status Chooser::list_by_sequence() {
  const bool any_step = address_.select == format::Select::latest;
  SF_ASSIGN(auto listed, store_.list());
  for (auto& ref : listed) {
    if (!any_step && ref.parsed.step != address_.step) continue;
    const std::string why = any_step ? "the newest checkpoint of its run" : "the newest checkpoint of that step";
    candidates_.push_back({std::move(ref), why});
  }
  return Status();
}

Status Chooser::list_by_heads() {
  SF_ASSIGN(const auto catalog, store::read_catalog(store_));
  auto selection =
      address_.select == format::Select::best ? select_best(address_, catalog) : select_before_nan(address_, catalog);
  candidates_ = std::move(selection.candidates);
  none_ = std::move(selection.none);
  for (const auto& entry : catalog) {  // one of these may have been it, but nobody can tell: said rather than hidden
    if (!entry.head.ok()) skipped_.push_back({entry.ref.name, entry.ref.parsed.step, entry.head.status().message()});
  }
  return Status();
}

Status Chooser::next(std::string reason) {
  const auto& manifest = current_->manifest();
  skipped_.push_back({current_->name(), manifest.step, std::move(reason)});
  current_.reset();
  return advance();
}

// `current_` becomes the next candidate of the run that opens.
Status Chooser::advance() {
  const bool at_first = position_ == 0;
  while (position_ < candidates_.size()) {
    const Candidate& candidate = candidates_[position_++];
    auto reader = try_open(candidate);
    if (!reader.ok()) {  // it may be of another run, but nobody can tell: said rather than hidden
      vanished_ = vanished_ || reader.status().code() == Code::not_found;
      skipped_.push_back({candidate.ref.name, candidate.ref.parsed.step, reader.status().message()});
    } else if (*reader != nullptr) {
      current_ = *std::move(reader);
      why_ = candidate.why;
      return Status();
    }
  }
  return nothing_left(at_first);
}

// Null for one of another run.
Result<std::unique_ptr<store::CheckpointReader>> Chooser::try_open(const Candidate& candidate) {
  const std::string& name = candidate.ref.name;
  SF_ASSIGN(const auto entry, store::read_catalog_entry(store_, candidate.ref));
  if (!entry) return Status(Code::not_found, "it was removed meanwhile");
  SF_TRY(entry->head.status());
  if (entry->head->run != address_.run) return std::unique_ptr<store::CheckpointReader>();
  if (entry->marks.bad) return Status(Code::corrupt, bad_reason(store_, name));
  return store::CheckpointReader::open(store_, name);
}

Status Chooser::nothing_left(bool at_first) const {
  const std::string of_what = described(store_, address_);
  if (!none_.empty()) {
    return Status(Code::not_found, "there is no such checkpoint of " + of_what + ": " + none_ +
                                       (skipped_.empty() ? "" : "; not readable:" + list_of(skipped_)));
  }
  if (skipped_.empty()) return Status(Code::not_found, "there is no checkpoint of " + of_what);
  return Status(at_first ? Code::corrupt : Code::not_found,
                "no checkpoint of " + of_what + " can be restored; passed over:" + list_of(skipped_));
}

}  // namespace stillframe::restore
