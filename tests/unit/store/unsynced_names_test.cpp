// Names that a process changed and did not live to sync: whoever comes next builds on them, and then the power goes.
#include <gmock/gmock.h>

#include "store/pages.hpp"
#include "store/scrub.hpp"
#include "support/store_fixture.hpp"

namespace stillframe::test {
namespace {

using store::Store;

constexpr std::uint64_t kSurvivors = 30;

class UnsyncedNames : public testing::Test {
 protected:
  // Small, so that many disks can be looked at.
  static Result<store::Published> publish_small(const Store& store) {
    auto draft = draft_of("main", 1);
    draft.confirmed = true;
    return publish_draft(store, draft, codec::CodecId::raw, format::lay_out({{"w", DType::f32, {1000}}}).value());
  }

  static Status check_readable(const Store& store, const std::string& name) {
    SF_ASSIGN(const auto reader, store::CheckpointReader::open(store, name));
    return read_image(*reader).status();
  }

  Store store_of(FaultEnv& process) { return Store::open(process, "/s").value(); }

  // A process that dies in its first change after the one that gives a directory a name which ends with `suffix`.
  std::unique_ptr<FaultEnv> dying_behind_rename(const std::string& suffix) {
    auto process = env_.new_process();
    process->before_change([raw = process.get(), suffix](EnvOp op, const std::string& path) {
      if (op == EnvOp::rename_no_replace && path.ends_with(suffix) && !raw->is_dead()) raw->die_at(2);
    });
    return process;
  }

  FaultEnv env_;
};

TEST_F(UnsyncedNames, OfPagesAreSyncedByWhoeverFindsThemThere) {
  const auto maker = env_.new_process();
  maker->before_change([raw = maker.get()](EnvOp op, const std::string& path) {
    if (op == EnvOp::rename && path.ends_with(format::kReaderFileV2) && !raw->is_dead()) raw->die_at(2);
  });
  EXPECT_FALSE(Store::open_or_create(*maker, "/s").ok());
  ASSERT_TRUE(env_.exists(env::join("/s", format::kReaderFileV2)).value()) << "it died behind the rename";
  SF_ASSERT_OK(Store::open_or_create(env_, "/s"));
  for (std::uint64_t seed = 0; seed < kSurvivors; ++seed) {
    const auto after = env_.survivor(seed);
    for (const store::Page& page : store::pages()) EXPECT_TRUE(after->exists(env::join("/s", page.name)).value());
  }
}

// Another process puts them there while this one comes to the lock, and dies behind its last rename.
TEST_F(UnsyncedNames, OfPagesAreSyncedByWhoeverFoundThemOnlyUnderTheLock) {
  SF_ASSERT_OK(Store::open_or_create(env_, "/s"));
  for (const store::Page& page : store::pages()) SF_ASSERT_OK(env_.remove_file(env::join("/s", page.name)));
  SF_ASSERT_OK(env_.sync_dir("/s"));
  ASSERT_TRUE(env_.remove_file(env::join("/s", format::kStoreLockFile)).ok()) << "so that taking it is a change";
  const auto late = env_.new_process();
  const auto early = env_.new_process();
  early->before_change([raw = early.get()](EnvOp op, const std::string& path) {
    if (op == EnvOp::rename && path.ends_with(format::kReaderFileV2) && !raw->is_dead()) raw->die_at(2);
  });
  bool met = false;
  late->before_change([&](EnvOp, const std::string& path) {
    if (met || !path.ends_with(format::kStoreLockFile)) return;
    met = true;
    EXPECT_FALSE(Store::open_or_create(*early, "/s").ok());
  });
  SF_ASSERT_OK(Store::open_or_create(*late, "/s"));
  ASSERT_TRUE(met && early->is_dead());
  EXPECT_EQ(late->calls(EnvOp::rename), 0U) << "it found them there";
  for (std::uint64_t seed = 0; seed < kSurvivors; ++seed) {
    const auto after = env_.survivor(seed);
    for (const store::Page& page : store::pages()) EXPECT_TRUE(after->exists(env::join("/s", page.name)).value());
  }
}

TEST_F(UnsyncedNames, RecoveryUnlinksNothingUnderARemovalsNameThatMayNotLast) {
  SF_ASSERT_OK(Store::open_or_create(env_, "/s"));
  const auto published = publish_small(store_of(env_));
  SF_ASSERT_OK(published);
  const auto remover = dying_behind_rename(".removing");
  EXPECT_FALSE(store_of(*remover).remove(published->name).ok());
  ASSERT_TRUE(remover->is_dead());
  ASSERT_FALSE(env_.exists("/s/" + published->name).value()) << "it died behind the rename";

  const auto starter = env_.new_process();
  int looked = 0;
  starter->before_change([&](EnvOp, const std::string&) {
    for (std::uint64_t seed = 0; seed < kSurvivors; ++seed) {
      const auto after = starter->survivor(seed);
      const Store left = Store::open(*after, "/s").value();
      for (const auto& ref : left.list().value()) SF_ASSERT_OK(check_readable(left, ref.name));
      ++looked;
    }
  });
  SF_ASSERT_OK(store::recover(store_of(*starter), {}));
  EXPECT_GT(looked, 100);
  EXPECT_FALSE(env_.exists("/s/" + published->name + ".removing").value());
}

TEST_F(UnsyncedNames, WhatScrubMarksVerifiedIsDurable) {
  SF_ASSERT_OK(Store::open_or_create(env_, "/s"));
  std::string name;
  {
    const auto writer = env_.new_process();
    writer->before_change([&](EnvOp op, const std::string& path) {
      if (op != EnvOp::rename_no_replace || !name.empty()) return;  // the second one would withdraw it
      name = path.substr(path.rfind('/') + 1);
      writer->die_at(2);
    });
    EXPECT_FALSE(publish_small(store_of(*writer)).ok());
    ASSERT_TRUE(writer->is_dead());
  }
  ASSERT_FALSE(env_.survivor(FaultEnv::kOnlySynced)->exists("/s/" + name).value()) << "it died behind the rename";

  const auto report = store::scrub_checkpoint(store_of(env_), name, {}, false);
  SF_ASSERT_OK(report);
  ASSERT_EQ(report->outcome, store::ScrubOutcome::verified);
  const auto after = env_.survivor(FaultEnv::kOnlySynced);
  SF_ASSERT_OK(check_readable(store_of(*after), name));
}

}  // namespace
}  // namespace stillframe::test
