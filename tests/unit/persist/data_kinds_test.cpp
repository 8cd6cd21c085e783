// How a snapshot lies on disk: uncompressed as a safetensors file, encoded in a container that stores no constant; and
// that its manifest says whether the fence was passed.
#include <random>

#include "format/writer_words.hpp"
#include "unit/persist/persist_rig.hpp"

namespace stillframe::test {
namespace {

using codec::Level;

class DataKinds : public PersistTest {
 protected:
  void start_with(Level level, std::uint32_t reads_format = format::kFormatVersion) {
    arena_ = std::make_unique<arena::Arena>(make_arena(16));
    trainer_ = std::make_unique<ArenaTrainer>(*arena_);
    persist::PersistOptions options = options_of_run("main");
    options.level = level;
    options.reads_format = reads_format;
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
  start_with(Level::raw);
  const Shot shot = capture_zeros(7);
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  EXPECT_TRUE(holds(shot));
  const auto rank = manifest_of(7).ranks.at(0);
  EXPECT_EQ(rank.data.file, format::safetensors_file(0));
  EXPECT_EQ(rank.data.bytes, rank.data.start + shot.image.size());
}

TEST_F(DataKinds, EncodedTheDataIsAContainerThatStoresNoConstant) {
  start_with(Level::standard);
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

TEST_F(DataKinds, ACheckpointSaysItsLevelAndTheLowestVersionThatHoldsIt) {
  for (const Level level : {Level::raw, Level::fast, Level::standard}) {
    persister_.reset();
    start_with(level);
    const auto step = static_cast<std::int64_t>(level);
    const Shot shot = trainer_->capture(step, three_chunk_layout());
    ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
    EXPECT_TRUE(holds(shot));
    const format::Manifest manifest = manifest_of(step);
    EXPECT_EQ(manifest.version, level == Level::raw ? 1U : 2U);
    EXPECT_EQ(format::said_level(manifest.writer), level == Level::raw ? "" : codec::level_name(level));
  }
}

// A trainer of an older release restores what its daemon, of a newer one, has written.
TEST_F(DataKinds, ATrainerOfVersionOneGetsVersionOneAtAnyLevel) {
  for (const Level level : {Level::raw, Level::fast, Level::standard}) {
    persister_.reset();
    start_with(level, /*reads_format=*/1);
    const auto step = static_cast<std::int64_t>(level);
    const Shot shot = trainer_->capture(step, three_chunk_layout());
    ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
    EXPECT_TRUE(holds(shot));
    const auto reader = store::CheckpointReader::open(store_, name_of(step)).value();
    EXPECT_EQ(reader->manifest().version, 1U);
    EXPECT_EQ(format::said_level(reader->manifest().writer), "");
    const codec::CodecId codec = level == Level::raw ? codec::CodecId::raw : codec::CodecId::planes_lz4;
    for (const auto& chunk : reader->table(0).chunks) EXPECT_EQ(chunk.codec, static_cast<std::uint8_t>(codec));
  }
}

// What cannot get smaller is stored as it is: every reader of version 1 takes it.
TEST_F(DataKinds, NoiseIsOfVersionOneAtAnyLevel) {
  start_with(Level::standard);
  Shot shot = trainer_->begin(7, three_chunk_layout());
  std::mt19937_64 dice(7);
  std::ranges::generate(shot.image, [&dice] { return static_cast<std::byte>(dice()); });
  trainer_->fill_all(shot);
  ASSERT_TRUE(trainer_->side().seal(shot.handle));
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  EXPECT_TRUE(holds(shot));
  EXPECT_EQ(manifest_of(7).version, 1U);
}

// Noise, then a state that gets smaller: the decision of the noise is followed, and soon made anew.
TEST_F(DataKinds, WhatWasDecidedIsFollowedForAFewCheckpoints) {
  start_with(Level::standard);
  const auto layout = format::lay_out({{"weight", DType::f32, {1000}}}).value();
  std::vector<std::uint64_t> data_bytes;
  std::optional<Shot> before;
  std::mt19937_64 dice(7);
  for (std::int64_t step = 0; step < 2 + codec::kUsesOfASample; ++step) {
    Shot shot = trainer_->begin(step, layout);
    if (step == 0) std::ranges::generate(shot.image, [&dice] { return static_cast<std::byte>(dice()); });
    trainer_->fill_all(shot);
    trainer_->side().confirm(shot.handle);
    ASSERT_TRUE(trainer_->side().seal(shot.handle));
    ASSERT_TRUE(trainer_->reaches(shot, RecordState::verified));
    EXPECT_TRUE(holds(shot));
    data_bytes.push_back(manifest_of(step).ranks.at(0).data.bytes);
    if (before) {
      ASSERT_TRUE(trainer_->is_done(*before));
      ASSERT_TRUE(trainer_->side().recycle(before->handle));
    }
    before = std::move(shot);
  }
  EXPECT_EQ(data_bytes.at(1), layout.bytes);
  EXPECT_LT(data_bytes.back(), layout.bytes);
}

TEST_F(DataKinds, AStateThatSafetensorsCannotHoldIsWrittenAllTheSame) {
  start_with(Level::raw);
  const Shot shot = trainer_->capture(7, format::lay_out({{"__metadata__", DType::u8, {100}}}).value());
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  EXPECT_TRUE(holds(shot));
  EXPECT_EQ(manifest_of(7).ranks.at(0).data.file, format::data_file(0));
}

TEST_F(DataKinds, TheManifestSaysConfirmedOnlyWhenTheFenceWasPassedBeforeTheCommit) {
  start_with(Level::standard);
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
