// Before a checkpoint is written there is room for it, or it is refused with the figures; what is older is never touched by that.
#include "unit/persist/persist_rig.hpp"

namespace stillframe::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class Preflight : public PersistTest {
 protected:
  void restart(const retention::Policy& policy) {
    persister_.reset();
    persist::PersistOptions options = options_of_run("main");
    options.retention = policy;
    options.level = codec::Level::raw;  // every checkpoint takes what its image takes
    start_daemon(options);
  }
  void take_verified(std::int64_t step) {
    const Shot shot = trainer_->capture(step, three_chunk_layout());
    trainer_->side().confirm(shot.handle);
    ASSERT_TRUE(trainer_->reaches(shot, RecordState::verified));
    ASSERT_TRUE(drains());
  }
  static retention::Policy without_room() {
    retention::Policy policy;
    policy.min_free_bytes = 1ULL << 60;
    return policy;
  }
  void watch_changes() {
    env_.observe([this](EnvOp op, const std::string&) {
      changes_ += op == EnvOp::create || op == EnvOp::make_dir || op == EnvOp::write_at || op == EnvOp::rename;
    });
  }
  void expect_step_2_refused() {
    ASSERT_THAT(news_.of("failed"), SizeIs(1));
    const persist::News failed = news_.of("failed")[0];
    EXPECT_EQ(failed.code, Code::no_space);
    EXPECT_THAT(failed.error, HasSubstr("min_free_bytes"));
    EXPECT_THAT(failed.error, HasSubstr("step 2"));
    EXPECT_EQ(changes_, 0) << "not even a sequence was claimed";
    EXPECT_THAT(steps(), ElementsAre(1));
    EXPECT_THAT(leftovers(), IsEmpty());
  }
  std::uint64_t stored_bytes() const { return news_.of("durable").back().stored_bytes; }

  std::vector<std::int64_t> at_begin_;
  std::atomic<int> changes_{0};
};

TEST_F(Preflight, WithoutRoomNothingIsWrittenAndTheFiguresAreSaid) {
  start(12);
  take_verified(1);
  restart(without_room());
  watch_changes();
  const Shot shot = trainer_->begin(2, three_chunk_layout());
  trainer_->fill_descriptor(shot);
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::failed));
  EXPECT_FALSE(trainer_->side().seal(shot.handle));
  trainer_->side().abandon(shot.handle);
  ASSERT_TRUE(trainer_->is_done(shot));
  expect_step_2_refused();
  EXPECT_GE(trainer_->free_slots(), 8U) << "the older image may keep its four";
}

TEST_F(Preflight, WithoutRoomASealedImageStaysInMemory) {
  start(12);
  take_verified(1);
  persister_.reset();
  const Shot shot = trainer_->capture(2, three_chunk_layout());
  watch_changes();
  restart(without_room());
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::failed));
  ASSERT_TRUE(drains());
  expect_step_2_refused();
  EXPECT_FALSE(trainer_->done_now(shot)) << "it is nowhere else";
  EXPECT_EQ(trainer_->free_slots(), 8U) << "the older one gave way";
}

TEST_F(Preflight, OlderOnesMakeRoomAsThePolicyAllows) {
  start(12);
  restart({});
  for (std::int64_t step = 1; step <= 3; ++step) take_verified(step);
  env_.observe([this](EnvOp op, const std::string& path) {
    const bool begins = op == EnvOp::make_dir && path.find("step000004") != std::string::npos;
    if (begins) at_begin_ = steps();
  });
  retention::Policy policy;
  policy.max_bytes = 3 * stored_bytes() + (1ULL << 20);
  restart(policy);
  take_verified(4);
  EXPECT_LT(at_begin_.size(), 3U) << "before the first byte of step 4 is written";
  EXPECT_EQ(at_begin_.front(), 3) << "the newest verified one stays";
  EXPECT_EQ(steps().front(), 4);
}

TEST_F(Preflight, ADiskThatFillsUpUnderWayLeavesTheOlderAndFreesWhatWasWritten) {
  start(12);
  take_verified(1);
  const Shot before = trainer_->capture(2, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(before, RecordState::durable));
  mem_.fail({EnvOp::write_at, Code::no_space, 2, true, std::string(format::data_file(0))});
  const Shot shot = trainer_->begin(3, three_chunk_layout());
  trainer_->fill_all(shot);
  if (!trainer_->side().seal(shot.handle)) trainer_->side().abandon(shot.handle);
  ASSERT_TRUE(news_.comes("failed"));
  ASSERT_THAT(news_.of("failed"), SizeIs(1));
  EXPECT_EQ(news_.of("failed")[0].code, Code::no_space);
  EXPECT_THAT(news_.of("failed")[0].error, HasSubstr("older checkpoints"));
  EXPECT_THAT(steps(), ElementsAre(2, 1));
  EXPECT_THAT(leftovers(), IsEmpty());
  mem_.fail_nothing();
  take_verified(4);
  EXPECT_THAT(steps(), ElementsAre(4, 2, 1));
}

}  // namespace
}  // namespace stillframe::test
