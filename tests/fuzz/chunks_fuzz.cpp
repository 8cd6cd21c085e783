// A chunk container: table, records of every location, derived pieces and codecs over data and shared files in memory.
//
// Input: u8 chunks (1 below 0xF0), u16 bytes of the last chunk, u8 shared files, then of each u16 bytes and the bytes; then 64 bytes
// per record as they stand in a table; the rest is the data file. The whole input is also tried as a table. What no
// mutator can guess (sizes that the image gives, offsets, checksums) is made right, so that the insides are reached.
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "base/bytes.hpp"
#include "base/checksum.hpp"
#include "format/derived.hpp"
#include "format/table.hpp"
#include "harness.hpp"
#include "store/rank_files.hpp"

namespace stillframe::fuzz {
namespace {

using format::ChunkRecord;
using format::LocationKind;

constexpr std::size_t kMostChunks = 3;
constexpr std::uint8_t kSeveralChunks = 0xF0;
constexpr std::size_t kMostShared = 3;
constexpr std::size_t kRecordBytes = 64;
// A chunk is 1 MiB, and derived ones hold a source and a piece beside it.
constexpr std::size_t kReadingBytes = 8 * kChunkBytes;

class MemoryFile final : public env::File {
 public:
  explicit MemoryFile(std::span<const std::byte> bytes) : bytes_(bytes) {}
  Status write_at(std::uint64_t /*offset*/, std::span<const std::byte> /*bytes*/) override {
    return {Code::io_error, "read only"};
  }
  Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> into) const override {
    if (offset >= bytes_.size()) return std::size_t{0};
    const std::size_t count = std::min<std::size_t>(into.size(), bytes_.size() - offset);
    std::memcpy(into.data(), bytes_.data() + offset, count);
    return count;
  }
  Result<std::uint64_t> size() const override { return std::uint64_t{bytes_.size()}; }
  Result<env::FileInfo> info() const override { return env::FileInfo{}; }
  Status sync() override { return {}; }
  void drop_cache() const noexcept override {}

 private:
  std::span<const std::byte> bytes_;
};

void decode_as_table(std::span<const std::byte> bytes, const format::TableBounds& bounds) {
  const MemoryBound bound(bytes.size(), 4, 16 * 1024);
  require_words(format::decode_table(bytes, bounds));
}

class Container {
 public:
  explicit Container(Input& input) {
    const std::uint8_t several = input.byte();  // rarely: each but the last is 1 MiB
    const std::size_t chunks = several < kSeveralChunks ? 1 : 1 + several % kMostChunks;
    table_.image_bytes = (chunks - 1) * kChunkBytes + 1 + input.number(2);
    shared_.resize(input.byte() % (kMostShared + 1));
    for (auto& file : shared_) file = input.take(input.number(2));
    const auto records = input.take(chunks * kRecordBytes);
    data_ = input.rest();
    for (const auto& file : shared_) bounds_.shared_bytes.push_back(file.size());
    for (std::size_t i = 0; i < chunks; ++i) add(records.subspan(std::min(i * kRecordBytes, records.size())));
    bounds_.data_bytes = own_end_;
    bounds_.version = format::kFormatVersion;
  }

  // Reads every chunk, twice where only the checksums of the content were wrong: then with the right ones.
  void read() {
    const auto encoded = format::encode_table(table_);
    const auto decoded = format::decode_table(encoded, bounds_);
    require_words(decoded);
    if (!decoded.ok()) return;
    require(*decoded == table_, "a table does not decode to what was encoded");
    require(format::encode_table(*decoded) == encoded, "a table is not written as it was read");
    store::RankFiles files = open();
    // A derived chunk reads from those that are not.
    for (const bool derived : {false, true}) {
      for (std::size_t i = 0; i < table_.chunks.size(); ++i) {
        if ((files.table.chunks[i].location == LocationKind::derived) == derived) read_chunk(files, i);
      }
    }
  }

 private:
  // The record's fields, with those that follow from the others made right.
  void add(std::span<const std::byte> bytes) {
    std::array<std::byte, kRecordBytes> field{};
    std::copy_n(bytes.begin(), std::min(bytes.size(), field.size()), field.begin());
    const std::size_t chunk = table_.chunks.size();
    ChunkRecord record;
    record.location = static_cast<LocationKind>(std::to_integer<unsigned>(field[0]) % 5U);
    record.codec = static_cast<std::uint8_t>(std::to_integer<unsigned>(field[1]) % 4U);  // one of them is not known
    record.raw_bytes = static_cast<std::uint32_t>(std::min(kChunkBytes, table_.image_bytes - chunk * kChunkBytes));
    record.stored_bytes = base::load_le<std::uint32_t>(field, 8);
    record.offset = base::load_le<std::uint64_t>(field, 16);
    switch (record.location) {
      case LocationKind::constant:
        record.codec = 0;
        record.stored_bytes = 0;
        record.offset = 0;
        std::copy_n(field.begin() + 44, record.pattern.size(), record.pattern.begin());
        break;
      case LocationKind::shared:
        record.source = base::load_le<std::uint16_t>(field, 2);
        if (record.source < shared_.size()) place(record, shared_[record.source], record.offset);
        break;
      default:
        if (record.location == LocationKind::derived) record.codec = 0;
        place(record, data_, own_end_);
        own_end_ += record.stored_bytes;
    }
    table_.chunks.push_back(record);
  }

  static void place(ChunkRecord& record, std::span<const std::byte> file, std::uint64_t offset) {
    record.offset = file.empty() ? 0 : std::min<std::uint64_t>(offset, file.size());
    const auto left = static_cast<std::uint32_t>(file.size() - record.offset);
    if (record.codec == 0 && record.location != LocationKind::derived) record.stored_bytes = record.raw_bytes;
    record.stored_bytes = std::min({record.stored_bytes, record.raw_bytes, left});
    constexpr auto kPiece = static_cast<std::uint32_t>(format::kPieceBytes);
    if (record.location == LocationKind::derived) record.stored_bytes -= record.stored_bytes % kPiece;
    record.stored_crc32c = base::crc32c(file.subspan(record.offset, record.stored_bytes));
  }

  store::RankFiles open() {
    store::RankFiles files;
    files.data = std::make_unique<MemoryFile>(data_);
    for (const auto& file : shared_) files.shared.push_back(std::make_unique<MemoryFile>(file));
    files.table = table_;
    return files;
  }

  static void read_chunk(store::RankFiles& files, std::size_t chunk) {
    ChunkRecord& record = files.table.chunks[chunk];
    std::vector<std::byte> raw(record.raw_bytes);
    const MemoryBound bound(0, 0, kReadingBytes);
    store::ReadScratch scratch;
    const auto first = store::read_chunk(files, chunk, raw, scratch);
    require_words(first);
    if (first.ok() || !first.status().message().starts_with("the content does not match its XXH3-128")) return;
    record.raw_hash = base::xxh128(raw);
    record.raw_crc32 = base::crc32(raw);
    const auto second = store::read_chunk(files, chunk, raw, scratch);
    require(second.ok(), "a chunk with the right checksums is refused");
  }

  std::vector<std::span<const std::byte>> shared_;
  std::span<const std::byte> data_;
  format::ChunkTable table_;
  format::TableBounds bounds_;
  std::uint64_t own_end_ = 0;
};

}  // namespace
}  // namespace stillframe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stillframe;
  fuzz::decode_as_table(fuzz::bytes_of(data, size), {0, 1000, {1000}});
  fuzz::Input input(data, size);
  fuzz::Container(input).read();
  return 0;
}
