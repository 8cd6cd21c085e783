// An alarm on its way: from the bytes of consecutive snapshots to the manifest, the news and the counters.
#include <cmath>
#include <cstring>

#include "store/reader.hpp"
#include "unit/persist/persist_rig.hpp"

namespace stillframe::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class Alarming : public PersistTest {
 protected:
  // A snapshot whose tensors hold the bytes of `content`, published.
  void take(std::int64_t step, std::int64_t content, const std::string& metrics = "{}") {
    const Shot shot = captured(step, content, metrics);
    ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
    trainer_->side().confirm(shot.handle);
    ASSERT_TRUE(trainer_->reaches(shot, RecordState::verified));
  }
  Shot captured(std::int64_t step, std::int64_t content, const std::string& metrics = "{}") {
    const std::vector<bool> trainable(layout_.entries.size(), true);
    Shot shot = trainer_->begin(step, layout_,
                                format::encode_descriptor(format::encode_layout(layout_, trainable),
                                                          format::flat_tree(layout_), metrics));
    shot.image = image_of(layout_, content);
    trainer_->fill_all(shot);
    EXPECT_TRUE(trainer_->side().seal(shot.handle));
    return shot;
  }
  std::vector<format::Alarm> in_manifest(std::int64_t step) {
    const auto reader = store::CheckpointReader::open(store_, name_of(step));
    EXPECT_TRUE(reader.ok()) << message_of(reader);
    return reader.ok() ? (*reader)->manifest().alarms : std::vector<format::Alarm>();
  }
  std::vector<std::string> kinds(std::int64_t step) {
    std::vector<std::string> found;
    for (const format::Alarm& alarm : in_manifest(step)) found.push_back(alarm.kind);
    return found;
  }
  persist::News durable_news(std::int64_t step) const {
    for (const persist::News& one : news_.of("durable")) {
      if (one.step == step) return one;
    }
    return {};
  }

  format::ImageLayout layout_ = three_chunk_layout();
};

TEST_F(Alarming, TrainedTensorsThatStandStillAreInManifestNewsAndCounters) {
  start(12);
  take(1, 1);
  EXPECT_THAT(kinds(1), IsEmpty());
  take(2, 1);
  ASSERT_THAT(kinds(2), ElementsAre("stale_state"));
  EXPECT_THAT(in_manifest(2)[0].text, HasSubstr("step 1 and step 2"));
  ASSERT_THAT(durable_news(2).alarms, SizeIs(1));
  EXPECT_EQ(durable_news(2).alarms[0].text, in_manifest(2)[0].text);
  take(3, 1);
  ASSERT_THAT(persister_->counters().alarms, SizeIs(1));
  EXPECT_EQ(persister_->counters().alarms[0].times, 2U);
  take(4, 4);
  EXPECT_THAT(kinds(4), IsEmpty());
  EXPECT_THAT(durable_news(4).alarms, IsEmpty());
  EXPECT_THAT(persister_->counters().alarms, IsEmpty());
}

TEST_F(Alarming, ARingSeesThemToo) {
  layout_ = layout_of_chunks(12);
  start(6);
  take(1, 1);
  take(2, 1);
  EXPECT_THAT(kinds(2), ElementsAre("stale_state"));
  take(3, 3);
  EXPECT_THAT(kinds(3), IsEmpty());
}

TEST_F(Alarming, ALossThatIsNoNumberIsAnAlarmAndAFiniteOneNone) {
  start(12);
  take(1, 1, R"({"loss": 2.5})");
  EXPECT_THAT(kinds(1), IsEmpty());
  take(2, 2, R"({"lr": {"$float": "nan"}, "loss": {"$float": "nan"}})");
  EXPECT_THAT(kinds(2), ElementsAre("non_finite_loss"));
  take(3, 3, R"({"loss": {"$float": "-inf"}})");
  EXPECT_THAT(kinds(3), ElementsAre("non_finite_loss"));
  take(4, 4, R"({"lr": {"$float": "nan"}})");
  EXPECT_THAT(kinds(4), IsEmpty());
}

TEST_F(Alarming, AnAttemptThatFailedIsNotTheSnapshotBefore) {
  start(12);
  take(1, 1);
  mem_.fail({EnvOp::sync, Code::io_error, 1, false, std::string(format::kManifestFile)});
  take(2, 2);
  EXPECT_THAT(kinds(2), IsEmpty()) << "the second attempt compares with step 1, not with the first";
}

TEST_F(Alarming, ASnapshotThatWasNotPublishedIsPassedOver) {
  start(12);
  take(1, 1);
  mem_.fail({EnvOp::create, Code::no_space, 1, true, std::string(format::kManifestFile)});
  const Shot lost = captured(2, 2);
  ASSERT_TRUE(trainer_->reaches(lost, RecordState::failed));
  mem_.fail_nothing();
  take(3, 1);
  ASSERT_THAT(kinds(3), ElementsAre("stale_state"));
  EXPECT_THAT(in_manifest(3)[0].text, HasSubstr("step 1 and step 3"));
}

TEST_F(Alarming, TheManifestSaysWhetherTheFenceWasPassedBeforeTheCommit) {
  start(12);
  const auto confirmed = [this](std::int64_t step) {
    return store::CheckpointReader::open(store_, name_of(step)).value()->manifest().confirmed;
  };
  const Shot late = captured(1, 1);
  ASSERT_TRUE(trainer_->reaches(late, RecordState::durable));
  trainer_->side().confirm(late.handle);
  ASSERT_TRUE(trainer_->reaches(late, RecordState::verified)) << "the fence came after the commit";
  EXPECT_FALSE(confirmed(1));

  Shot early = trainer_->begin(2, layout_);
  trainer_->fill_all(early);
  trainer_->side().confirm(early.handle);
  ASSERT_TRUE(trainer_->side().seal(early.handle));
  ASSERT_TRUE(trainer_->reaches(early, RecordState::verified));
  EXPECT_TRUE(confirmed(2));
}

// The metrics name an entry of the image, as a loss on a GPU does.
class AlarmingByImage : public Alarming {
 protected:
  AlarmingByImage() {
    layout_ = format::lay_out({{"weight", DType::f32, {2 * kChunkBytes / 4}}, {"metrics.loss", DType::f32, {}}}).value();
  }
  void take_with_loss(std::int64_t step, float loss) {
    Shot shot = trainer_->begin(step, layout_,
                                format::encode_descriptor(format::encode_layout(layout_), format::flat_tree(layout_),
                                                          R"({"loss": {"$entry": "metrics.loss"}, "rate": 0.5})"));
    std::memcpy(shot.image.data() + layout_.entries[1].offset, &loss, sizeof loss);
    trainer_->fill_all(shot);
    ASSERT_TRUE(trainer_->side().seal(shot.handle));
    ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  }
};

TEST_F(AlarmingByImage, ALossThatTheImageHoldsIsJudgedAndStandsInTheManifest) {
  start(12);
  take_with_loss(1, 0.25F);
  take_with_loss(2, std::nanf(""));
  const auto metrics = [&](std::int64_t step) {
    return store::CheckpointReader::open(store_, name_of(step)).value()->manifest().metrics_json;
  };
  EXPECT_EQ(metrics(1), R"({"loss": 0.25, "rate": 0.5})");
  EXPECT_THAT(kinds(1), IsEmpty());
  EXPECT_EQ(metrics(2), R"({"loss": {"$float": "nan"}, "rate": 0.5})");
  EXPECT_THAT(kinds(2), ElementsAre("non_finite_loss"));
}

TEST_F(AlarmingByImage, AMetricThatNamesNoNumberFailsTheSnapshotByName) {
  start(12);
  const Shot shot = trainer_->begin(1, layout_,
                                    format::encode_descriptor(format::encode_layout(layout_), format::flat_tree(layout_),
                                                              R"({"loss": {"$entry": "weight"}})"));
  trainer_->fill_descriptor(shot);
  ASSERT_TRUE(news_.comes("failed"));
  EXPECT_THAT(news_.of("failed")[0].error, HasSubstr("metrics, \"loss\": entry 'weight' is not one number"));
}

}  // namespace
}  // namespace stillframe::test
