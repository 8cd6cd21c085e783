// One look over a store: heads, marks, and what it takes on the disk.
#include "store/catalog.hpp"

#include <gmock/gmock.h>

#include "support/store_fixture.hpp"

namespace stillframe::test {
namespace {

using store::find_step;
using store::Prefer;
using store::read_catalog;
using store::Store;
using store::store_bytes;
using testing::HasSubstr;

class Catalogs : public StoreTest {
 protected:
  void SetUp() override { store_ = std::make_unique<Store>(make_store()); }
  std::string add(const std::string& run, std::int64_t step, const std::string& metrics = "{}") {
    format::Manifest draft = draft_of(run, step);
    draft.metrics_json = metrics;
    draft.confirmed = step % 2 == 0;
    draft.alarms = {{"test_alarm", "step " + std::to_string(step)}};
    return publish_draft(*store_, draft)->name;
  }
  std::unique_ptr<Store> store_;
};
INSTANTIATE_TEST_SUITE_P(On, Catalogs, testing::Values(EnvKind::posix, EnvKind::mem), env_kind_name);

TEST_P(Catalogs, HeadsAndMarksNewestFirst) {
  const std::string first = add("main", 30, R"({"loss":0.5})");
  const std::string second = add("other", 7);
  SF_ASSERT_OK(store_->set_mark(first, format::kVerifiedMark, "x"));
  SF_ASSERT_OK(store_->set_mark(first, format::kPinnedMark, "x"));
  const auto catalog = read_catalog(*store_);
  SF_ASSERT_OK(catalog);
  ASSERT_EQ(catalog->size(), 2U);
  const auto& newest = (*catalog)[0];
  const auto& oldest = (*catalog)[1];
  EXPECT_EQ(newest.ref.name, second);
  EXPECT_EQ(oldest.ref.name, first);
  SF_ASSERT_OK(oldest.head);
  EXPECT_EQ(oldest.head->run, "main");
  EXPECT_EQ(oldest.head->step, 30);
  EXPECT_TRUE(oldest.head->confirmed);
  EXPECT_EQ(format::metric_number(oldest.head->metrics_json, "loss"), 0.5);
  ASSERT_EQ(oldest.head->alarms.size(), 1U);
  EXPECT_EQ(oldest.head->alarms[0].text, "step 30");
  EXPECT_EQ(oldest.head->raw_bytes, three_chunk_layout().bytes);
  EXPECT_EQ(oldest.manifest_bytes, content_of(env(), file_of(*store_, first, format::kManifestFile))->size());
  EXPECT_TRUE(oldest.marks.verified && oldest.marks.pinned && !oldest.marks.bad);
  EXPECT_FALSE(newest.head->confirmed);
  EXPECT_FALSE(newest.marks.verified);
}

TEST_P(Catalogs, AStepIsFoundWhateverItsStateAndItsPinnedOneBeforeTheNewest) {
  const std::string pinned = add("main", 1000);
  const std::string newest = add("main", 1000);
  add("other", 1000);
  add("main", 2000);
  const auto found = [&](Prefer prefer) { return find_step(*store_, "main", 1000, prefer).value().ref.name; };
  EXPECT_EQ(found(Prefer::pinned), newest) << "none bears a pin";
  SF_ASSERT_OK(store_->set_mark(pinned, format::kPinnedMark, "x"));
  SF_ASSERT_OK(store_->set_mark(pinned, format::kBadMark, "x"));
  EXPECT_EQ(found(Prefer::pinned), pinned);
  EXPECT_EQ(found(Prefer::newest), newest);
  SF_ASSERT_OK(flip_bit(env(), file_of(*store_, newest, format::kManifestFile), 20));
  EXPECT_EQ(found(Prefer::newest), newest);
  EXPECT_EQ(find_step(*store_, "main", 3000, Prefer::pinned).status().code(), Code::not_found);
  EXPECT_EQ(find_step(*store_, "absent", 2000, Prefer::newest).status().code(), Code::not_found);
}

TEST_P(Catalogs, OneThatCannotBeReadIsAnEntryThatSaysSoAndTheOthersStand) {
  const std::string whole = add("main", 1);
  const std::string torn = add("main", 2);
  const std::string missing = add("main", 3);
  const std::string swapped = add("main", 4);
  const std::string content = content_of(env(), file_of(*store_, torn, format::kManifestFile)).value();
  SF_ASSERT_OK(overwrite(env(), file_of(*store_, torn, format::kManifestFile), content.substr(0, 400)));
  SF_ASSERT_OK(env().remove_file(file_of(*store_, missing, format::kManifestFile)));
  SF_ASSERT_OK(overwrite(env(), file_of(*store_, swapped, format::kManifestFile),
                         content_of(env(), file_of(*store_, whole, format::kManifestFile)).value()));
  const auto catalog = read_catalog(*store_);
  SF_ASSERT_OK(catalog);
  ASSERT_EQ(catalog->size(), 4U);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ((*catalog)[i].head.status().code(), Code::corrupt);
    EXPECT_THAT((*catalog)[i].head.status().message(), HasSubstr((*catalog)[i].ref.name));
  }
  SF_ASSERT_OK((*catalog)[3].head);
}

TEST_P(Catalogs, WhatIsRemovedWhileItIsReadIsPassedOver) {
  add("main", 1);
  const std::string going = add("main", 2);
  const auto refs = store_->list().value();
  SF_ASSERT_OK(store_->remove(going));
  const auto entry = store::read_catalog_entry(*store_, refs.front());
  SF_ASSERT_OK(entry);
  EXPECT_FALSE(entry->has_value());
  EXPECT_EQ(read_catalog(*store_)->size(), 1U);
}

TEST_P(Catalogs, AnEmptyStoreHasAnEmptyCatalog) { EXPECT_TRUE(read_catalog(*store_)->empty()); }

TEST_P(Catalogs, StoreBytesCountsEveryFileOfOursAndASharedOneOnce) {
  const auto file = [&](const std::string& path, std::size_t bytes) {
    const auto created = env().create(path);
    EXPECT_TRUE(created.ok()) << created.status().message();
    EXPECT_TRUE((*created)->write_at(0, std::vector<std::byte>(bytes)).ok());
  };
  const std::uint64_t empty = store_bytes(*store_).value();
  EXPECT_GT(empty, 1000U) << "the pages count as well";
  const auto published = publish(*store_, "main", 1);
  SF_ASSERT_OK(published);
  const std::uint64_t sequence_bytes = 2;
  const std::uint64_t with_one = store_bytes(*store_).value();
  EXPECT_EQ(with_one, empty + published->stored_bytes + sequence_bytes);
  // Being written, being removed, a file with two names, and somebody's own directory.
  const std::string name = format::to_string(format::CheckpointName{90, 1, base::utc_compact(kUtcNs)});
  const std::string partial = env::join(store_->path(), format::partial_name(name, "main"));
  const std::string removing = env::join(store_->path(), format::removing_name(name));
  const std::string foreign = env::join(store_->path(), "notes");
  for (const std::string& directory : {partial, removing, foreign}) SF_ASSERT_OK(env().make_dir(directory));
  file(env::join(partial, "rank-00000.data"), 500);
  file(env::join(removing, "rank-00000.data"), 7000);
  file(env::join(foreign, "big"), 100'000);
  EXPECT_EQ(store_bytes(*store_).value(), with_one + 7500);
  SF_ASSERT_OK(env().link(env::join(removing, "rank-00000.data"), env::join(partial, "rank-00000.shared-0.data")));
  EXPECT_EQ(store_bytes(*store_).value(), with_one + 7500);
}

}  // namespace
}  // namespace stillframe::test
