// What a reader may rely on once a checkpoint is published, and before.
#include <gmock/gmock.h>

#include "support/store_fixture.hpp"

namespace stillframe::test {
namespace {

using codec::CodecId;
using store::CheckpointReader;
using store::CheckpointWriter;
using store::Store;
using testing::HasSubstr;

class Publishing : public StoreTest {};
INSTANTIATE_TEST_SUITE_P(On, Publishing, testing::Values(EnvKind::posix, EnvKind::mem), env_kind_name);

TEST_P(Publishing, EveryByteComesBackRawAndEncodedFromEveryRank) {
  const Store store = make_store();
  for (const CodecId codec : {CodecId::raw, CodecId::planes_lz4, CodecId::planes}) {
    const auto published = publish(store, "main", 1000, codec, 2);
    SF_ASSERT_OK(published);
    const auto reader = CheckpointReader::open(store, published->name);
    SF_ASSERT_OK(reader);
    EXPECT_EQ((*reader)->manifest().step, 1000);
    EXPECT_EQ((*reader)->manifest().version, codec == CodecId::planes ? 2U : 1U) << "the lowest that holds it";
    EXPECT_EQ((*reader)->manifest().sequence, published->sequence);
    EXPECT_EQ((*reader)->manifest().created_utc, base::utc_iso(kUtcNs));
    ASSERT_EQ((*reader)->manifest().ranks.size(), 2U);
    for (const std::size_t rank : {0U, 1U}) {
      const auto image = read_image(**reader, rank);
      SF_ASSERT_OK(image);
      EXPECT_TRUE(*image == image_of(three_chunk_layout(), 1000 + static_cast<std::int64_t>(rank)));
    }
  }
}

TEST_P(Publishing, StoredBytesAreTheSizesOfAllFiles) {
  const Store store = make_store();
  const auto published = publish(store, "main", 5);
  SF_ASSERT_OK(published);
  std::uint64_t on_disk = 0;
  const auto present = env().list(env::join(store.path(), published->name)).value();
  for (const auto& file : present) {
    on_disk += content_of(env(), file_of(store, published->name, file.name)).value().size();
  }
  EXPECT_EQ(published->stored_bytes, on_disk);
  EXPECT_EQ(published->raw_bytes, three_chunk_layout().bytes);
}

TEST_P(Publishing, OrderIsBySequenceAndNotByStepOrName) {
  const Store store = make_store();
  for (const std::int64_t step : {3000, 10, 200}) SF_ASSERT_OK(publish(store, "main", step));
  SF_ASSERT_OK(env().make_dir(env::join(store.path(), "notes")));
  const auto listed = store.list();
  SF_ASSERT_OK(listed);
  std::vector<std::int64_t> steps;
  for (const auto& ref : *listed) steps.push_back(ref.parsed.step);
  EXPECT_THAT(steps, testing::ElementsAre(200, 10, 3000));
}

TEST_P(Publishing, NothingIsThereForAReaderBeforeCommit) {
  const Store store = make_store();
  auto writer = CheckpointWriter::begin(store, "main", 1, 7, kUtcNs);
  SF_ASSERT_OK(writer);
  const auto layout = three_chunk_layout();
  SF_ASSERT_OK((*writer)->begin_rank(0, layout, store::DataKind::container));
  SF_ASSERT_OK(append_image(**writer, layout, image_of(layout, 7), CodecId::raw));
  SF_ASSERT_OK((*writer)->sync_data());
  SF_ASSERT_OK((*writer)->end_rank(format::flat_tree(layout)));
  EXPECT_TRUE(store.list()->empty());
  EXPECT_EQ(CheckpointReader::open(store, (*writer)->name()).status().code(), Code::not_found);
  SF_ASSERT_OK((*writer)->commit(draft_of("main", 7)));
  EXPECT_EQ(store.list()->size(), 1U);
}

TEST_P(Publishing, AnAbandonedWriterLeavesNothing) {
  const Store store = make_store();
  const auto before = env().list(store.path())->size();
  {
    auto writer = CheckpointWriter::begin(store, "main", 1, 7, kUtcNs);
    SF_ASSERT_OK(writer);
    const auto layout = three_chunk_layout();
    SF_ASSERT_OK((*writer)->begin_rank(0, layout, store::DataKind::container));
    SF_ASSERT_OK(append_image(**writer, layout, image_of(layout, 7), CodecId::raw));
    EXPECT_GT(env().list(store.path())->size(), before);
  }
  EXPECT_EQ(env().list(store.path())->size(), before);
}

TEST_P(Publishing, CallsOutOfOrderAreRefusedAndPublishNothing) {
  const Store store = make_store();
  auto writer = CheckpointWriter::begin(store, "main", 1, 7, kUtcNs);
  SF_ASSERT_OK(writer);
  EXPECT_EQ((*writer)->commit(draft_of("main", 7)).status().code(), Code::invalid_argument);
  EXPECT_EQ((*writer)->append({}, {}).code(), Code::invalid_argument);
  const auto layout = three_chunk_layout();
  SF_ASSERT_OK((*writer)->begin_rank(0, layout, store::DataKind::container));
  EXPECT_EQ((*writer)->end_rank(format::flat_tree(layout)).code(),
            Code::invalid_argument);  // chunks are missing
  EXPECT_EQ((*writer)->commit(draft_of("main", 7)).status().code(), Code::invalid_argument);
  EXPECT_TRUE(store.list()->empty());
}

TEST_P(Publishing, SequencesAreNeverUsedTwice) {
  const Store store = make_store();
  const auto first = publish(store, "main", 1);
  const auto second = publish(store, "main", 2);
  SF_ASSERT_OK(second);
  SF_ASSERT_OK(store.remove(second->name));
  const auto next = store.claim_sequence(base::Deadline::after_ms(10'000));
  SF_ASSERT_OK(next);
  EXPECT_EQ(*next, second->sequence + 1);
}

TEST_P(Publishing, AStoreCopiedWithoutItsSequenceFileDoesNotReuseARemovedSequence) {
  const Store store = make_store();
  const auto published = publish(store, "main", 1);
  SF_ASSERT_OK(published);
  SF_ASSERT_OK(env().remove_file(env::join(store.path(), format::kSequenceFile)));
  SF_ASSERT_OK(store.remove(published->name));
  EXPECT_EQ(store.claim_sequence(base::Deadline::after_ms(10'000)).value(), published->sequence + 1);
}

TEST_P(Publishing, PartialAndHalfRemovedNamesUseUpTheirSequence) {
  const Store store = make_store();
  const std::string name = format::to_string(format::CheckpointName{41, 1, base::utc_compact(kUtcNs)});
  SF_ASSERT_OK(env().make_dir(env::join(store.path(), format::partial_name(name, "main"))));
  EXPECT_EQ(store.claim_sequence(base::Deadline::after_ms(10'000)).value(), 42U);
  const std::string removed = format::to_string(format::CheckpointName{77, 1, base::utc_compact(kUtcNs)});
  SF_ASSERT_OK(env().make_dir(env::join(store.path(), format::removing_name(removed))));
  EXPECT_EQ(store.claim_sequence(base::Deadline::after_ms(10'000)).value(), 78U);
}

TEST_P(Publishing, ADamagedSequenceFileIsSaidAndNotGuessed) {
  const Store store = make_store();
  SF_ASSERT_OK(publish(store, "main", 1));
  SF_ASSERT_OK(overwrite(env(), env::join(store.path(), format::kSequenceFile), "twelve\n"));
  const auto claimed = store.claim_sequence(base::Deadline::after_ms(10'000));
  EXPECT_EQ(claimed.status().code(), Code::corrupt);
  EXPECT_THAT(claimed.status().message(), HasSubstr(std::string(format::kSequenceFile)));
}

TEST_P(Publishing, ClaimingGivesUpAtTheDeadlineWhileAnotherHoldsTheStore) {
  const Store store = make_store();
  const auto held = env().try_lock(env::join(store.path(), format::kStoreLockFile), env::LockMode::exclusive);
  SF_ASSERT_OK(held);
  const auto claimed = store.claim_sequence(base::Deadline::after_ms(30));
  EXPECT_EQ(claimed.status().code(), Code::deadline);
  EXPECT_THAT(claimed.status().message(), HasSubstr(std::string(format::kStoreLockFile)));
}

TEST_P(Publishing, ASecondWriterOfARunIsRefusedByName) {
  const Store store = make_store();
  auto first = store.lock_run("gpt-7b");
  SF_ASSERT_OK(first);
  const auto second = store.lock_run("gpt-7b");
  EXPECT_EQ(second.status().code(), Code::busy);
  EXPECT_THAT(second.status().message(), HasSubstr("gpt-7b"));
  EXPECT_THAT(second.status().message(), HasSubstr(store.path()));
  SF_ASSERT_OK(store.lock_run("other"));
  first->reset();
  SF_ASSERT_OK(store.lock_run("gpt-7b"));
}

TEST_P(Publishing, MarksStandBesideTheManifestAndSurviveReopening) {
  const Store store = make_store();
  const auto published = publish(store, "main", 1);
  SF_ASSERT_OK(published);
  EXPECT_FALSE(store.marks(published->name)->verified);
  SF_ASSERT_OK(store.set_mark(published->name, format::kVerifiedMark, "now\n"));
  SF_ASSERT_OK(store.set_mark(published->name, format::kPinnedMark, "by hand\n"));
  SF_ASSERT_OK(store.set_mark(published->name, format::kPinnedMark, "again\n"));
  const auto marks = Store::open(env(), store.path())->marks(published->name);
  SF_ASSERT_OK(marks);
  EXPECT_TRUE(marks->verified && marks->pinned && !marks->bad);
  EXPECT_EQ(store.set_mark(published->name, "lovely", "").code(), Code::invalid_argument);
  EXPECT_EQ(store.set_mark(published->name, format::kPinnedMark, std::string(2000, 'x')).code(), Code::invalid_argument);
  SF_ASSERT_OK(store.set_mark(published->name, format::kBadMark, std::string(2000, 'x')));
  EXPECT_EQ(store.set_mark("../elsewhere", format::kBadMark, "").code(), Code::not_found);
}

TEST_P(Publishing, AReaderNeedsAStoreThatIsThereAndMakesNone) {
  const std::string path = store_path() + "-missing";
  EXPECT_EQ(Store::open(env(), path).status().code(), Code::not_found);
  EXPECT_FALSE(env().exists(path).value());
}

TEST_P(Publishing, APathThatIsAFileIsRefusedBeforeTrainingStarts) {
  const Store store = make_store();
  const std::string path = env::join(store.path(), "a-file");
  SF_ASSERT_OK(env().create(path));
  const auto opened = Store::open_or_create(env(), path);
  ASSERT_FALSE(opened.ok());
  EXPECT_THAT(opened.status().message(), HasSubstr(path));
  EXPECT_THAT(opened.status().message(), HasSubstr("no checkpoint was touched"));
}

TEST(Opening, AFullDiskIsSaidWithThePathBeforeTrainingStarts) {
  FaultEnv env;
  env.fail({EnvOp::write_at, Code::no_space, 1, true});
  const auto opened = Store::open_or_create(env, "/runs/gpt");
  EXPECT_EQ(opened.status().code(), Code::no_space);
  EXPECT_THAT(opened.status().message(), HasSubstr("/runs/gpt"));
  EXPECT_THAT(opened.status().message(), HasSubstr("free space"));
}

TEST(Opening, AReadOnlyStoreIsRefusedForWritersAndServesReaders) {
  FaultEnv env;
  const auto published = publish(Store::open_or_create(env, "/runs/gpt").value(), "main", 4);
  SF_ASSERT_OK(published);
  for (const EnvOp op : {EnvOp::create, EnvOp::write_at, EnvOp::make_dir, EnvOp::rename, EnvOp::rename_no_replace,
                         EnvOp::remove_file, EnvOp::remove_dir, EnvOp::sync_dir}) {
    env.fail({op, Code::io_error, 1, true});
  }
  const auto refused = Store::open_or_create(env, "/runs/gpt");
  EXPECT_EQ(refused.status().code(), Code::io_error);
  EXPECT_THAT(refused.status().message(), HasSubstr("read-only"));
  const auto store = Store::open(env, "/runs/gpt");
  SF_ASSERT_OK(store);
  SF_ASSERT_OK(check_whole(*store, published->name, 4));
}

TEST(Opening, AProbeLeftByACrashIsNoObstacle) {
  FaultEnv env;
  SF_ASSERT_OK(Store::open_or_create(env, "/runs/gpt"));
  SF_ASSERT_OK(env.create("/runs/gpt/writable.probe"));
  SF_ASSERT_OK(Store::open_or_create(env, "/runs/gpt"));
  EXPECT_FALSE(env.exists("/runs/gpt/writable.probe").value());
}

TEST(LostAnswer, ARenameThatWasDoneThoughItsAnswerWasLostPublishes) {
  FaultEnv env;
  const Store store = Store::open_or_create(env, "/s").value();
  env.fail({EnvOp::rename_no_replace, Code::io_error, 1, false, "", /*done_all_the_same=*/true});
  const auto published = publish(store, "main", 1);
  SF_ASSERT_OK(published);
  SF_ASSERT_OK(check_whole(Store::open(*env.survivor(FaultEnv::kOnlySynced), "/s").value(), published->name, 1));
}

}  // namespace
}  // namespace stillframe::test
