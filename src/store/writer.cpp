#include "store/writer.hpp"

#include "base/bytes.hpp"
#include "base/checksum.hpp"
#include "store/removal.hpp"

namespace stillframe::store {
namespace {

Status misuse(const std::string& what) { return Status(Code::invalid_argument, "writing a checkpoint: " + what); }

Status write_new_file_synced(env::Env& env, const std::string& path, std::span<const std::byte> bytes) {
  SF_ASSIGN(const auto file, env.create(path));
  SF_TRY(file->write_at(0, bytes));
  return file->sync();
}

bool same_rank(const format::RankManifest& a, const format::RankManifest& b) {
  return a.rank == b.rank && a.data == b.data && a.table == b.table && a.table_hash == b.table_hash &&
         a.table_crc32 == b.table_crc32 && a.layout.bytes == b.layout.bytes && a.layout.entries == b.layout.entries;
}

// Tree and metrics are compared as text by encoding once more: the decoder may hand them out in canonical form.
bool same_manifest(const format::Manifest& a, const format::Manifest& b) {
  if (a.sequence != b.sequence || a.id != b.id || a.run != b.run || a.step != b.step ||
      a.created_utc != b.created_utc || a.group != b.group || a.world_size != b.world_size || a.writer != b.writer ||
      a.ranks.size() != b.ranks.size()) {
    return false;
  }
  for (std::size_t i = 0; i < a.ranks.size(); ++i) {
    if (!same_rank(a.ranks[i], b.ranks[i])) return false;
  }
  return true;
}

Status differs(const std::string& file) {
  return Status(Code::internal,
                "'" + file +
                    "' does not decode to what was encoded, so the checkpoint was not published; "
                    "older checkpoints are untouched. This is a defect of Stillframe or of this machine's memory");
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
  if (made_ && !published_) remove_partial();
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

Status CheckpointWriter::give_up(Status failure) {
  data_.reset();
  failure_ = failure.with_context("the checkpoint '" + name_ + "' was given up (older checkpoints are untouched)");
  return failure_;
}

Status CheckpointWriter::begin_rank(std::uint32_t rank, std::uint64_t image_bytes) {
  SF_TRY(failure_);
  if (data_ || published_) return misuse("begin_rank() before end_rank(), or after commit()");
  if (!ranks_.empty() && rank <= ranks_.back().rank) return misuse("ranks must be begun in ascending order");
  auto data = store_.env().create(in_partial(format::data_file(rank)));
  if (!data.ok()) return give_up(data.status());
  data_ = *std::move(data);
  data_bytes_ = 0;
  rank_ = rank;
  table_ = format::ChunkTable{image_bytes, {}};
  return Status();
}

Status CheckpointWriter::append(format::ChunkRecord record, std::span<const std::byte> stored) {
  SF_TRY(failure_);
  if (!data_) return misuse("append() outside of a rank");
  if (table_.chunks.size() >= base::ceil_div(table_.image_bytes, kChunkBytes))
    return misuse("more chunks than the image has");
  if (record.stored_bytes != stored.size()) return misuse("stored_bytes is not the size of the stored bytes");
  record.location = format::LocationKind::own_bytes;
  record.offset = data_bytes_;
  if (Status written = data_->write_at(data_bytes_, stored); !written.ok()) return give_up(std::move(written));
  data_bytes_ += stored.size();
  table_.chunks.push_back(record);
  return Status();
}

Status CheckpointWriter::sync_data() {
  SF_TRY(failure_);
  if (!data_) return misuse("sync_data() outside of a rank");
  if (Status synced = data_->sync(); !synced.ok()) return give_up(std::move(synced));
  return Status();
}

Status CheckpointWriter::write_rank_files(format::RankManifest& rank) {
  SF_TRY(data_->sync());
  const std::vector<std::byte> bytes = format::encode_table(table_);
  const auto decoded = format::decode_table(bytes, {0, data_bytes_, {}});
  if (!decoded.ok()) return decoded.status().with_context("the new chunk table of rank " + std::to_string(rank_));
  if (*decoded != table_) return differs(in_partial(format::table_file(rank_)));
  SF_TRY(write_new_file_synced(store_.env(), in_partial(format::table_file(rank_)), bytes));
  rank.rank = rank_;
  rank.data = {format::data_file(rank_), data_bytes_, 0};
  rank.table = {format::table_file(rank_), bytes.size()};
  rank.table_hash = base::xxh128(bytes);
  rank.table_crc32 = base::crc32(bytes);
  return Status();
}

Status CheckpointWriter::end_rank(format::ImageLayout layout, std::string tree_json) {
  SF_TRY(failure_);
  if (!data_) return misuse("end_rank() outside of a rank");
  if (layout.bytes != table_.image_bytes || layout.chunk_count() != table_.chunks.size()) {
    return misuse("rank " + std::to_string(rank_) + " has " + std::to_string(table_.chunks.size()) +
                  " chunks, its layout " + std::to_string(layout.chunk_count()));
  }
  format::RankManifest rank;
  if (Status written = write_rank_files(rank); !written.ok()) return give_up(std::move(written));
  rank.layout = std::move(layout);
  rank.tree_json = std::move(tree_json);
  ranks_.push_back(std::move(rank));
  data_.reset();
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

Status CheckpointWriter::publish() {
  env::Env& env = store_.env();
  SF_TRY(env.sync_dir(partial_));
  SF_TRY(env.rename_no_replace(partial_, env::join(store_.path(), name_)));
  made_ = false;  // the partial directory has become the checkpoint
  const Status synced = env.sync_dir(store_.path());
  if (synced.ok()) return synced;
  // Visible but perhaps not durable: the caller is told that it failed, so nobody may find it.
  withdraw(store_, name_).ignore("the failed sync is what the caller must hear; recovery finishes the removal");
  return synced;
}

Result<Published> CheckpointWriter::commit(format::Manifest draft) {
  SF_TRY(failure_);
  if (data_ || published_ || ranks_.empty()) return misuse("commit() before end_rank(), twice, or without any rank");
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

void CheckpointWriter::remove_partial() noexcept {
  unlink_directory(store_.env(), partial_)
      .ignore("nobody reads a partial directory; recovery removes what is left of it");
}

}  // namespace stillframe::store
