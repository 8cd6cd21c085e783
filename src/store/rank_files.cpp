#include "store/rank_files.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/bytes.hpp"
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
std::span<std::byte> stored_space(const ChunkRecord& record, std::span<std::byte> raw, std::vector<std::byte>& stored) {
  const bool in_place =
      record.codec == static_cast<std::uint8_t>(codec::CodecId::raw) && record.stored_bytes == raw.size();
  if (in_place) return raw;
  if (stored.size() < record.stored_bytes) stored.resize(record.stored_bytes);
  return std::span(stored).first(record.stored_bytes);
}

Status check_raw(const ChunkRecord& record, std::span<const std::byte> raw) {
  if (base::xxh128(raw) != record.raw_hash) return wrong("the content does not match its XXH3-128");
  if (base::crc32(raw) != record.raw_crc32) return wrong("the content does not match its CRC-32");
  return Status();
}

// A chunk whose bytes come from nowhere but its own record.
Result<std::uint64_t> read_plain(const RankFiles& files, const ChunkRecord& record, std::span<std::byte> raw,
                                 ReadScratch& scratch) {
  if (record.location == LocationKind::constant) {
    format::fill_constant(record.pattern, raw);
    SF_TRY(check_raw(record, raw));
    return std::uint64_t{0};
  }
  const std::span<std::byte> stored = stored_space(record, raw, scratch.stored);
  SF_TRY(read_stored(files, record, stored));
  if (stored.data() != raw.data()) SF_TRY(codec::decode(record.codec, stored, raw, scratch.context));
  SF_TRY(check_raw(record, raw));
  return std::uint64_t{record.stored_bytes};
}

// Source bytes of a derived chunk that lie in one chunk of the image, and where they go among all of its source bytes.
struct SourcePart {
  std::uint64_t chunk = 0;
  std::uint32_t begin = 0;
  std::uint32_t bytes = 0;
  std::size_t target = 0;
};

// In the order of the chunks, so that each chunk is read once, however the pieces jump between them.
std::vector<SourcePart> source_parts(std::span<const format::DerivedPiece> pieces) {
  std::vector<SourcePart> parts;
  std::size_t target = 0;
  for (const format::DerivedPiece& piece : pieces) {
    std::uint64_t offset = piece.source_offset;
    for (std::uint64_t rest = format::derived_source_bytes(piece); rest > 0;) {
      const std::uint64_t begin = offset % kChunkBytes;
      const std::uint64_t bytes = std::min(rest, kChunkBytes - begin);
      parts.push_back(
          {offset / kChunkBytes, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(bytes), target});
      target += bytes;
      offset += bytes;
      rest -= bytes;
    }
  }
  std::sort(parts.begin(), parts.end(), [](const SourcePart& a, const SourcePart& b) {
    return std::pair(a.chunk, a.target) < std::pair(b.chunk, b.target);
  });
  return parts;
}

Status copy_out(std::span<const SourcePart> parts, std::span<const std::byte> chunk, std::span<std::byte> into) {
  for (const SourcePart& part : parts) {
    if (chunk.size() < part.begin || chunk.size() - part.begin < part.bytes) {
      return wrong("it is derived from bytes behind the image");
    }
    std::memcpy(into.data() + part.target, chunk.data() + part.begin, part.bytes);
  }
  return Status();
}

// The checked source bytes of all pieces, one after another: at most twice the chunk. Returns the bytes read for them.
Result<std::uint64_t> gather_sources(const RankFiles& files, std::span<const SourcePart> parts,
                                     std::span<std::byte> into, ReadScratch& scratch, const SourceRead& source_read) {
  std::vector<std::byte> raw;
  std::uint64_t bytes_read = 0;
  while (!parts.empty()) {
    const std::uint64_t chunk = parts.front().chunk;
    const auto end = std::find_if(parts.begin(), parts.end(), [&](const SourcePart& p) { return p.chunk != chunk; });
    const auto in_chunk = parts.first(static_cast<std::size_t>(end - parts.begin()));
    raw.resize(files.table.chunks[chunk].raw_bytes);
    const auto read = read_plain(files, files.table.chunks[chunk], raw, scratch);
    if (!read.ok()) return read.status().with_context("its source, chunk " + std::to_string(chunk));
    SF_TRY(copy_out(in_chunk, raw, into));
    bytes_read += *read;
    if (source_read && !source_read(*read)) {
      return Status(Code::deadline, "the reading of a derived chunk was ended early");
    }
    parts = parts.subspan(in_chunk.size());
  }
  return bytes_read;
}

Result<std::uint64_t> read_derived(const RankFiles& files, const ChunkRecord& record, std::span<std::byte> raw,
                                   ReadScratch& scratch, const SourceRead& source_read) {
  std::vector<std::byte> stored(record.stored_bytes);
  SF_TRY(read_stored(files, record, stored));
  SF_ASSIGN(const auto pieces, format::decode_derived(stored, raw.size(), files.table.image_bytes));
  SF_TRY(format::check_sources(pieces, files.table));
  std::size_t source_bytes = 0;
  for (const format::DerivedPiece& piece : pieces) source_bytes += format::derived_source_bytes(piece);
  std::vector<std::byte> sources(source_bytes);
  SF_ASSIGN(const std::uint64_t bytes_read, gather_sources(files, source_parts(pieces), sources, scratch, source_read));
  std::span<const std::byte> source = sources;
  std::span<std::byte> rest = raw;
  for (const format::DerivedPiece& piece : pieces) {
    const std::size_t bytes = format::derived_source_bytes(piece);
    SF_TRY(format::apply_rule(piece.rule, source.first(bytes), rest.first(piece.raw_bytes)));
    source = source.subspan(bytes);
    rest = rest.subspan(piece.raw_bytes);
  }
  SF_TRY(check_raw(record, raw));
  return record.stored_bytes + bytes_read;
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
                                 ReadScratch& scratch, const SourceRead& source_read) {
  const ChunkRecord& record = files.table.chunks[chunk];
  if (raw.size() != record.raw_bytes) {
    return Status(Code::invalid_argument, "the buffer has " + std::to_string(raw.size()) + " bytes, the chunk " +
                                              std::to_string(record.raw_bytes));
  }
  if (record.location == LocationKind::derived) return read_derived(files, record, raw, scratch, source_read);
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
  constexpr std::size_t kShownBytes = 200;
  const auto range = format::entries_of_chunk(layout, chunk);
  std::string text;
  for (std::size_t i = range.first; i < range.last && i < range.first + kNamed; ++i) {
    text += (text.empty() ? "" : ", ") + base::shortened(layout.entries[i].name, kShownBytes);
  }
  if (range.last > range.first + kNamed) text += " and " + std::to_string(range.last - range.first - kNamed) + " more";
  return text;
}

}  // namespace stillframe::store
