// A process was killed between a change and its sync, another one goes on, and then the power fails. Found by the crash
// suite (tests/crash), kept by name.
#include <gmock/gmock.h>

#include "store/scrub.hpp"
#include "support/store_fixture.hpp"

namespace stillframe::test {
namespace {

using store::Store;
using testing::IsEmpty;

constexpr const char* kPath = "/runs/gpt";

std::vector<store::CheckpointRef> listed_after_a_power_loss(const FaultEnv& env) {
  const auto after = env.survivor(FaultEnv::kOnlySynced);
  const auto store = Store::open(*after, kPath);
  if (!store.ok()) return {};
  return store->list().value();
}

class KilledProcess : public testing::Test {
 protected:
  // A writer that is killed when its checkpoint has got its name, and the store's directory is not synced yet.
  void die_before_the_last_sync_of_a_commit() {
    SF_ASSERT_OK(Store::open_or_create(first_, kPath));
    first_.before_change([this](EnvOp op, const std::string& path) {
      renamed_ = renamed_ || op == EnvOp::rename_no_replace;
      if (renamed_ && op == EnvOp::sync_dir && path == kPath) first_.die();
    });
    format::Manifest draft = draft_of("main", 1);
    draft.confirmed = true;
    ASSERT_FALSE(publish_draft(Store::open(first_, kPath).value(), draft).ok());
    ASSERT_EQ(Store::open(*next_, kPath)->list()->size(), 1U);
    ASSERT_THAT(listed_after_a_power_loss(*next_), IsEmpty());
  }

  FaultEnv first_;
  std::unique_ptr<FaultEnv> next_ = first_.new_process();

 private:
  bool renamed_ = false;
};

// commit:n=27.3.12:survivor=0.0.1:seed=1
TEST_F(KilledProcess, WhatItRenamedAndDidNotSyncIsDurableAfterRecovery) {
  die_before_the_last_sync_of_a_commit();
  SF_ASSERT_OK(store::recover(Store::open(*next_, kPath).value(), {}));
  EXPECT_EQ(listed_after_a_power_loss(*next_).size(), 1U);
}

TEST_F(KilledProcess, WhatItRenamedAndDidNotSyncIsDurableOnceItIsMarkedVerified) {
  die_before_the_last_sync_of_a_commit();
  const Store store = Store::open(*next_, kPath).value();
  const std::string name = store.list()->front().name;
  ASSERT_EQ(store::scrub_checkpoint(store, name, {})->outcome, store::ScrubOutcome::verified);
  ASSERT_EQ(listed_after_a_power_loss(*next_).size(), 1U);
}

// create:n=1.2:survivor=0.0:seed=1
TEST_F(KilledProcess, AStoresDirectoryThatItMadeAndDidNotSyncIsDurableWithTheNextCommit) {
  for (const std::uint64_t changes : {2U, 3U, 4U}) {
    FaultEnv first;
    first.die_at(changes);
    ASSERT_FALSE(Store::open_or_create(first, kPath).ok());
    const auto next = first.new_process();
    SF_ASSERT_OK(publish(Store::open_or_create(*next, kPath).value(), "main", 1));
    EXPECT_EQ(listed_after_a_power_loss(*next).size(), 1U) << "killed in change " << changes;
  }
}

TEST_F(KilledProcess, AStoresDirectoryThatAScriptMadeIsDurableWithTheFirstCommit) {
  for (const std::string directory : {"/runs", "/runs/gpt"}) SF_ASSERT_OK(first_.make_dir(directory));
  SF_ASSERT_OK(publish(Store::open_or_create(first_, kPath).value(), "main", 1));
  EXPECT_EQ(listed_after_a_power_loss(first_).size(), 1U);
}

}  // namespace
}  // namespace stillframe::test
