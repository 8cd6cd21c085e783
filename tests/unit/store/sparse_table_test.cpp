// A manifest that claims a table of gigabytes, and a table that is a hole: refused in the memory of a small machine.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>

#include "base/bytes.hpp"
#include "store/checkpoint_files.hpp"
#include "store/reader.hpp"
#include "store/scrub.hpp"
#include "support/store_fixture.hpp"

namespace stillframe::test {
namespace {

using store::Store;

constexpr const char* kName = "000001-step000005-20261122T123005Z";

format::Manifest greedy_manifest() {
  format::RankManifest rank;
  rank.layout = format::lay_out({{"w", DType::u8, {kMaxImageBytes}}}).value();
  rank.data = {format::data_file(0), 0, 0};
  rank.table = {format::table_file(0), 64 * (1 + rank.layout.chunk_count())};
  rank.tree_json = format::flat_tree(rank.layout);
  format::Manifest manifest = draft_of("main", 5);
  manifest.sequence = 1;
  manifest.created_utc = "2026-11-22T12:30:05Z";
  manifest.ranks = {rank};
  return manifest;
}

// A right header, and then nothing but a hole.
void put_hole(const std::string& path) {
  format::ChunkTable table;
  table.chunks.resize(1);
  std::vector<std::byte> header = format::encode_table(table);
  header.resize(64);
  base::store_le<std::uint64_t>(header, 16, kMaxImageBytes / kChunkBytes);
  base::store_le<std::uint64_t>(header, 24, kMaxImageBytes);
  base::store_le<std::uint32_t>(header, 60, base::crc32c(std::span(header).first(60)));
  SF_ASSERT_OK(env::posix_env().create(path).value()->write_at(0, header));
  std::filesystem::resize_file(path, greedy_manifest().ranks[0].table.bytes);
}

// 0: all said so and nothing was held; else the number of the step that did not.
int check_in_a_gibibyte(const Store& store) {
  const rlimit gibibyte{1U << 30U, 1U << 30U};
  if (::setrlimit(RLIMIT_AS, &gibibyte) != 0) return 1;
  if (store::CheckpointReader::open(store, kName).status().code() != Code::corrupt) return 2;
  const auto report = store::verify(store, kName, store::VerifyDepth::full, {});
  if (!report.ok() || !report->damaged) return 3;
  const auto scrubbed = store::scrub_checkpoint(store, kName, {});
  return scrubbed.ok() && scrubbed->outcome == store::ScrubOutcome::bad ? 0 : 4;
}

TEST(SparseTable, CostsWhatItHoldsAndNotWhatItClaims) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer's own memory is beyond the limit";
#endif
  const TempDir dir;
  const auto store = Store::open_or_create(env::posix_env(), dir.path() + "/s");
  SF_ASSERT_OK(store);
  const std::string directory = env::join(store->path(), kName);
  SF_ASSERT_OK(env::posix_env().make_dir(directory));
  SF_ASSERT_OK(env::posix_env().create(env::join(directory, format::data_file(0))));
  put_hole(env::join(directory, format::table_file(0)));
  const std::string text = format::encode_manifest(greedy_manifest()).value();
  const auto file = env::posix_env().create(env::join(directory, format::kManifestFile));
  SF_ASSERT_OK((*file)->write_at(0, base::as_bytes(text)));
  EXPECT_EXIT(::_exit(check_in_a_gibibyte(*store)), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace stillframe::test
