#include "store/rank_files.hpp"

#include <algorithm>
#include <cstring>

#include "base/checksum.hpp"
#include "codec/codec.hpp"
#include "format/derived.hpp"
#include "store/data_header.hpp"

namespace stillframe::store {
namespace {

using format::ChunkRecord;
using format::LocationKind;

Status wrong(const std::string& what) { return Status(Code::corrupt, what); }

// The file that the record points into; null when it could not be opened.
const env::File* file_of(const RankFiles& files, const ChunkRecord& record) {
  if (record.location != LocationKind::shared) return files.data.get();
  return record.source < files.shared.size() ? files.shared[record.source].get() : nullptr;
}

Status read_stored(const RankFiles& files, const ChunkRecord& record, std::span<std::byte> stored) {
  const env::File* const file = file_of(files, record);
  if (file == nullptr) return Status(Code::io_error, "the file that holds it could not be opened");
  SF_ASSIGN(const std::size_t got, file->read_at(record.offset, stored));
  if (got != stored.size()) {
    return wrong("the file ends inside the chunk (" + std::to_string(got) + " of " + std::to_string(stored.size()) +
                 " bytes are there)");
  }
  return base::crc32c(stored) == record.stored_crc32c ? Status() : wrong("the stored bytes do not match their CRC-32C");
}

// Room for the stored bytes: raw chunks need no second buffer, they are read to where they belong and checked there.
std::span<std::byte> stored_space(const ChunkRecord& record, std::span<std::byte> raw,
                                  std::vector<std::byte>& scratch) {
  const bool in_place =
      record.codec == static_cast<std::uint8_t>(codec::CodecId::raw) && record.stored_bytes == raw.size();
  if (in_place) return raw;
  if (scratch.size() < record.stored_bytes) scratch.resize(record.stored_bytes);
  return std::span(scratch).first(record.stored_bytes);
}

Status check_raw(const ChunkRecord& record, std::span<const std::byte> raw) {
  if (base::xxh128(raw) != record.raw_hash) return wrong("the content does not match its XXH3-128");
  if (base::crc32(raw) != record.raw_crc32) return wrong("the content does not match its CRC-32");
  return Status();
}

// A chunk whose bytes come from nowhere but its own record.
Result<std::uint64_t> read_plain(const RankFiles& files, const ChunkRecord& record, std::span<std::byte> raw,
                                 std::vector<std::byte>& scratch) {
  if (record.location == LocationKind::constant) {
    format::fill_constant(record.pattern, raw);
    SF_TRY(check_raw(record, raw));
    return std::uint64_t{0};
  }
  const std::span<std::byte> stored = stored_space(record, raw, scratch);
  SF_TRY(read_stored(files, record, stored));
  if (stored.data() != raw.data()) SF_TRY(codec::decode(record.codec, stored, raw));
  SF_TRY(check_raw(record, raw));
  return std::uint64_t{record.stored_bytes};
}

// Ranges of the image out of checked chunks that are not derived themselves. Keeps the last chunk: the pieces of a
// derived one follow each other.
class Sources {
 public:
  explicit Sources(const RankFiles& files) : files_(files) {}

  Status read(std::uint64_t offset, std::span<std::byte> into) {
    while (!into.empty()) {
      SF_TRY(load(offset / kChunkBytes));
      const std::uint64_t inside = offset % kChunkBytes;
      if (inside >= raw_.size()) return wrong("it is derived from bytes behind the image");
      const std::size_t part = std::min<std::size_t>(into.size(), raw_.size() - inside);
      std::memcpy(into.data(), raw_.data() + inside, part);
      into = into.subspan(part);
      offset += part;
    }
    return Status();
  }
  [[nodiscard]] std::uint64_t bytes_read() const noexcept { return bytes_read_; }

 private:
  Status load(std::uint64_t chunk) {
    if (loaded_ && chunk_ == chunk) return Status();
    loaded_ = false;
    if (chunk >= files_.table.chunks.size()) return wrong("it is derived from bytes behind the image");
    const ChunkRecord& record = files_.table.chunks[chunk];
    if (record.location == LocationKind::derived) return wrong("it is derived from a chunk that is derived itself");
    raw_.resize(record.raw_bytes);
    const auto read = read_plain(files_, record, raw_, scratch_);
    if (!read.ok()) return read.status().with_context("its source, chunk " + std::to_string(chunk));
    bytes_read_ += *read;
    chunk_ = chunk;
    loaded_ = true;
    return Status();
  }

  const RankFiles& files_;
  std::vector<std::byte> raw_;
  std::vector<std::byte> scratch_;
  std::uint64_t chunk_ = 0;
  bool loaded_ = false;
  std::uint64_t bytes_read_ = 0;
};

Result<std::uint64_t> read_derived(const RankFiles& files, const ChunkRecord& record, std::span<std::byte> raw) {
  std::vector<std::byte> stored(record.stored_bytes);
  SF_TRY(read_stored(files, record, stored));
  SF_ASSIGN(const auto pieces, format::decode_derived(stored, raw.size(), files.table.image_bytes));
  SF_TRY(format::check_sources(pieces, files.table));
  Sources sources(files);
  std::vector<std::byte> source;
  std::span<std::byte> rest = raw;
  for (const format::DerivedPiece& piece : pieces) {
    source.resize(format::derived_source_bytes(piece));
    SF_TRY(sources.read(piece.source_offset, source));
    SF_TRY(format::apply_rule(piece.rule, source, rest.first(piece.raw_bytes)));
    rest = rest.subspan(piece.raw_bytes);
  }
  SF_TRY(check_raw(record, raw));
  return record.stored_bytes + sources.bytes_read();
}

}  // namespace

void RankFiles::drop_cache() const noexcept {
  if (data != nullptr) data->drop_cache();
  for (const auto& file : shared) {
    if (file != nullptr) file->drop_cache();
  }
}

Result<RankFiles> open_rank(const Store& store, const std::string& directory, const format::ManifestHead& head,
                            const format::RankManifest& rank) {
  RankFiles files;
  SF_ASSIGN(files.table, read_table(store, directory, rank, ReadFrom::cache));
  const std::string data_path = env::join(directory, rank.data.file);
  SF_ASSIGN(files.data, open_promised(store, data_path));
  SF_TRY(check_size(*files.data, data_path, rank.data.bytes));
  SF_TRY(check_data_header(*files.data, data_path, head, rank));
  for (const format::SharedFile& shared : rank.shared) {
    const std::string path = env::join(directory, shared.file);
    SF_ASSIGN(auto file, open_promised(store, path));
    SF_TRY(check_size(*file, path, shared.bytes));
    files.shared.push_back(std::move(file));
  }
  return files;
}

Result<std::uint64_t> read_chunk(const RankFiles& files, std::uint64_t chunk, std::span<std::byte> raw,
                                 std::vector<std::byte>& scratch) {
  const ChunkRecord& record = files.table.chunks[chunk];
  if (raw.size() != record.raw_bytes) {
    return Status(Code::invalid_argument, "the buffer has " + std::to_string(raw.size()) + " bytes, the chunk " +
                                              std::to_string(record.raw_bytes));
  }
  if (record.location == LocationKind::derived) return read_derived(files, record, raw);
  return read_plain(files, record, raw, scratch);
}

const std::string& file_of_chunk(const format::RankManifest& rank, const ChunkRecord& record) {
  if (record.location == LocationKind::constant) return rank.table.file;
  if (record.location == LocationKind::shared && record.source < rank.shared.size()) {
    return rank.shared[record.source].file;
  }
  return rank.data.file;
}

std::string tensors_of_chunk(const format::ImageLayout& layout, std::uint64_t chunk) {
  constexpr std::size_t kNamed = 4;
  const auto range = format::entries_of_chunk(layout, chunk);
  std::string text;
  for (std::size_t i = range.first; i < range.last && i < range.first + kNamed; ++i) {
    text += (text.empty() ? "" : ", ") + layout.entries[i].name;
  }
  if (range.last > range.first + kNamed) text += " and " + std::to_string(range.last - range.first - kNamed) + " more";
  return text;
}

}  // namespace stillframe::store
