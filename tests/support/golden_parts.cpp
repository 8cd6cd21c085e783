#include "golden_parts.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "base/bytes.hpp"
#include "format/names.hpp"
#include "format/safetensors.hpp"

namespace stillframe::test {
namespace {

template <typename T>
void append_le(std::string& out, T value) {
  std::array<std::byte, sizeof(T)> bytes{};
  base::store_le<T>(bytes, 0, value);
  out += base::as_text(bytes);
}

void append_length(std::string& out, std::size_t length) {
  for (length -= 15; length >= 255; length -= 255) out += '\xFF';
  out += static_cast<char>(length);
}

void append_sequence(std::string& out, std::string_view literals, std::size_t distance, std::size_t match) {
  const std::size_t low = match == 0 ? 0 : std::min<std::size_t>(match - 4, 15);
  out += static_cast<char>(std::min<std::size_t>(literals.size(), 15) << 4U | low);
  if (literals.size() >= 15) append_length(out, literals.size());
  out += literals;
  if (match == 0) return;
  append_le<std::uint16_t>(out, static_cast<std::uint16_t>(distance));
  if (low == 15) append_length(out, match - 4);
}

// One LZ4 block, greedy, with the ends that the format demands: the last five bytes are literals, and no match begins
// in the last twelve.
std::string lz4_block(std::string_view plain) {
  std::string out;
  std::vector<std::size_t> last_seen(1U << 16U, std::string_view::npos);
  std::size_t anchor = 0;
  std::size_t at = 0;
  while (plain.size() >= 12 && at < plain.size() - 12) {
    const auto word = base::load_le<std::uint32_t>(base::as_bytes(plain), at);
    std::size_t& seen = last_seen[word * 2654435761U >> 16U];
    const std::size_t from = std::exchange(seen, at);
    std::size_t match = 0;
    if (from != std::string_view::npos && at - from < 65536) {
      while (at + match < plain.size() - 5 && plain[from + match] == plain[at + match]) ++match;
    }
    if (match < 4) {
      ++at;
      continue;
    }
    append_sequence(out, plain.substr(anchor, at - anchor), at - from, match);
    anchor = at += match;
  }
  append_sequence(out, plain.substr(anchor), 0, 0);
  return out;
}

}  // namespace

std::string sha256_hex(std::span<const std::byte> bytes) {
  // The first 32 bits of the fractions of square roots of the first 8 primes, and of cube roots of the first 64.
  std::array<std::uint32_t, 8> state{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  static constexpr std::array<std::uint32_t, 64> kRound{
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
      0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
      0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
      0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
      0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
      0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
      0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
      0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
  std::string text(base::as_text(bytes));
  text += '\x80';
  while (text.size() % 64 != 56) text += '\0';
  for (int shift = 56; shift >= 0; shift -= 8)
    text += static_cast<char>(bytes.size() * 8 >> static_cast<unsigned>(shift));
  for (std::size_t block = 0; block < text.size(); block += 64) {
    std::array<std::uint32_t, 64> w{};
    for (std::size_t i = 0; i < 64; ++i) w[i / 4] = w[i / 4] << 8U | static_cast<unsigned char>(text[block + i]);
    for (std::size_t i = 16; i < 64; ++i) {
      const std::uint32_t s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ w[i - 15] >> 3U;
      const std::uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ w[i - 2] >> 10U;
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (std::size_t i = 0; i < 64; ++i) {
      const std::uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
      const std::uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + kRound[i] + w[i];
      const std::uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
      const std::uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
      h = std::exchange(g, std::exchange(f, std::exchange(e, d + t1)));
      d = std::exchange(c, std::exchange(b, std::exchange(a, t1 + t2)));
    }
    const std::array<std::uint32_t, 8> sum{a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < state.size(); ++i) state[i] += sum[i];
  }
  std::string hex;
  for (const std::uint32_t word : state) {
    for (int shift = 28; shift >= 0; shift -= 4) hex += "0123456789abcdef"[word >> static_cast<unsigned>(shift) & 15U];
  }
  return hex;
}

std::string encode_planes(std::span<const std::byte> raw, std::span<const ElementRun> runs) {
  std::string head;
  std::string payload;
  append_le<std::uint16_t>(head, static_cast<std::uint16_t>(runs.size()));
  std::size_t begin = 0;
  for (const ElementRun& run : runs) {
    append_le<std::uint32_t>(head, run.bytes);
    head += static_cast<char>(run.element_bytes);
    for (std::size_t plane = 0; plane < run.element_bytes; ++plane) {
      std::string plain;
      for (std::size_t i = plane; i < run.bytes; i += run.element_bytes) plain += static_cast<char>(raw[begin + i]);
      const std::string packed = lz4_block(plain);
      const bool smaller = packed.size() < plain.size();
      head += smaller ? '\1' : '\0';
      append_le<std::uint32_t>(head, static_cast<std::uint32_t>(smaller ? packed.size() : plain.size()));
      payload += smaller ? packed : plain;
    }
    begin += run.bytes;
  }
  return head + payload;
}

GoldenRank::GoldenRank(std::uint32_t rank, std::vector<Entry> entries) {
  manifest_.rank = rank;
  manifest_.layout = format::lay_out(std::move(entries)).value();
  manifest_.data.file = format::data_file(rank);
  image_.resize(manifest_.layout.bytes);
  table_.image_bytes = image_.size();
}

std::span<std::byte> GoldenRank::tensor(const std::string& name) {
  for (const Entry& entry : layout().entries) {
    if (entry.name == name) return std::span(image_).subspan(entry.offset, entry.bytes);
  }
  throw std::logic_error("a golden checkpoint has no tensor " + name);
}

std::span<const std::byte> GoldenRank::next_chunk(format::ChunkRecord& record) const {
  const std::uint64_t chunk = table_.chunks.size();
  const auto raw = std::span(image_).subspan(chunk * kChunkBytes, layout().chunk_length(chunk));
  record.raw_bytes = static_cast<std::uint32_t>(raw.size());
  record.raw_hash = base::xxh128(raw);
  record.raw_crc32 = base::crc32(raw);
  return raw;
}

void GoldenRank::add_own(format::ChunkRecord record, const std::string& stored) {
  record.stored_bytes = static_cast<std::uint32_t>(stored.size());
  record.offset = data_.size();
  record.stored_crc32c = base::crc32c(base::as_bytes(stored));
  data_ += stored;
  table_.chunks.push_back(record);
}

void GoldenRank::begin_safetensors(const std::string& run, std::int64_t step) {
  manifest_.data.file = format::safetensors_file(manifest_.rank);
  data_ = format::safetensors_prefix(
              layout().entries, {{"format", "pt"}, {"stillframe.run", run}, {"stillframe.step", std::to_string(step)}})
              .value();
  manifest_.data.start = data_.size();
}

void GoldenRank::add_raw() {
  format::ChunkRecord record;
  add_own(record, std::string(base::as_text(next_chunk(record))));
}

void GoldenRank::add_planes() {
  format::ChunkRecord record;
  record.codec = 1;
  const auto raw = next_chunk(record);
  add_own(record, encode_planes(raw, format::element_runs(layout(), table_.chunks.size())));
}

void GoldenRank::add_stored(std::uint8_t codec, const std::string& stored) {
  format::ChunkRecord record;
  record.codec = codec;
  (void)next_chunk(record);
  add_own(record, stored);
}

void GoldenRank::add_constant() {
  format::ChunkRecord record;
  record.location = format::LocationKind::constant;
  const auto raw = next_chunk(record);
  std::copy_n(raw.begin(), record.pattern.size(), record.pattern.begin());
  table_.chunks.push_back(record);
}

void GoldenRank::add_derived(std::span<const format::DerivedPiece> pieces) {
  format::ChunkRecord record;
  record.location = format::LocationKind::derived;
  (void)next_chunk(record);
  add_own(record, std::string(base::as_text(format::encode_derived(pieces))));
}

void GoldenRank::add_shared(std::uint16_t source, std::uint64_t offset, std::uint32_t stored_bytes,
                            std::uint8_t codec) {
  format::ChunkRecord record;
  record.location = format::LocationKind::shared;
  record.codec = codec;
  record.source = source;
  (void)next_chunk(record);
  record.offset = offset;
  record.stored_bytes = stored_bytes;
  record.stored_crc32c = base::crc32c(base::as_bytes(shared_.at(source)).subspan(offset, stored_bytes));
  table_.chunks.push_back(record);
}

std::uint16_t GoldenRank::share(const std::string& content, const std::string& from) {
  const auto index = static_cast<std::uint16_t>(shared_.size());
  manifest_.shared.push_back({format::shared_file(manifest_.rank, index), content.size(), from});
  shared_.push_back(content);
  return index;
}

format::RankManifest GoldenRank::finish(const std::string& prefix, std::string tree_json, Golden& golden) {
  const std::vector<std::byte> table = format::encode_table(table_);
  manifest_.version = format::lowest_version(table_);
  manifest_.data.bytes = data_.size();
  manifest_.table = {format::table_file(manifest_.rank), table.size()};
  manifest_.table_hash = base::xxh128(table);
  manifest_.table_crc32 = base::crc32(table);
  manifest_.tree_json = std::move(tree_json);
  golden.files[prefix + manifest_.data.file] = data_;
  golden.files[prefix + manifest_.table.file] = base::as_text(table);
  for (std::size_t i = 0; i < shared_.size(); ++i) golden.files[prefix + manifest_.shared[i].file] = shared_[i];
  golden.images[prefix + std::to_string(manifest_.rank)] = image_;
  return manifest_;
}

}  // namespace stillframe::test
