// A machine whose memory flips a bit between encoding and writing: the writer decodes what it encoded, compares, and
// publishes nothing. The linker sends the store's calls of the two encoders here (--wrap, tests/CMakeLists.txt), and
// one bit goes wrong under checksums that are right.
#include <gmock/gmock.h>

#include "support/store_fixture.hpp"

namespace stillframe::test {
namespace {

// Which call from now on gives a wrong result; 0: none.
int defect_in_table = 0;
int defect_in_manifest = 0;

bool is_due(int& countdown) { return countdown > 0 && --countdown == 0; }

}  // namespace
}  // namespace stillframe::test

namespace stillframe::format {

// What the linker calls in place of encode_table(), and the function itself.
std::vector<std::byte> wrapped_table(const ChunkTable& table) asm(
    "__wrap__ZN10stillframe6format12encode_tableERKNS0_10ChunkTableE");
std::vector<std::byte> real_table(const ChunkTable& table) asm(
    "__real__ZN10stillframe6format12encode_tableERKNS0_10ChunkTableE");
Result<std::string> wrapped_manifest(const Manifest& manifest) asm(
    "__wrap__ZN10stillframe6format15encode_manifestB5cxx11ERKNS0_8ManifestE");
Result<std::string> real_manifest(const Manifest& manifest) asm(
    "__real__ZN10stillframe6format15encode_manifestB5cxx11ERKNS0_8ManifestE");

std::vector<std::byte> wrapped_table(const ChunkTable& table) {
  if (!test::is_due(test::defect_in_table)) return real_table(table);
  ChunkTable flipped = table;
  flipped.chunks.back().raw_crc32 ^= 1U;
  return real_table(flipped);
}

Result<std::string> wrapped_manifest(const Manifest& manifest) {
  if (!test::is_due(test::defect_in_manifest)) return real_manifest(manifest);
  Manifest flipped = manifest;
  flipped.ranks.back().table_crc32 ^= 1U;
  return real_manifest(flipped);
}

}  // namespace stillframe::format

namespace stillframe::test {
namespace {

using store::Store;
using testing::HasSubstr;
using testing::IsEmpty;

class Defects : public testing::Test {
 protected:
  void expect_refused() {
    const auto published = publish(store_, "main", 1);
    ASSERT_EQ(published.status().code(), Code::internal) << published.status().message();
    EXPECT_THAT(published.status().message(), HasSubstr("does not decode to what was encoded"));
    EXPECT_THAT(store_.list().value(), IsEmpty());
    SF_ASSERT_OK(publish(store_, "main", 2));
  }

  FaultEnv env_;
  Store store_ = Store::open_or_create(env_, "/s").value();
};

TEST_F(Defects, ATableThatDecodesToSomethingElseIsNotPublished) {
  defect_in_table = 1;
  expect_refused();
}

TEST_F(Defects, AManifestThatDecodesToSomethingElseIsNotPublished) {
  defect_in_manifest = 1;
  expect_refused();
}

TEST_F(Defects, AManifestThatIsNotWrittenTheSameTwiceIsNotPublished) {
  defect_in_manifest = 2;
  expect_refused();
}

}  // namespace
}  // namespace stillframe::test
