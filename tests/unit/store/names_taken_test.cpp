// A name that stands already, whoever made it, is never renamed over.
#include <gmock/gmock.h>

#include "support/store_fixture.hpp"

namespace stillframe::test {
namespace {

using store::Store;
using testing::HasSubstr;

class NamesTaken : public StoreTest {};
INSTANTIATE_TEST_SUITE_P(On, NamesTaken, testing::Values(EnvKind::posix, EnvKind::mem), env_kind_name);

// An empty directory is what a plain rename would replace.
TEST_P(NamesTaken, ACommitIsRefusedWhereItsFinalNameStands) {
  const Store store = make_store();
  const auto sequence = store.claim_sequence(base::Deadline::after_ms(10'000));
  SF_ASSERT_OK(sequence);
  const auto writer = store::CheckpointWriter::begin(store, "main", *sequence, 1, kUtcNs);
  SF_ASSERT_OK(writer);
  const std::string taken = env::join(store.path(), (*writer)->name());
  SF_ASSERT_OK(env().make_dir(taken));
  const auto layout = three_chunk_layout();
  SF_ASSERT_OK((*writer)->begin_rank(0, layout, store::DataKind::container));
  SF_ASSERT_OK(append_image(**writer, layout, image_of(layout, 1), codec::CodecId::raw));
  SF_ASSERT_OK((*writer)->end_rank(format::flat_tree(layout)));
  EXPECT_EQ((*writer)->commit(draft_of("main", 1)).status().code(), Code::busy);
  EXPECT_TRUE(env().list(taken)->empty());
}

TEST_P(NamesTaken, ARemovalIsRefusedWhereItsNameForRemovalStands) {
  const Store store = make_store();
  const auto published = publish(store, "main", 1);
  SF_ASSERT_OK(published);
  SF_ASSERT_OK(env().make_dir(env::join(store.path(), format::removing_name(published->name))));
  EXPECT_EQ(store.remove(published->name).status().code(), Code::busy);
  SF_ASSERT_OK(check_whole(store, published->name, 1));
}

}  // namespace
}  // namespace stillframe::test
