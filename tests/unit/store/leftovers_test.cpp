// What a crash leaves in the middle of a mark, a page, a checkpoint: collected once nobody can be at work on it.
#include <gmock/gmock.h>

#include "base/thread.hpp"
#include "support/observed_env.hpp"
#include "support/store_fixture.hpp"
#include "support/wait_until.hpp"

namespace stillframe::test {
namespace {

using store::recover;
using store::Store;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Leftovers : public StoreTest {
 protected:
  void SetUp() override {
    store_ = std::make_unique<Store>(make_store());
    name_ = publish(*store_, "main", 1)->name;
  }
  void put(const std::string& path, std::size_t bytes) {
    const auto file = env().create(env::join(store_->path(), path));
    ASSERT_TRUE(file.ok()) << file.status().message();
    SF_ASSERT_OK((*file)->write_at(0, std::vector<std::byte>(bytes)));
  }
  std::string orphan(std::uint64_t sequence) {
    const std::string partial =
        format::partial_name(format::to_string(format::CheckpointName{sequence, 1, base::utc_compact(kUtcNs)}), "dead");
    EXPECT_TRUE(env().make_dir(env::join(store_->path(), partial)).ok());
    return partial;
  }
  bool there(const std::string& path) { return env().exists(env::join(store_->path(), path)).value(); }

  std::unique_ptr<Store> store_;
  std::string name_;
};
INSTANTIATE_TEST_SUITE_P(On, Leftovers, testing::Values(EnvKind::posix, EnvKind::mem), env_kind_name);

TEST_P(Leftovers, HalfWrittenMarksPagesAndSequencesAreCollectedAndNothingElse) {
  const std::vector<std::string> ours{"sequence.tmp",          "FORMAT-v1.md.tmp", "read-v1.py.tmp",
                                      name_ + "/verified.tmp", name_ + "/bad.tmp", name_ + "/pinned.tmp"};
  const std::vector<std::string> foreign{"notes.tmp", name_ + "/mine.tmp", "pinned.tmp"};
  for (const std::string& path : ours) put(path, 10);
  for (const std::string& path : foreign) put(path, 10);
  SF_ASSERT_OK(store_->set_mark(name_, format::kPinnedMark, "stays\n"));  // takes its own leftover with it
  put(name_ + "/pinned.tmp", 10);
  const auto report = recover(*store_, {});
  SF_ASSERT_OK(report);
  EXPECT_THAT(report->removed, testing::UnorderedElementsAreArray(ours));
  EXPECT_EQ(report->bytes_freed, 60U);
  EXPECT_THAT(report->failed, IsEmpty());
  for (const std::string& path : ours) EXPECT_FALSE(there(path)) << path;
  for (const std::string& path : foreign) EXPECT_TRUE(there(path)) << path;
  EXPECT_TRUE(store_->marks(name_)->pinned);
  SF_ASSERT_OK(check_whole(*store_, name_, 1));
  EXPECT_THAT(recover(*store_, {})->removed, IsEmpty());
}

TEST_P(Leftovers, TheReportSaysHowMuchCameFree) {
  const std::string one = orphan(50);
  const std::string other = orphan(51);
  put(one + "/rank-00000.data", 5000);
  put(other + "/rank-00000.data", 700);
  // A second name elsewhere: unlinking this one frees nothing.
  SF_ASSERT_OK(env().link(file_of(*store_, name_, format::data_file(0)),
                          env::join(store_->path(), other + "/rank-00000.shared-0.data")));
  const auto report = recover(*store_, {});
  SF_ASSERT_OK(report);
  EXPECT_THAT(report->removed, ElementsAre(one, other));
  EXPECT_EQ(report->bytes_freed, 5700U);
  SF_ASSERT_OK(check_whole(*store_, name_, 1));
}

TEST_P(Leftovers, OneOrphanThatCannotBeRemovedIsReportedAndHoldsUpNoOther) {
  const std::string stuck = orphan(50);
  SF_ASSERT_OK(env().make_dir(env::join(store_->path(), stuck + "/somebodys")));
  const std::string other = orphan(51);
  const auto report = recover(*store_, {});
  SF_ASSERT_OK(report);
  EXPECT_THAT(report->removed, ElementsAre(other));
  ASSERT_EQ(report->failed.size(), 1U);
  EXPECT_THAT(report->failed[0], HasSubstr(stuck));
  EXPECT_THAT(report->failed[0], HasSubstr("somebodys"));
  EXPECT_TRUE(there(stuck + "/somebodys"));
}

TEST(LeftoversFaults, ARunWhoseLockCannotBeTriedIsLeftAloneAndReported) {
  FaultEnv env;
  const Store store = Store::open_or_create(env, "/s").value();
  const std::string partial = "/s/000007-step000001-20261122T123005Z.other.partial";
  SF_ASSERT_OK(env.make_dir(partial));
  env.fail({EnvOp::try_lock, Code::io_error, 1, true, "run-other.lock"});
  const auto report = recover(store, {});
  SF_ASSERT_OK(report);
  EXPECT_THAT(report->removed, IsEmpty());
  EXPECT_EQ(report->failed.size(), 1U);
  EXPECT_TRUE(env.exists(partial).value());
}

TEST(LeftoversFaults, AMarkThatIsBeingWrittenIsNotTakenForALeftover) {
  FaultEnv writer;
  const Store store = Store::open_or_create(writer, "/s").value();
  const std::string name = publish(store, "main", 1)->name;
  const auto starter = writer.new_process();
  Gate gate;
  writer.before_change([&](EnvOp op, const std::string& path) {
    if (op == EnvOp::rename && path.ends_with("/bad")) gate.pass();
  });
  Status marked(Code::internal, "not run");
  auto marking = base::Thread::start("mark", [&] { marked = store.set_mark(name, format::kBadMark, "why\n"); });
  SF_ASSERT_OK(marking);
  const bool arrived = wait_until([&] { return gate.arrived(); }, 5000);
  auto recovering = base::Thread::start("recover", [&] {
    const auto report = recover(Store::open(*starter, "/s").value(), {});
    EXPECT_TRUE(report.ok());
    EXPECT_THAT(report->removed, IsEmpty());
  });
  // Recovery waits for the lock, or has gone on without it: the gate opens in either case, before any thread is joined.
  const bool tried_the_lock = wait_until([&] { return starter->calls(EnvOp::try_lock) > 0; }, 5000);
  gate.open();
  SF_ASSERT_OK(recovering);
  recovering->join();
  marking->join();
  EXPECT_TRUE(arrived && tried_the_lock);
  SF_ASSERT_OK(marked);
  EXPECT_EQ(content_of(writer, "/s/" + name + "/bad").value(), "why\n");
}

// Killed at each change of recovery, then power fails, then recovery again: the whole checkpoint stands, the rest goes.
TEST(LeftoversFaults, CutOffAnywhereASecondRecoveryFinishesIt) {
  FaultEnv env;
  const Store store = Store::open_or_create(env, "/s").value();
  const std::string name = publish(store, "main", 1)->name;
  for (const std::string orphan :
       {"/s/000007-step000001-20261122T123005Z.dead.partial", "/s/000008-step000001-20261122T123005Z.removing"}) {
    SF_ASSERT_OK(env.make_dir(orphan));
    SF_ASSERT_OK(env.create(orphan + "/rank-00000.data"));
    SF_ASSERT_OK(env.create(orphan + "/" + std::string(format::kManifestFile)));
    SF_ASSERT_OK(env.sync_dir(orphan));
  }
  SF_ASSERT_OK(env.create("/s/" + name + "/verified.tmp"));
  SF_ASSERT_OK(env.sync_dir("/s/" + name));
  SF_ASSERT_OK(env.sync_dir("/s"));
  std::uint64_t cuts = 0;
  for (std::uint64_t n = 1;; ++n) {
    const auto disk = env.copy();
    disk->die_at(n);
    const auto cut = recover(Store::open(*disk, "/s").value(), {});
    if (cut.ok() && !disk->is_dead()) break;
    ++cuts;
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
      const auto world = disk->survivor(seed);
      const Store after = Store::open(*world, "/s").value();
      const auto report = recover(after, {});
      SF_ASSERT_OK(report);
      EXPECT_THAT(report->failed, IsEmpty());
      EXPECT_THAT(recover(after, {})->removed, IsEmpty());
      SF_ASSERT_OK(check_whole(after, name, 1));
      EXPECT_EQ(world->list("/s/" + name)->size(), 3U);
    }
  }
  EXPECT_GT(cuts, 6U);
}

}  // namespace
}  // namespace stillframe::test
