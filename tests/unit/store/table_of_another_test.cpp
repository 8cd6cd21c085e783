// A chunk table that is whole in itself and of another checkpoint or image: only the manifest tells.
#include <gmock/gmock.h>

#include "support/store_fixture.hpp"
#include "unit/store/handmade.hpp"

namespace stillframe::test {
namespace {

using store::CheckpointReader;
using store::Store;
using testing::HasSubstr;

class TableOfAnother : public testing::Test {
 protected:
  // A container of raw chunks: of the same sizes for every step.
  Result<std::string> put(std::int64_t step) {
    SF_ASSIGN(const std::uint64_t sequence, store_.claim_sequence(base::Deadline::after_ms(10'000)));
    SF_ASSIGN(const auto writer, store::CheckpointWriter::begin(store_, "main", sequence, step, kUtcNs));
    const auto layout = three_chunk_layout();
    SF_TRY(writer->begin_rank(0, layout, store::DataKind::container));
    SF_TRY(append_image(*writer, layout, image_of(layout, step), codec::CodecId::raw));
    SF_TRY(writer->end_rank(format::flat_tree(layout)));
    SF_TRY(writer->commit(draft_of("main", step)).status());
    return writer->name();
  }

  FaultEnv env_;
  Store store_ = Store::open_or_create(env_, "/s").value();
};

TEST_F(TableOfAnother, AnOlderCheckpointsDataReplayedTogetherWithItsTableIsFound) {
  const auto older = put(1);
  SF_ASSERT_OK(older);
  const auto newer = put(2);
  SF_ASSERT_OK(newer);
  for (const std::string& replayed : {format::data_file(0), format::table_file(0)}) {
    const auto stale = content_of(env_, file_of(store_, *older, replayed));
    SF_ASSERT_OK(stale);
    SF_ASSERT_OK(overwrite(env_, file_of(store_, *newer, replayed), *stale));
  }
  const auto reader = CheckpointReader::open(store_, *newer);
  ASSERT_EQ(reader.status().code(), Code::corrupt);
  EXPECT_THAT(reader.status().message(), HasSubstr("does not match the hash that the manifest holds"));
}

TEST_F(TableOfAnother, OneForAnImageOfAnotherSizeIsRefused) {
  Handmade made;
  made.table.image_bytes -= 2;
  made.table.chunks.back().raw_bytes -= 2;
  std::string name;
  SF_ASSERT_OK(made.put(store_, name));
  const auto reader = CheckpointReader::open(store_, name);
  ASSERT_EQ(reader.status().code(), Code::corrupt);
  EXPECT_THAT(reader.status().message(), HasSubstr("another size"));
}

}  // namespace
}  // namespace stillframe::test
