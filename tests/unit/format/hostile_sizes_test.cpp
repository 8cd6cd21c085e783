// Claims of sizes that nothing has: refused before memory is taken. This program counts what `new` hands out.
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

#include "format/derived.hpp"
#include "format/safetensors.hpp"
#include "format/table.hpp"
#include "manifest_texts.hpp"

namespace {

std::atomic<std::size_t> live_bytes{0};
std::atomic<std::size_t> peak_bytes{0};

}  // namespace

// The sanitizers have an operator of their own: there only the refusals are tested.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
void* operator new(std::size_t size) {
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  const std::size_t live = live_bytes += malloc_usable_size(memory);
  peak_bytes = std::max(peak_bytes.load(), live);
  return memory;
}
void operator delete(void* memory) noexcept {
  live_bytes -= malloc_usable_size(memory);
  std::free(memory);
}
void operator delete(void* memory, std::size_t /*size*/) noexcept { operator delete(memory); }
#endif

namespace stillframe::format {
namespace {

constexpr std::size_t kSlackBytes = 256 * 1024;
// Of parsed JSON per byte of text; the worst is "[[],[],…", a vector of 40-byte values that grows by doubling.
constexpr std::size_t kBytesPerByte = 48;

template <typename Call>
std::size_t peak_of(Call call) {
  const std::size_t before = live_bytes;
  peak_bytes = before;
  call();
  return peak_bytes - before;
}

void expect_refused_in_bounds(const std::string& text, const char* said) {
  Status status;
  const std::size_t peak = peak_of([&] { status = decode_manifest(text).status(); });
  EXPECT_EQ(status.code(), Code::corrupt) << said;
  EXPECT_NE(status.message().find(said), std::string::npos) << status.message();
  EXPECT_LT(status.message().size(), 2000U);
  EXPECT_LT(peak, kBytesPerByte * text.size() + kSlackBytes) << said;
}

TEST(HostileSizes, ClaimsOfAManifestAreRefusedBeforeMemoryIsTaken) {
  const ChangedText cases[] = {
      {"\"image_bytes\": 26", "\"image_bytes\": 9223372036854775808", "image_bytes"},
      {"\"image_bytes\": 26", "\"image_bytes\": 140737488355328", "ranks[0]"},
      {"\"chunks\": 1", "\"chunks\": 18446744073709551615", "chunks"},
      {"\"world_size\": 1", "\"world_size\": 4294967297", "world_size"},
      {"\"raw_bytes\": 26", "\"raw_bytes\": 9223372036854775808", "raw_bytes"},
      {"\"stored_bytes\": 154", "\"stored_bytes\": 9223372036854775808", "stored_bytes"},
      {"\"rank-00000.data\", \"bytes\": 26", "\"rank-00000.data\", \"bytes\": 9223372036854775808", "bytes"},
      {"\"rank-00000.table\", \"bytes\": 128", "\"rank-00000.table\", \"bytes\": 9223372036854775808", "bytes"},
      {"\"shape\": [2, 3]", "\"shape\": [4294967296, 4294967296]", "shape"},
      {"\"shape\": [2, 3]", "\"shape\": [18446744073709551615, 0, 2]", "ranks[0]"},
      {"\"shape\": [2, 3]", "\"shape\": [-2, -3]", "shape"},
      {"\"shape\": [2, 3]", "\"shape\": [36893488147419103232]", "shape"},
      {"\"offset\": 24", "\"offset\": 18446744073709551615", "offset"},
      {"\"bytes\": 24}", "\"bytes\": 9223372036854775808}", "bytes"},
  };
  for (const ChangedText& c : cases) expect_refused_in_bounds(changed(c.from, c.to), c.said);
}

TEST(HostileSizes, LongTextsCostWhatTheyAre) {
  const std::string megabyte(1'000'000, 'n');
  expect_refused_in_bounds(changed("{\"name\": \"w\"", "{\"name\": \"" + megabyte + "\""), "65536");
  expect_refused_in_bounds(changed("\"run\": \"main\"", "\"run\": \"" + megabyte + "\""), "run");
  expect_refused_in_bounds(changed("\"group\": \"default\"", "\"group\": \"" + megabyte + "\""), "group");
  expect_refused_in_bounds(changed("\"sequence\": 42", "\"" + megabyte + "\": 42"), "sequence");
  expect_refused_in_bounds(changed("\"sequence\": 42", "\"sequence\": " + std::string(1'000'000, '9')), "JSON");
}

TEST(HostileSizes, ManyValuesCostWhatTheyAre) {
  std::string lists = "[";
  for (int i = 0; i < 300'000; ++i) lists += "[],";
  expect_refused_in_bounds(changed("\"shape\": [2, 3]", "\"shape\": " + lists + "[]]"), "shape");
  std::string entries;
  for (int i = 0; i < 20'000; ++i) {
    entries +=
        "{\"name\": \"" + std::to_string(i) + "\", \"dtype\": \"U8\", \"shape\": [], \"offset\": 0, \"bytes\": 1}, ";
  }
  expect_refused_in_bounds(changed("\"entries\": [", "\"entries\": [" + entries), "offset");
}

TEST(HostileSizes, ATextBeyondTheLimitIsNotLookedAt) {
  const std::string text(kMaxManifestBytes + 1, '{');
  for (const bool head : {false, true}) {
    Status status;
    const std::size_t peak =
        peak_of([&] { status = head ? decode_manifest_head(text).status() : decode_manifest(text).status(); });
    EXPECT_EQ(status.code(), Code::corrupt);
    EXPECT_LT(peak, kSlackBytes);
  }
}

TEST(HostileSizes, AHeadCostsWhatItIsAndNotWhatTheRanksAre) {
  Manifest manifest = small_manifest();
  std::vector<Entry> entries;
  for (int i = 0; i < 5000; ++i) entries.push_back({"layer." + std::to_string(i), DType::f32, {64, 64}, 0, 0});
  manifest.ranks[0].layout = lay_out(std::move(entries)).value();
  manifest.ranks[0].tree_json = "{}";
  manifest.ranks[0].data.bytes = 1;
  manifest.ranks[0].table.bytes = 64 * (1 + manifest.ranks[0].layout.chunk_count());
  const std::string text = encode_manifest(manifest).value();
  EXPECT_GT(text.size(), 400'000U);
  const std::size_t peak = peak_of([&] { EXPECT_TRUE(decode_manifest_head(text).ok()); });
  EXPECT_LT(peak, 32'768U);
}

TEST(HostileSizes, ATablesClaimsAreRefusedBeforeMemoryIsTaken) {
  for (const std::uint64_t image_bytes :
       std::initializer_list<std::uint64_t>{kMaxImageBytes, kMaxImageBytes + 1, 1ULL << 63U, ~0ULL}) {
    ChunkTable table;
    table.chunks.resize(1);
    auto bytes = encode_table(table);
    const auto header = std::span(bytes).first(64);
    base::store_le<std::uint64_t>(header, 16, base::ceil_div(image_bytes, kChunkBytes));
    base::store_le<std::uint64_t>(header, 24, image_bytes);
    base::store_le<std::uint32_t>(header, 60, base::crc32c(header.first(60)));
    Status status;
    const std::size_t peak = peak_of([&] { status = decode_table(bytes, {0, ~0ULL, {}}).status(); });
    EXPECT_EQ(status.code(), Code::corrupt) << image_bytes;
    EXPECT_LT(peak, kSlackBytes) << image_bytes;
  }
}

TEST(HostileSizes, PiecesOfADerivedChunkCostWhatTheyAre) {
  const std::vector<DerivedPiece> pieces(10'000, DerivedPiece{0, 0xFFFFFFFF, DerivedRule::copy});
  const auto bytes = encode_derived(pieces);
  Status status;
  const std::size_t peak = peak_of([&] { status = decode_derived(bytes, kChunkBytes, kMaxImageBytes).status(); });
  EXPECT_EQ(status.code(), Code::corrupt);
  EXPECT_LT(peak, bytes.size() + kSlackBytes);
}

TEST(HostileSizes, ASafetensorsHeadersClaimsAreRefusedBeforeMemoryIsTaken) {
  std::vector<std::byte> prefix(64);
  base::store_le<std::uint64_t>(prefix, 0, kMaxSafetensorsHeaderBytes);
  Status status;
  const std::size_t peak = peak_of([&] { status = read_safetensors_header(prefix, ~0ULL).status(); });
  EXPECT_EQ(status.code(), Code::corrupt);
  EXPECT_LT(peak, kSlackBytes);
}

}  // namespace
}  // namespace stillframe::format
