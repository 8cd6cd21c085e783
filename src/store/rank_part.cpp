#include "store/rank_part.hpp"

#include "base/bytes.hpp"
#include "base/checksum.hpp"
#include "store/data_header.hpp"
#include "store/new_file.hpp"

namespace stillframe::store {

RankPart::RankPart(env::Env& env, std::string directory, std::uint32_t rank, format::ImageLayout layout, DataKind kind,
                   std::string header)
    : env_(env),
      directory_(std::move(directory)),
      rank_(rank),
      kind_(kind),
      header_(std::move(header)),
      layout_(std::move(layout)),
      table_{layout_.bytes, {}},
      data_ref_{kind == DataKind::safetensors ? format::safetensors_file(rank) : format::data_file(rank), 0,
                header_.size()} {}

Result<std::unique_ptr<RankPart>> RankPart::plan(env::Env& env, std::string directory, const std::string& run,
                                                 std::int64_t step, std::uint32_t rank, format::ImageLayout layout,
                                                 DataKind kind) {
  std::string header;
  if (kind == DataKind::safetensors) {
    SF_ASSIGN(header, make_data_header(run, step, layout));
  }
  return std::unique_ptr<RankPart>(
      new RankPart(env, std::move(directory), rank, std::move(layout), kind, std::move(header)));
}

std::string RankPart::path_of(std::string_view file) const { return env::join(directory_, file); }

Status RankPart::fail(Status failure) {
  data_.reset();
  failure_ = failure;
  return failure;
}

Status RankPart::open() {
  auto data = env_.create(path_of(data_ref_.file));
  if (!data.ok()) return fail(data.status());
  data_ = *std::move(data);
  return header_.empty() ? Status() : write_data(base::as_bytes(header_));
}

Status RankPart::write_data(std::span<const std::byte> bytes) {
  if (Status written = data_->write_at(data_ref_.bytes, bytes); !written.ok()) return fail(std::move(written));
  data_ref_.bytes += bytes.size();
  return Status();
}

Status RankPart::check_append(const format::ChunkRecord& record, std::span<const std::byte> stored) const {
  if (!data_) return misuse("append() outside of a rank");
  if (table_.chunks.size() >= layout_.chunk_count()) return misuse("more chunks than the image has");
  if (record.stored_bytes != stored.size()) return misuse("stored_bytes is not the size of the stored bytes");
  const bool own = record.location == format::LocationKind::own_bytes;
  if (!own && record.location != format::LocationKind::constant) {
    return misuse("this version writes own and constant chunks");
  }
  constexpr auto kRaw = static_cast<std::uint8_t>(codec::CodecId::raw);
  if (kind_ == DataKind::safetensors && (!own || record.codec != kRaw || record.stored_bytes != record.raw_bytes)) {
    return misuse("a safetensors file takes raw chunks only");
  }
  return Status();
}

Status RankPart::append(format::ChunkRecord record, std::span<const std::byte> stored) {
  SF_TRY(failure_);
  SF_TRY(check_append(record, stored));
  if (record.location == format::LocationKind::own_bytes) {
    record.offset = data_ref_.bytes;
    SF_TRY(write_data(stored));
  }
  table_.chunks.push_back(record);
  return Status();
}

Status RankPart::sync_data() {
  SF_TRY(failure_);
  if (!data_) return misuse("sync_data() outside of a rank");
  if (Status synced = data_->sync(); !synced.ok()) return fail(std::move(synced));
  return Status();
}

Status RankPart::write_files(format::RankManifest& rank) {
  SF_TRY(data_->sync());
  const std::vector<std::byte> bytes = format::encode_table(table_);
  rank.version = format::lowest_version(table_);
  const auto decoded = format::decode_table(bytes, {data_ref_.start, data_ref_.bytes, {}, rank.version});
  if (!decoded.ok()) return decoded.status().with_context("the new chunk table of rank " + std::to_string(rank_));
  if (*decoded != table_) return differs(path_of(format::table_file(rank_)));
  SF_TRY(write_new_file_synced(env_, path_of(format::table_file(rank_)), bytes));
  rank.rank = rank_;
  rank.data = data_ref_;
  rank.table = {format::table_file(rank_), bytes.size()};
  rank.table_hash = base::xxh128(bytes);
  rank.table_crc32 = base::crc32(bytes);
  return Status();
}

Result<format::RankManifest> RankPart::end(std::string tree_json) {
  SF_TRY(failure_);
  if (!data_) return misuse("end_rank() outside of a rank");
  if (layout_.chunk_count() != table_.chunks.size()) {
    return misuse("rank " + std::to_string(rank_) + " has " + std::to_string(table_.chunks.size()) +
                  " chunks, its layout " + std::to_string(layout_.chunk_count()));
  }
  format::RankManifest rank;
  if (Status written = write_files(rank); !written.ok()) return fail(std::move(written));
  rank.layout = std::move(layout_);
  rank.tree_json = std::move(tree_json);
  data_.reset();
  return rank;
}

}  // namespace stillframe::store
