// Which locks stand at the moment a name changes: looked at from another process, just before each change of the disk.
#include <gmock/gmock.h>

#include "store/reader.hpp"
#include "support/store_fixture.hpp"

namespace stillframe::test {
namespace {

using store::CheckpointReader;
using store::Store;

class Locks : public testing::Test {
 protected:
  void SetUp() override {
    SF_ASSERT_OK(Store::open_or_create(env_, "/s"));
    const auto published = publish(store(), "main", 1);
    SF_ASSERT_OK(published);
    name_ = published->name;
    other_ = env_.new_process();
  }

  Store store() { return Store::open(env_, "/s").value(); }
  bool is_locked(const std::string& path) {
    return other_->try_lock(path, env::LockMode::exclusive).status().code() == Code::busy;
  }

  // Runs `look` before each change on a path that holds `part`; at least one must come.
  void before_changes_of(const std::string& part, std::function<void()> look) {
    env_.before_change([this, part, look = std::move(look)](EnvOp, const std::string& path) {
      if (path.find(part) == std::string::npos) return;
      ++looked_;
      look();
    });
  }

  FaultEnv env_;
  std::unique_ptr<FaultEnv> other_;
  std::string name_;
  int looked_ = 0;
};

TEST_F(Locks, AClaimHoldsTheStoresWhileItWritesTheSequence) {
  before_changes_of("/s/sequence", [&] { EXPECT_TRUE(is_locked("/s/store.lock")); });
  SF_ASSERT_OK(store().claim_sequence(base::Deadline::after_ms(10'000)));
  EXPECT_GE(looked_, 4) << "create, write, sync, rename";
}

TEST_F(Locks, AMarkIsWrittenAndRemovedUnderTheStores) {
  before_changes_of("/verified", [&] { EXPECT_TRUE(is_locked("/s/store.lock")); });
  SF_ASSERT_OK(store().set_mark(name_, format::kVerifiedMark, "yes\n"));
  EXPECT_GE(looked_, 4) << "create, write, sync, rename";
  const int written = looked_;
  SF_ASSERT_OK(store().clear_mark(name_, format::kVerifiedMark));
  EXPECT_GT(looked_, written);
}

TEST_F(Locks, ARemovalHoldsTheStoresAndTheCheckpointsWhileTheNameGoes) {
  before_changes_of(".removing", [&] {
    if (looked_ > 1) return;  // the rename is the first
    EXPECT_TRUE(is_locked("/s/store.lock"));
    EXPECT_TRUE(is_locked("/s/" + name_ + "/manifest.json"));
  });
  SF_ASSERT_OK(store().remove(name_));
  EXPECT_GE(looked_, 4) << "the rename, and the files";
}

TEST_F(Locks, NoReaderOpensACheckpointThatIsAboutToLoseItsName) {
  before_changes_of(".removing", [&] {
    const auto reader = CheckpointReader::open(Store::open(*other_, "/s").value(), name_);
    EXPECT_EQ(reader.status().code(), Code::not_found) << looked_;
  });
  SF_ASSERT_OK(store().remove(name_));
  EXPECT_GE(looked_, 4) << "the rename, and the files";
}

}  // namespace
}  // namespace stillframe::test
