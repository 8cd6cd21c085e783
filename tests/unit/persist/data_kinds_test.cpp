// How a snapshot lies on disk: uncompressed as a safetensors file, encoded in a container that stores no constant; and
// that its manifest says whether the fence was passed.
#include "unit/persist/persist_rig.hpp"

namespace stillframe::test {
namespace {

using codec::CodecId;

class DataKinds : public PersistTest {
 protected:
  void start_with(CodecId codec) {
    arena_ = std::make_unique<arena::Arena>(make_arena(16));
    trainer_ = std::make_unique<ArenaTrainer>(*arena_);
    persist::PersistOptions options = options_of_run("main");
    options.codec = codec;
    auto started = persist::Persister::start(*arena_, store_, *encoders_, std::move(options),
                                             [this](const persist::News& news) { news_.add(news); });
    ASSERT_TRUE(started.ok()) << started.status().message();
    persister_ = std::move(started).value();
  }
  [[nodiscard]] format::Manifest manifest_of(std::int64_t step) {
    return store::CheckpointReader::open(store_, name_of(step)).value()->manifest();
  }
  // Three chunks of zeros, then one of other bytes.
  [[nodiscard]] Shot capture_zeros(std::int64_t step) {
    const auto layout =
        format::lay_out({{"moments", DType::f32, {3 * kChunkBytes / 4}}, {"mask", DType::u8, {1000}}}).value();
    Shot shot = trainer_->begin(step, layout);
    std::fill_n(shot.image.begin(), 3 * kChunkBytes, std::byte{0});
    trainer_->fill_all(shot);
    EXPECT_TRUE(trainer_->side().seal(shot.handle));
    return shot;
  }
};

TEST_F(DataKinds, UncompressedTheDataIsASafetensorsFileOfEveryByte) {
  start_with(CodecId::raw);
  const Shot shot = capture_zeros(7);
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  EXPECT_TRUE(holds(shot));
  const auto rank = manifest_of(7).ranks.at(0);
  EXPECT_EQ(rank.data.file, format::safetensors_file(0));
  EXPECT_EQ(rank.data.bytes, rank.data.start + shot.image.size());
}

TEST_F(DataKinds, EncodedTheDataIsAContainerThatStoresNoConstant) {
  start_with(CodecId::planes_lz4);
  const Shot shot = capture_zeros(7);
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  EXPECT_TRUE(holds(shot));
  const auto reader = store::CheckpointReader::open(store_, name_of(7)).value();
  EXPECT_EQ(reader->manifest().ranks.at(0).data.file, format::data_file(0));
  EXPECT_LE(reader->manifest().ranks.at(0).data.bytes, 1000U);
  std::vector<format::LocationKind> locations;
  for (const auto& chunk : reader->table(0).chunks) locations.push_back(chunk.location);
  using enum format::LocationKind;
  EXPECT_THAT(locations, testing::ElementsAre(constant, constant, constant, own_bytes));
}

TEST_F(DataKinds, AStateThatSafetensorsCannotHoldIsWrittenAllTheSame) {
  start_with(CodecId::raw);
  const Shot shot = trainer_->capture(7, format::lay_out({{"__metadata__", DType::u8, {100}}}).value());
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  EXPECT_TRUE(holds(shot));
  EXPECT_EQ(manifest_of(7).ranks.at(0).data.file, format::data_file(0));
}

TEST_F(DataKinds, TheManifestSaysConfirmedOnlyWhenTheFenceWasPassedBeforeTheCommit) {
  start_with(CodecId::planes_lz4);
  Shot confirmed = trainer_->begin(7, three_chunk_layout());
  trainer_->fill_all(confirmed);
  trainer_->side().confirm(confirmed.handle);
  ASSERT_TRUE(trainer_->side().seal(confirmed.handle));
  ASSERT_TRUE(trainer_->reaches(confirmed, RecordState::verified));
  EXPECT_TRUE(manifest_of(7).confirmed);
  const Shot open = trainer_->capture(8, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(open, RecordState::durable));
  EXPECT_FALSE(manifest_of(8).confirmed);
}

}  // namespace
}  // namespace stillframe::test
