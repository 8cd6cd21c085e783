// Disks that fail, disks that are full, and trainers that lie: the older checkpoints stay byte for byte.
#include "unit/persist/persist_rig.hpp"

namespace stillframe::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Failing : public PersistTest {
 protected:
  // A durable checkpoint of step 1, and what its files hold.
  void with_an_older_checkpoint(std::uint64_t slots) {
    start(slots);
    older_ = trainer_->capture(1, three_chunk_layout());
    trainer_->side().confirm(older_.handle);
    ASSERT_TRUE(trainer_->reaches(older_, RecordState::verified));
    ASSERT_TRUE(drains());
    files_ = files_of(name_of(1));
  }
  std::vector<std::pair<std::string, std::string>> files_of(const std::string& name) {
    std::vector<std::pair<std::string, std::string>> found;
    const auto entries = mem_.list(env::join(store_.path(), name)).value();
    for (const auto& entry : entries) {
      found.emplace_back(entry.name, content_of(mem_, file_of(store_, name, entry.name)).value());
    }
    std::sort(found.begin(), found.end());
    return found;
  }
  void expect_older_untouched() {
    mem_.fail_nothing();
    EXPECT_EQ(files_of(name_of(1)), files_);
    EXPECT_TRUE(holds(older_));
  }
  std::uint64_t count_data_files() const { return data_files_; }
  void count_data_files_made() {
    env_.observe([this](EnvOp op, const std::string& path) {
      if (op == EnvOp::create && path.find(format::data_file(0)) != std::string::npos) ++data_files_;
    });
  }

  Shot older_;
  std::vector<std::pair<std::string, std::string>> files_;
  std::atomic<std::uint64_t> data_files_{0};
};

TEST_F(Failing, OneErrorAndItIsWrittenAgainToFreshFiles) {
  with_an_older_checkpoint(8);
  count_data_files_made();
  mem_.fail({EnvOp::sync, Code::io_error, 1, false, std::string(format::data_file(0))});
  const Shot shot = trainer_->capture(2, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  EXPECT_EQ(count_data_files(), 2U);
  EXPECT_THAT(steps(), ElementsAre(2, 1));
  EXPECT_TRUE(holds(shot));
  EXPECT_THAT(leftovers(), IsEmpty());
  EXPECT_EQ(persister_->counters().failed, 0U);
  expect_older_untouched();
}

TEST_F(Failing, EveryPlaceThatCanFailOnceIsGotOver) {
  for (const EnvOp op :
       {EnvOp::make_dir, EnvOp::create, EnvOp::write_at, EnvOp::sync, EnvOp::rename_no_replace, EnvOp::sync_dir}) {
    for (std::uint64_t nth = 1; nth <= 3; ++nth) {
      FaultEnv mem;
      const auto store = store::Store::open_or_create(mem, "/runs/gpt").value();
      const arena::Arena arena = make_arena(8);
      ArenaTrainer trainer(arena);
      NewsLog news;
      auto persister = persist::Persister::start(arena, store, *encoders_, options_of_run("main"),
                                                 [&](const persist::News& one) { news.add(one); });
      SF_ASSERT_OK(persister);
      mem.fail({op, Code::io_error, nth, false, ".partial"});
      const Shot shot = trainer.capture(2, three_chunk_layout());
      ASSERT_TRUE(trainer.reaches(shot, RecordState::durable)) << env_op_name(op) << " " << nth;
      const auto listed = store.list().value();
      ASSERT_EQ(listed.size(), 1U) << env_op_name(op) << " " << nth;
      SF_ASSERT_OK(check_whole(store, listed[0].name, 2));
      EXPECT_EQ(news.of("durable").size(), 1U);
      EXPECT_THAT(news.of("failed"), IsEmpty());
    }
  }
}

TEST_F(Failing, ADiskThatFailsForEverIsReportedAfterThreeAttempts) {
  with_an_older_checkpoint(8);
  count_data_files_made();
  mem_.fail({EnvOp::sync, Code::io_error, 1, true, std::string(format::data_file(0))});
  const Shot shot = trainer_->capture(2, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::failed));
  EXPECT_EQ(count_data_files(), 3U);
  EXPECT_THAT(steps(), ElementsAre(1));
  EXPECT_THAT(leftovers(), IsEmpty());
  ASSERT_EQ(news_.of("failed").size(), 1U);
  const persist::News failed = news_.of("failed")[0];
  EXPECT_EQ(failed.code, Code::io_error);
  EXPECT_THAT(failed.error, HasSubstr("step 2"));
  EXPECT_THAT(failed.error, HasSubstr("older checkpoints"));
  const auto counters = persister_->counters();
  EXPECT_EQ(counters.failed, 1U);
  EXPECT_EQ(counters.consecutive_failures, 1U);
  EXPECT_EQ(counters.last_error, failed.error);
  expect_older_untouched();
}

TEST_F(Failing, AfterAFailureTheNextSnapshotIsWrittenAndTheCountStartsAnew) {
  with_an_older_checkpoint(8);
  mem_.fail({EnvOp::sync, Code::io_error, 1, true, std::string(format::data_file(0))});
  const Shot lost = trainer_->capture(2, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(lost, RecordState::failed));
  mem_.fail_nothing();
  const Shot next = trainer_->capture(3, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(next, RecordState::durable));
  EXPECT_THAT(steps(), ElementsAre(3, 1));
  EXPECT_EQ(persister_->counters().consecutive_failures, 0U);
}

TEST_F(Failing, AFullDiskIsReportedAtOnce) {
  with_an_older_checkpoint(8);
  count_data_files_made();
  mem_.fail({EnvOp::write_at, Code::no_space, 1, true, std::string(format::data_file(0))});
  const Shot shot = trainer_->capture_unless_failed(2, three_chunk_layout());
  ASSERT_TRUE(news_.comes("failed"));
  EXPECT_EQ(count_data_files(), 1U);
  EXPECT_THAT(leftovers(), IsEmpty());
  ASSERT_EQ(news_.of("failed").size(), 1U);
  EXPECT_EQ(news_.of("failed")[0].code, Code::no_space);
  EXPECT_THAT(news_.of("failed")[0].error, HasSubstr("older checkpoints"));
  expect_older_untouched();
}

TEST_F(Failing, WhenItFailsDuringTheCopyTheTrainerIsToldAndTheMemoryComesBackOnceItLetsGo) {
  with_an_older_checkpoint(8);
  mem_.fail({EnvOp::write_at, Code::no_space, 1, true, std::string(format::data_file(0))});
  const Shot shot = trainer_->begin(2, three_chunk_layout());
  trainer_->fill_descriptor(shot);
  trainer_->fill_chunk(shot, 0);
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::failed));
  EXPECT_FALSE(trainer_->done_now(shot)) << "the trainer may still be writing into its slots";
  trainer_->fill_chunk(shot, 1);
  EXPECT_FALSE(trainer_->side().seal(shot.handle));
  trainer_->side().abandon(shot.handle);
  ASSERT_TRUE(trainer_->is_done(shot));
  EXPECT_EQ(trainer_->free_slots(), 4U) << "the older image keeps its four";
  expect_older_untouched();
}

TEST_F(Failing, ARingIsNotTriedAgainSinceItsEarlyChunksAreGone) {
  start(6);
  count_data_files_made();
  mem_.fail({EnvOp::sync, Code::io_error, 3, false, std::string(format::data_file(0))});
  const Shot shot = trainer_->begin(1, layout_of_chunks(12));
  trainer_->fill_descriptor(shot);
  for (std::uint64_t chunk = 0; chunk < 6; ++chunk) trainer_->fill_chunk(shot, chunk);
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::failed));
  trainer_->side().abandon(shot.handle);
  ASSERT_TRUE(trainer_->is_done(shot));
  EXPECT_EQ(count_data_files(), 1U);
  EXPECT_THAT(steps(), IsEmpty());
  EXPECT_THAT(leftovers(), IsEmpty());
  EXPECT_EQ(trainer_->free_slots(), 6U);
}

class Lying : public Failing, public testing::WithParamInterface<int> {};

TEST_P(Lying, ADescriptorThatIsWrongFailsItsSnapshotAndNothingElse) {
  with_an_older_checkpoint(8);
  const auto layout = three_chunk_layout();
  const std::string good_layout = format::encode_layout(layout);
  const std::string good_tree = format::flat_tree(layout);
  const std::vector<std::vector<std::byte>> descriptors{
      format::encode_descriptor(good_layout, R"({"x": {"$tensor": "no such entry"}})", "{}"),
      format::encode_descriptor(good_layout, "not JSON", "{}"),
      format::encode_descriptor(good_layout, "", "{}"),
      format::encode_descriptor(format::encode_layout(layout_of_chunks(2)), good_tree, "{}"),
      format::encode_descriptor("[]", good_tree, "{}"),
      format::encode_descriptor(R"([["a", "F32", [18446744073709551615, 18446744073709551615]]])", good_tree, "{}"),
      format::encode_descriptor(good_layout, good_tree, "not JSON"),
      format::encode_descriptor(good_layout, std::string(100'000, '['), "{}"),
      std::vector<std::byte>(200, std::byte{0xff}),
      std::vector<std::byte>(3),
  };
  const Shot shot = trainer_->begin(2, layout, descriptors.at(static_cast<std::size_t>(GetParam())));
  trainer_->fill_all(shot);
  // Before or after it is sealed: either way it never becomes a checkpoint.
  if (!trainer_->side().seal(shot.handle)) trainer_->side().abandon(shot.handle);
  ASSERT_TRUE(trainer_->is_done(shot));
  EXPECT_THAT(steps(), ElementsAre(1));
  EXPECT_THAT(leftovers(), IsEmpty());
  EXPECT_EQ(news_.of("failed").size(), 1U);
  expect_older_untouched();

  const Shot next = trainer_->capture(3, layout);
  ASSERT_TRUE(trainer_->reaches(next, RecordState::durable));
  EXPECT_TRUE(holds(next));
}
INSTANTIATE_TEST_SUITE_P(Descriptors, Lying, testing::Range(0, 10));

TEST_F(Failing, ASealedSnapshotWithoutAllItsChunksFailsInsteadOfWaitingForEver) {
  with_an_older_checkpoint(8);
  const Shot shot = trainer_->begin(2, three_chunk_layout());
  trainer_->fill_descriptor(shot);
  trainer_->fill_chunk(shot, 0);
  trainer_->fill_chunk(shot, 2);
  ASSERT_TRUE(trainer_->side().seal(shot.handle));
  ASSERT_TRUE(trainer_->is_done(shot));
  EXPECT_EQ(trainer_->state(shot), RecordState::failed);
  ASSERT_EQ(news_.of("failed").size(), 1U);
  EXPECT_THAT(news_.of("failed")[0].error, HasSubstr("chunk 1"));
  EXPECT_THAT(leftovers(), IsEmpty());
  expect_older_untouched();
}

TEST_F(Failing, ASealedSnapshotWithoutItsDescriptorFailsInsteadOfWaitingForEver) {
  with_an_older_checkpoint(8);
  const Shot shot = trainer_->begin(2, three_chunk_layout());
  for (std::uint64_t chunk = 0; chunk < 3; ++chunk) trainer_->fill_chunk(shot, chunk);
  ASSERT_TRUE(trainer_->side().seal(shot.handle));
  ASSERT_TRUE(trainer_->is_done(shot));
  EXPECT_EQ(trainer_->state(shot), RecordState::failed);
  EXPECT_EQ(news_.of("failed").size(), 1U);
  expect_older_untouched();
}

}  // namespace
}  // namespace stillframe::test
