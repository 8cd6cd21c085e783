#include "store/writer.hpp"

#include "base/bytes.hpp"
#include "store/new_file.hpp"
#include "store/removal.hpp"

namespace stillframe::store {
namespace {

bool same_rank(const format::RankManifest& a, const format::RankManifest& b) {
  return a.rank == b.rank && a.data == b.data && a.shared == b.shared && a.table == b.table &&
         a.table_hash == b.table_hash && a.table_crc32 == b.table_crc32 && a.layout.bytes == b.layout.bytes &&
         a.layout.entries == b.layout.entries;
}

// Tree and metrics are compared as text by encoding once more: the decoder may hand them out in canonical form.
bool same_manifest(const format::Manifest& a, const format::Manifest& b) {
  if (a.sequence != b.sequence || a.id != b.id || a.run != b.run || a.step != b.step ||
      a.created_utc != b.created_utc || a.group != b.group || a.world_size != b.world_size ||
      a.confirmed != b.confirmed || a.alarms != b.alarms || a.writer != b.writer || a.ranks.size() != b.ranks.size()) {
    return false;
  }
  for (std::size_t i = 0; i < a.ranks.size(); ++i) {
    if (!same_rank(a.ranks[i], b.ranks[i])) return false;
  }
  return true;
}

}  // namespace

CheckpointWriter::CheckpointWriter(const Store& store, std::string run, std::uint64_t sequence, std::int64_t step,
                                   std::int64_t utc_ns)
    : store_(store),
      run_(std::move(run)),
      sequence_(sequence),
      step_(step),
      utc_ns_(utc_ns),
      name_(format::to_string(format::CheckpointName{sequence, step, base::utc_compact(utc_ns)})),
      partial_(env::join(store.path(), format::partial_name(name_, run_))) {}

CheckpointWriter::~CheckpointWriter() {
  part_.reset();
  if (!made_) return;
  unlink_directory(store_.env(), partial_)
      .status()
      .ignore("nobody reads a partial directory; recovery removes what is left of it");
}

Result<std::unique_ptr<CheckpointWriter>> CheckpointWriter::begin(const Store& store, const std::string& run,
                                                                  std::uint64_t sequence, std::int64_t step,
                                                                  std::int64_t utc_ns) {
  SF_TRY(format::check_run_name(run));
  std::unique_ptr<CheckpointWriter> writer(new CheckpointWriter(store, run, sequence, step, utc_ns));
  SF_TRY(store.env().make_dir(writer->partial_).with_context("beginning the checkpoint '" + writer->name_ + "'"));
  writer->made_ = true;
  return writer;
}

std::string CheckpointWriter::in_partial(std::string_view file) const { return env::join(partial_, file); }

// What is told of the bytes written so far. They go at once: on a full disk others wait for them.
std::string CheckpointWriter::free_partial(Code reason) {
  if (!made_) return {};
  const auto freed = unlink_directory(store_.env(), partial_);
  if (!freed.ok()) {
    return "; what it had written could not be removed and goes at the next start (" + freed.status().message() + ")";
  }
  made_ = false;
  std::string text = "; the " + base::human_bytes(*freed) + " that it had written were freed";
  if (reason != Code::no_space) return text;
  if (part_) text += ", the image of this rank has " + base::human_bytes(part_->layout().bytes);
  const auto space = store_.env().space(store_.path());
  return space.ok() ? text + ", and " + base::human_bytes(space->free_bytes) + " are free now" : text;
}

Status CheckpointWriter::give_up(Status failure) {
  failure_ = Status(failure.code(), "the checkpoint '" + name_ + "' was given up (older checkpoints are untouched): " +
                                        failure.message() + free_partial(failure.code()));
  return failure_;
}

// A failure of the rank's files ends the checkpoint; a misuse does not.
Status CheckpointWriter::of_part(Status done) { return part_->failed() ? give_up(std::move(done)) : done; }

Status CheckpointWriter::begin_rank(std::uint32_t rank, format::ImageLayout layout, DataKind kind) {
  SF_TRY(failure_);
  if (part_ || published_) return misuse("begin_rank() before end_rank(), or after commit()");
  if (!ranks_.empty() && rank <= ranks_.back().rank) return misuse("ranks must be begun in ascending order");
  SF_ASSIGN(part_, RankPart::plan(store_.env(), partial_, run_, step_, rank, std::move(layout), kind));
  return of_part(part_->open());
}

Status CheckpointWriter::append(format::ChunkRecord record, std::span<const std::byte> stored) {
  SF_TRY(failure_);
  if (!part_) return misuse("append() outside of a rank");
  return of_part(part_->append(record, stored));
}

Status CheckpointWriter::sync_data() {
  SF_TRY(failure_);
  if (!part_) return misuse("sync_data() outside of a rank");
  return of_part(part_->sync_data());
}

Status CheckpointWriter::end_rank(std::string tree_json) {
  SF_TRY(failure_);
  if (!part_) return misuse("end_rank() outside of a rank");
  auto rank = part_->end(std::move(tree_json));
  if (!rank.ok()) return of_part(rank.status());
  part_.reset();
  return add_rank(std::move(rank).value());
}

Result<std::unique_ptr<RankPart>> CheckpointWriter::open_part(std::uint32_t rank, format::ImageLayout layout,
                                                              DataKind kind) const {
  SF_ASSIGN(auto part, RankPart::plan(store_.env(), partial_, run_, step_, rank, std::move(layout), kind));
  SF_TRY(part->open());
  return part;
}

Status CheckpointWriter::add_rank(format::RankManifest rank) {
  if (published_) return misuse("add_rank() after commit()");
  if (!ranks_.empty() && rank.rank <= ranks_.back().rank) return misuse("ranks must be added in ascending order");
  ranks_.push_back(std::move(rank));
  return Status();
}

Result<std::uint64_t> CheckpointWriter::write_manifest(const format::Manifest& manifest) {
  const std::string path = in_partial(format::kManifestFile);
  SF_ASSIGN(const std::string text, format::encode_manifest(manifest));
  SF_ASSIGN(const format::Manifest decoded, format::decode_manifest(text));
  SF_ASSIGN(const std::string again, format::encode_manifest(decoded));
  if (!same_manifest(manifest, decoded) || text != again) return differs(path);
  SF_TRY(write_new_file_synced(store_.env(), path, base::as_bytes(text)));
  return std::uint64_t{text.size()};
}

// Where the answer to a rename was lost, as on a network, the names tell whether it was done.
Status CheckpointWriter::take_final_name() {
  env::Env& env = store_.env();
  const std::string path = env::join(store_.path(), name_);
  const Status renamed = env.rename_no_replace(partial_, path);
  if (renamed.ok()) return renamed;
  const auto there = env.exists(path);
  const auto left = env.exists(partial_);
  const bool done = there.ok() && *there && left.ok() && !*left;
  return done ? Status() : renamed;
}

Status CheckpointWriter::publish() {
  env::Env& env = store_.env();
  SF_TRY(env.sync_dir(partial_));
  SF_TRY(take_final_name());
  made_ = false;  // the partial directory has become the checkpoint
  const Status synced = env.sync_dir(store_.path());
  if (synced.ok()) return synced;
  // Visible but perhaps not durable: the caller is told that it failed, so nobody may find it.
  const Status withdrawn = take_name_away(store_, name_);
  if (withdrawn.ok()) {
    unlink_directory(env, env::join(store_.path(), format::removing_name(name_)))
        .status()
        .ignore("the failed sync is what the caller must hear; recovery finishes the removal");
    return synced;
  }
  const auto stands = env.exists(env::join(store_.path(), name_));
  if (stands.ok() && !*stands) return synced;  // renamed: recovery finishes the removal
  return Status(synced.code(), synced.message() + "; nor could it be withdrawn (" + withdrawn.message() +
                                   "): whole as it is, it stands under its name all the same, and a power loss may "
                                   "take that away");
}

Result<Published> CheckpointWriter::commit(format::Manifest draft) {
  SF_TRY(failure_);
  if (part_ || published_ || ranks_.empty()) return misuse("commit() before end_rank(), twice, or without any rank");
  if (draft.run != run_ || draft.step != step_) return misuse("the manifest's run and step are not those of begin()");
  draft.sequence = sequence_;
  draft.created_utc = base::utc_iso(utc_ns_);
  draft.ranks = std::move(ranks_);
  ranks_.clear();
  Published published{name_, sequence_, 0, 0};
  for (const auto& rank : draft.ranks) {
    published.raw_bytes += rank.layout.bytes;
    published.stored_bytes += rank.data.bytes + rank.table.bytes;
  }
  const auto manifest_bytes = write_manifest(draft);
  if (!manifest_bytes.ok()) return give_up(manifest_bytes.status());
  published.stored_bytes += *manifest_bytes;
  if (Status done = publish(); !done.ok()) return give_up(std::move(done));
  published_ = true;
  return published;
}

}  // namespace stillframe::store
