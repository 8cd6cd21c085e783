#include "apps/summary.hpp"

#include "store/checkpoint_files.hpp"
#include "store/reader.hpp"

namespace stillframe::apps {
namespace {

// Marks are for people: one whose text cannot be read still marks.
std::string reason_of_mark(const store::Store& store, const std::string& name, std::string_view mark) {
  auto text = store::mark_text(store, name, mark);
  if (!text.ok()) return "marked " + std::string(mark) + "; the mark cannot be read: " + text.status().message();
  return *std::move(text);
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

void apply_marks(const store::Store& store, const store::Marks& marks, Summary& summary) {
  summary.pinned = marks.pinned;
  if (marks.bad) {
    summary.state = State::bad;
    summary.problem = reason_of_mark(store, summary.name, format::kBadMark);
  } else if (marks.verified) {
    summary.state = State::verified;
  }
}

void apply_manifest(const format::Manifest& manifest, std::uint64_t manifest_bytes, Summary& summary) {
  summary.run = manifest.run;
  summary.world_size = manifest.world_size;
  summary.stored_bytes = manifest_bytes;
  for (const format::RankManifest& rank : manifest.ranks) {
    summary.tensors += rank.layout.entries.size();
    summary.raw_bytes += rank.layout.bytes;
    summary.stored_bytes += rank.data.bytes + rank.table.bytes;
  }
}

Result<std::optional<Summary>> summarize(const store::Store& store, const store::CheckpointRef& ref) {
  Summary summary;
  summary.name = ref.name;
  summary.sequence = ref.parsed.sequence;
  summary.step = ref.parsed.step;
  summary.utc = ref.parsed.utc;
  const auto reader = store::CheckpointReader::open(store, ref.name);
  if (!reader.ok() && reader.status().code() == Code::not_found) return std::optional<Summary>();
  const auto marks = store.marks(ref.name);
  if (!marks.ok()) {
    SF_ASSIGN(const bool there, store.env().exists(env::join(store.path(), ref.name)));
    if (!there) return std::optional<Summary>();
  }
  if (marks.ok()) apply_marks(store, *marks, summary);
  if (reader.ok()) {
    apply_manifest((*reader)->manifest(), (*reader)->manifest_text().size(), summary);
  }
  if (!reader.ok() || !marks.ok()) {
    summary.state = State::unreadable;
    summary.problem = reader.ok() ? marks.status().message() : reader.status().message();
  }
  return std::optional<Summary>(std::move(summary));
}

Result<std::vector<Summary>> summaries(const store::Store& store, const format::Address& address, std::size_t limit) {
  SF_ASSIGN(const auto refs, store.list());
  std::vector<Summary> found;
  for (const store::CheckpointRef& ref : refs) {
    if (limit != 0 && found.size() == limit) break;
    if (address.select == format::Select::step && address.step != ref.parsed.step) continue;
    SF_ASSIGN(std::optional<Summary> summary, summarize(store, ref));
    if (!summary) continue;
    const bool run_differs = !address.run.empty() && !summary->run.empty() && summary->run != address.run;
    if (!run_differs) found.push_back(*std::move(summary));
  }
  return found;
}

}  // namespace stillframe::apps
