#include "apps/summary.hpp"

#include <set>

#include "store/checkpoint_files.hpp"

namespace stillframe::apps {
namespace {

// Of a store whose checkpoints are replaced faster than they are looked at.
constexpr int kMostListings = 8;

// Marks are for people: one whose text cannot be read still marks.
std::string reason_of_mark(const store::Store& store, const std::string& name, std::string_view mark) {
  auto text = store::mark_text(store, name, mark);
  if (!text.ok()) return "marked " + std::string(mark) + "; the mark cannot be read: " + text.status().message();
  return *std::move(text);
}

bool excluded(const format::Address& address, const store::CheckpointRef& ref) {
  return address.select == format::Select::step && address.step != ref.parsed.step;
}

}  // namespace

std::string state_name(State state) {
  switch (state) {
    case State::durable:
      return "durable";
    case State::verified:
      return "verified";
    case State::bad:
      return "bad";
    case State::unreadable:
      return "unreadable";
  }
  return "unknown";
}

Summary summarize(const store::Store& store, const store::CatalogEntry& entry) {
  Summary summary;
  summary.name = entry.ref.name;
  summary.sequence = entry.ref.parsed.sequence;
  summary.step = entry.ref.parsed.step;
  summary.utc = entry.ref.parsed.utc;
  summary.pinned = entry.marks.pinned;
  if (entry.marks.pinned) summary.pin_reason = reason_of_mark(store, summary.name, format::kPinnedMark);
  if (!entry.head.ok()) {
    summary.state = State::unreadable;
    summary.problem = entry.head.status().message();
    return summary;
  }
  summary.head = *entry.head;
  summary.stored_bytes = entry.manifest_bytes + entry.head->stored_bytes;
  if (entry.marks.bad) {
    summary.state = State::bad;
    summary.problem = reason_of_mark(store, summary.name, format::kBadMark);
  } else if (entry.marks.verified) {
    summary.state = State::verified;
  }
  return summary;
}

Result<std::vector<Summary>> summaries(const store::Store& store, const format::Address& address, std::size_t limit) {
  for (int listing = 1;; ++listing) {
    SF_ASSIGN(const auto refs, store.list());
    std::vector<Summary> found;
    bool any_removed = false;
    for (const store::CheckpointRef& ref : refs) {
      if (limit != 0 && found.size() == limit) break;
      if (excluded(address, ref)) continue;
      SF_ASSIGN(const auto entry, store::read_catalog_entry(store, ref));
      any_removed = any_removed || !entry;
      if (!entry) continue;
      const bool run_differs = !address.run.empty() && entry->head.ok() && entry->head->run != address.run;
      if (!run_differs) found.push_back(summarize(store, *entry));
    }
    // Where rotation took each one between the listing and the look at it, newer ones stand there.
    if (!found.empty() || !any_removed || listing == kMostListings) return found;
  }
}

std::string alarm_kinds(const std::vector<format::Alarm>& alarms) {
  std::set<std::string> kinds;
  for (const format::Alarm& alarm : alarms) kinds.insert(alarm.kind);
  std::string text;
  for (const std::string& kind : kinds) text += (text.empty() ? "" : ", ") + kind;
  return text;
}

}  // namespace stillframe::apps
