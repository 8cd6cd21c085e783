// The power fails after every single call of a commit, of a removal, and of a recovery.
#include <gmock/gmock.h>

#include "support/crash_recorder.hpp"
#include "support/store_fixture.hpp"

namespace stillframe::test {
namespace {

using store::Store;

// What is wrong with the store after a power loss; empty when every listed checkpoint is whole and `must_stand` are
// there.
std::string wrong_after(FaultEnv& world, const std::vector<std::pair<std::string, std::int64_t>>& must_stand) {
  const auto store = Store::open(world, "/runs/gpt");
  if (!store.ok()) return store.status().message();
  if (const auto recovered = store::recover(*store, {}); !recovered.ok()) return recovered.status().message();
  const auto listed = store->list();
  if (!listed.ok()) return listed.status().message();
  for (const auto& ref : *listed) {
    if (const Status whole = check_whole(*store, ref.name, ref.parsed.step); !whole.ok()) return whole.message();
  }
  for (const auto& [name, step] : must_stand) {
    if (const Status whole = check_whole(*store, name, step); !whole.ok()) return whole.message();
  }
  const auto present = world.list("/runs/gpt").value();
  for (const auto& entry : present) {
    if (entry.is_directory && !format::parse_checkpoint_name(entry.name)) return "recovery left " + entry.name;
  }
  const auto claimed = store->claim_sequence(base::Deadline::after_ms(10'000));
  if (!claimed.ok()) return claimed.status().message();
  if (!listed->empty() && *claimed <= listed->front().parsed.sequence) return "a sequence was handed out twice";
  return {};
}

class PowerLoss : public testing::Test {
 protected:
  void SetUp() override {
    const auto store = Store::open_or_create(mem_, "/runs/gpt");
    SF_ASSERT_OK(store);
    const auto published = publish(*store, "main", 1);
    SF_ASSERT_OK(published);
    old_ = published->name;
  }

  // Commits a second checkpoint through the recorder; the first thing wrong at any crash point, or empty.
  std::string first_wrong_of_a_commit(CrashRecorder& recorder) {
    const auto published = publish(Store::open(recorder, "/runs/gpt").value(), "main", 2);
    if (!published.ok()) return published.status().message();
    for (auto& point : recorder.points()) {
      if (auto wrong = wrong_after(*point.world, {{old_, 1}}); !wrong.empty())
        return "after " + point.after + ": " + wrong;
    }
    const auto acknowledged = mem_.survivor(FaultEnv::kOnlySynced);
    return wrong_after(*acknowledged, {{old_, 1}, {published->name, 2}});
  }

  FaultEnv mem_;
  std::string old_;
};

TEST_F(PowerLoss, AfterEachCallOfACommitTheOldIsWholeAndTheNewWholeOrAbsent) {
  CrashRecorder recorder(mem_);
  EXPECT_EQ(first_wrong_of_a_commit(recorder), "");
  EXPECT_GT(recorder.points().size(), 15U);
}

TEST_F(PowerLoss, EverySyncOfACommitIsNeeded) {
  const std::vector<std::pair<EnvOp, std::string>> mutations{
      {EnvOp::sync, ".data"}, {EnvOp::sync, ".table"}, {EnvOp::sync, "manifest.json"}, {EnvOp::sync_dir, ".partial"}};
  for (const auto& [op, path] : mutations) {
    FaultEnv fresh;
    const auto published = publish(Store::open_or_create(fresh, "/runs/gpt").value(), "main", 1);
    SF_ASSERT_OK(published);
    CrashRecorder recorder(fresh);
    recorder.drop(op, path);
    const auto second = publish(Store::open(recorder, "/runs/gpt").value(), "main", 2);
    SF_ASSERT_OK(second);
    const auto world = fresh.survivor(FaultEnv::kOnlySynced);
    EXPECT_NE(wrong_after(*world, {{published->name, 1}, {second->name, 2}}), "") << env_op_name(op) << " " << path;
  }
}

TEST_F(PowerLoss, WithoutTheLastSyncOfTheStoreTheAcknowledgedCheckpointIsLost) {
  const Store direct = Store::open(mem_, "/runs/gpt").value();
  const std::uint64_t sequence = direct.claim_sequence(base::Deadline::after_ms(10'000)).value();
  CrashRecorder recorder(mem_);
  recorder.drop(EnvOp::sync_dir, "/runs/gpt");
  const auto writer =
      store::CheckpointWriter::begin(Store::open(recorder, "/runs/gpt").value(), "main", sequence, 2, kUtcNs);
  SF_ASSERT_OK(writer);
  const auto layout = three_chunk_layout();
  SF_ASSERT_OK((*writer)->begin_rank(0, layout, store::DataKind::container));
  SF_ASSERT_OK(append_image(**writer, layout, image_of(layout, 2), codec::CodecId::raw));
  SF_ASSERT_OK((*writer)->end_rank(format::flat_tree(layout)));
  const auto published = (*writer)->commit(draft_of("main", 2));
  SF_ASSERT_OK(published);
  EXPECT_NE(wrong_after(*mem_.survivor(FaultEnv::kOnlySynced), {{published->name, 2}}), "");
}

TEST_F(PowerLoss, AfterEachCallOfARemovalTheCheckpointIsWholeOrGone) {
  SF_ASSERT_OK(publish(Store::open(mem_, "/runs/gpt").value(), "main", 2));
  const std::string newest = Store::open(mem_, "/runs/gpt")->list()->front().name;
  CrashRecorder recorder(mem_);
  SF_ASSERT_OK(Store::open(recorder, "/runs/gpt")->remove(old_));
  for (auto& point : recorder.points()) EXPECT_EQ(wrong_after(*point.world, {{newest, 2}}), "") << point.after;
  EXPECT_GE(recorder.points().size(), 6U);
}

TEST_F(PowerLoss, AfterEachCallOfARecoveryASecondOneFinishesIt) {
  for (const std::string& orphan : {format::removing_name("000007-step000001-20261122T123005Z"),
                                    format::partial_name("000008-step000001-20261122T123005Z", "main")}) {
    const std::string directory = env::join("/runs/gpt", orphan);
    SF_ASSERT_OK(mem_.make_dir(directory));
    for (const std::string file : {"manifest.json", "rank-00000.data", "rank-00000.table"}) {
      SF_ASSERT_OK(mem_.create(env::join(directory, file)));
    }
    SF_ASSERT_OK(mem_.sync_dir(directory));
  }
  SF_ASSERT_OK(mem_.sync_dir("/runs/gpt"));
  CrashRecorder recorder(mem_);
  SF_ASSERT_OK(store::recover(Store::open(recorder, "/runs/gpt").value(), {}));
  for (auto& point : recorder.points()) EXPECT_EQ(wrong_after(*point.world, {{old_, 1}}), "") << point.after;
  EXPECT_GE(recorder.points().size(), 8U);
}

}  // namespace
}  // namespace stillframe::test
