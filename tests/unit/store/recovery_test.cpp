// Removal, recovery, and disks that refuse: what stood before stays whole.
#include <gmock/gmock.h>

#include "support/store_fixture.hpp"

namespace stillframe::test {
namespace {

using store::CheckpointReader;
using store::CheckpointWriter;
using store::Store;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> names_in(env::Env& env, const std::string& path) {
  std::vector<std::string> names;
  auto present = env.list(path).value();
  for (auto& entry : present) {
    if (entry.is_directory) names.push_back(entry.name);
  }
  return names;
}

class Removing : public StoreTest {};
INSTANTIATE_TEST_SUITE_P(On, Removing, testing::Values(EnvKind::posix, EnvKind::mem), env_kind_name);

TEST_P(Removing, ACheckpointBeingReadIsPassedOver) {
  const Store store = make_store();
  const auto published = publish(store, "main", 3);
  SF_ASSERT_OK(published);
  {
    const auto reader = CheckpointReader::open(store, published->name);
    SF_ASSERT_OK(reader);
    const Status refused = store.remove(published->name).status();
    EXPECT_EQ(refused.code(), Code::busy);
    EXPECT_THAT(refused.message(), HasSubstr("it was not removed"));
    SF_ASSERT_OK(read_image(**reader));
  }
  SF_ASSERT_OK(check_whole(store, published->name, 3));
  SF_ASSERT_OK(store.remove(published->name));
  EXPECT_THAT(names_in(env(), store.path()), IsEmpty());
  EXPECT_EQ(store.remove(published->name).status().code(), Code::not_found);
}

TEST_P(Removing, ACheckpointWithoutManifestCanBeRemoved) {
  const Store store = make_store();
  const auto published = publish(store, "main", 3);
  SF_ASSERT_OK(published);
  SF_ASSERT_OK(env().remove_file(file_of(store, published->name, format::kManifestFile)));
  SF_ASSERT_OK(store.remove(published->name));
  EXPECT_THAT(names_in(env(), store.path()), IsEmpty());
}

TEST_P(Removing, RecoveryRemovesOrphansAndLeavesLivingWritersAlone) {
  const Store store = make_store();
  const auto whole = publish(store, "main", 1);
  SF_ASSERT_OK(whole);
  const auto living_run = store.lock_run("living");
  SF_ASSERT_OK(living_run);
  const auto own_run = store.lock_run("own");
  SF_ASSERT_OK(own_run);
  const auto partial_of = [&](const std::string& run, std::uint64_t sequence) {
    return format::partial_name(format::to_string(format::CheckpointName{sequence, 9, base::utc_compact(kUtcNs)}), run);
  };
  const std::vector<std::string> partials{partial_of("dead", 10), partial_of("living", 11), partial_of("own", 12)};
  for (const std::string& partial : partials) {
    SF_ASSERT_OK(env().make_dir(env::join(store.path(), partial)));
    SF_ASSERT_OK(env().create(file_of(store, partial, "rank-00000.data")));
  }
  const std::string half_removed =
      format::removing_name(format::to_string(format::CheckpointName{13, 9, base::utc_compact(kUtcNs)}));
  SF_ASSERT_OK(env().make_dir(env::join(store.path(), half_removed)));
  SF_ASSERT_OK(env().create(file_of(store, half_removed, "rank-00000.table")));

  const auto report = store::recover(store, {"own"});
  SF_ASSERT_OK(report);
  EXPECT_THAT(report->removed, ElementsAre(partials[0], partials[2], half_removed));
  EXPECT_THAT(report->left_alone, ElementsAre(partials[1]));
  EXPECT_THAT(names_in(env(), store.path()), testing::UnorderedElementsAre(whole->name, partials[1]));
  SF_ASSERT_OK(check_whole(store, whole->name, 1));

  const auto again = store::recover(store, {"own"});
  SF_ASSERT_OK(again);
  EXPECT_THAT(again->removed, IsEmpty());
  EXPECT_THAT(again->left_alone, ElementsAre(partials[1]));
  SF_ASSERT_OK(store.lock_run("dead"));  // recovery did not keep what it locked
}

// Another process stands between the rename of its removal and the sync of the name.
TEST(Recovering, WhatAnotherOneIsRemovingAtThisMomentIsNotUnlinkedBeforeItsNameIsGoneForGood) {
  constexpr std::uint64_t kSurvivors = 30;  // an unlink may have reached the disk and the rename not
  for (std::uint64_t moment = 1;; ++moment) {
    FaultEnv env;
    const Store store = Store::open_or_create(env, "/s").value();
    const std::string name = publish(store, "main", 1)->name;
    const auto other = env.new_process();
    std::uint64_t call = 0;
    bool renamed = false;
    const auto expect_whole_or_gone = [&] {
      for (std::uint64_t seed = 0; seed < kSurvivors; ++seed) {
        const auto after = env.survivor(seed);
        if (!after->exists(env::join("/s", name)).value()) continue;
        ASSERT_TRUE(check_whole(Store::open(*after, "/s").value(), name, 1).ok())
            << "renamed before call " << moment << ", power lost before call " << call << ", survivor " << seed;
      }
    };
    env.before_call([&](EnvOp, const std::string&) {
      if (++call > moment) expect_whole_or_gone();
      if (call != moment) return;
      renamed = other->rename_no_replace(env::join("/s", name), env::join("/s", format::removing_name(name))).ok();
    });
    SF_ASSERT_OK(store::recover(store, {}));
    env.before_call({});
    if (call < moment) break;
    ASSERT_TRUE(renamed);
    expect_whole_or_gone();
  }
}

TEST(RemovalLocks, ReadersAreNotKeptOutWhileTheStoresLockIsWaitedFor) {
  FaultEnv env;
  const Store store = Store::open_or_create(env, "/s").value();
  const std::string name = publish(store, "main", 1)->name;
  const auto reading = env.new_process();
  const Store seen_by_reader = Store::open(*reading, "/s").value();
  int tries = 0;
  env.before_call([&](EnvOp op, const std::string& path) {
    if (op != EnvOp::try_lock || !path.ends_with(format::kStoreLockFile)) return;
    ++tries;
    EXPECT_TRUE(CheckpointReader::open(seen_by_reader, name).ok());
  });
  SF_ASSERT_OK(store.remove(name));
  EXPECT_GT(tries, 0);
}

class RefusingDisk : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = Store::open_or_create(env_, "/runs/gpt");
    SF_ASSERT_OK(opened);
    store_ = std::make_unique<Store>(*std::move(opened));
    const auto published = publish(*store_, "main", 1);
    SF_ASSERT_OK(published);
    old_ = published->name;
  }
  void expect_only_the_old_one() {
    env_.fail_nothing();
    EXPECT_THAT(names_in(env_, "/runs/gpt"), ElementsAre(old_));
    SF_ASSERT_OK(check_whole(*store_, old_, 1));
  }

  FaultEnv env_;
  std::unique_ptr<Store> store_;
  std::string old_;
};

TEST_F(RefusingDisk, NoSpaceWhileAppendingLeavesTheOldWholeAndRemovesThePartial) {
  env_.fail({EnvOp::write_at, Code::no_space, 2, true, ".data"});
  const auto failed = publish(*store_, "main", 2);
  EXPECT_EQ(failed.status().code(), Code::no_space);
  EXPECT_THAT(failed.status().message(), HasSubstr("older checkpoints are untouched"));
  expect_only_the_old_one();
}

TEST_F(RefusingDisk, NoSpaceFreesWhatWasWrittenAtOnceAndSaysTheFigures) {
  env_.set_space({5 << 20, 10 << 20, "mem"});
  const auto writer = CheckpointWriter::begin(*store_, "main", 9, 2, kUtcNs);
  SF_ASSERT_OK(writer);
  const auto layout = three_chunk_layout();
  SF_ASSERT_OK((*writer)->begin_rank(0, layout, store::DataKind::safetensors));
  env_.fail({EnvOp::write_at, Code::no_space, 3, false, ".safetensors"});
  const Status failed = append_image(**writer, layout, image_of(layout, 2), codec::CodecId::raw);
  EXPECT_EQ(failed.code(), Code::no_space);
  EXPECT_THAT(failed.message(), HasSubstr("the 2.1 MiB that it had written were freed"));
  EXPECT_THAT(failed.message(), HasSubstr("the image of this rank has 2.3 MiB"));
  EXPECT_THAT(failed.message(), HasSubstr("5.0 MiB are free now"));
  EXPECT_THAT(names_in(env_, "/runs/gpt"), ElementsAre(old_)) << "while the writer still lives";
  expect_only_the_old_one();
}

TEST_F(RefusingDisk, WhereverTheSpaceEndsTheOldIsWholeAndNothingIsLeft) {
  for (const auto wanted : {codec::CodecId::raw, codec::CodecId::planes_lz4, codec::CodecId::planes}) {
    std::uint64_t failures = 0;
    for (std::uint64_t n = 1;; ++n) {
      env_.fail({EnvOp::any_change, Code::no_space, n, true});
      const auto published = publish(*store_, "main", 2, wanted);
      if (published.ok()) break;
      EXPECT_EQ(published.status().code(), Code::no_space) << n;
      ++failures;
      env_.fail_nothing();
      // When it can neither make the new name durable nor take it away, the checkpoint stays, and is said to.
      if (published.status().message().find("stands under its name all the same") != std::string::npos) {
        const std::string stands = store_->list()->front().name;
        SF_ASSERT_OK(check_whole(*store_, stands, 2));
        SF_ASSERT_OK(store_->remove(stands));
      }
      expect_only_the_old_one();
    }
    EXPECT_GT(failures, 8U);
    env_.fail_nothing();
    SF_ASSERT_OK(store_->remove(store_->list()->front().name));
  }
}

TEST_F(RefusingDisk, WhatCannotBeRemovedAfterAFailureIsSaidAndGoesAtTheNextStart) {
  env_.fail({EnvOp::write_at, Code::io_error, 2, true, ".data"});
  env_.fail({EnvOp::remove_file, Code::io_error, 1, true});
  const auto failed = publish(*store_, "main", 2);
  EXPECT_EQ(failed.status().code(), Code::io_error);
  EXPECT_THAT(failed.status().message(), HasSubstr("goes at the next start"));
  env_.fail_nothing();
  const auto report = store::recover(*store_, {});
  SF_ASSERT_OK(report);
  EXPECT_GT(report->bytes_freed, kChunkBytes / 2);
  expect_only_the_old_one();
}

TEST_F(RefusingDisk, AFailedSyncIsFinalForTheCheckpoint) {
  for (const std::string file : {".data", ".table", "manifest"}) {
    env_.fail({EnvOp::sync, Code::io_error, 1, false, file});
    EXPECT_EQ(publish(*store_, "main", 2).status().code(), Code::io_error) << file;
    expect_only_the_old_one();
  }
}

TEST_F(RefusingDisk, AWriterIsNotUsedAgainAfterAFailedSync) {
  auto writer = CheckpointWriter::begin(*store_, "main", 9, 2, kUtcNs);
  SF_ASSERT_OK(writer);
  const auto layout = three_chunk_layout();
  SF_ASSERT_OK((*writer)->begin_rank(0, layout, store::DataKind::container));
  SF_ASSERT_OK(append_image(**writer, layout, image_of(layout, 2), codec::CodecId::raw));
  env_.fail({EnvOp::sync, Code::io_error});
  EXPECT_EQ((*writer)->sync_data().code(), Code::io_error);
  EXPECT_EQ((*writer)->sync_data().code(), Code::io_error);
  EXPECT_EQ((*writer)->end_rank(format::flat_tree(layout)).code(), Code::io_error);
  EXPECT_EQ((*writer)->commit(draft_of("main", 2)).status().code(), Code::io_error);
  writer->reset();
  expect_only_the_old_one();
}

TEST_F(RefusingDisk, ACheckpointWhoseNameMayNotBeDurableIsWithdrawn) {
  const std::uint64_t syncs_before_last = 2;  // the sequence file's directory and the partial directory
  env_.fail({EnvOp::sync_dir, Code::io_error, syncs_before_last + 1, false});
  EXPECT_EQ(publish(*store_, "main", 2).status().code(), Code::io_error);
  expect_only_the_old_one();
}

TEST_F(RefusingDisk, ARemovalWhoseRenameMayNotBeDurableUnlinksNothing) {
  SF_ASSERT_OK(publish(*store_, "main", 2));
  env_.fail({EnvOp::sync_dir, Code::io_error, 1, true});
  EXPECT_EQ(store_->remove(old_).status().code(), Code::io_error);
  const auto after_power_loss = env_.survivor(FaultEnv::kOnlySynced);
  SF_ASSERT_OK(check_whole(Store::open(*after_power_loss, "/runs/gpt").value(), old_, 1));
  env_.fail_nothing();
  EXPECT_EQ(store_->list()->size(), 1U);
  EXPECT_THAT(store::recover(*store_, {})->removed, ElementsAre(format::removing_name(old_)));
}

}  // namespace
}  // namespace stillframe::test
