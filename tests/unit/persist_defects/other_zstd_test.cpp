// Another libzstd in the process than the one that was built against: older, poorer, or wrong. The linker sends the
// library's calls here (--wrap, tests/CMakeLists.txt). Checkpoints are written all the same, and every byte of them comes
// back.
#define ZSTD_STATIC_LINKING_ONLY
#include <gmock/gmock.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "codec/codec.hpp"
#include "persist/encode_pipeline.hpp"
#include "support/store_fixture.hpp"
#include "unit/codec/samples.hpp"
#include "unit/persist/persist_rig.hpp"

namespace stillframe::test {
namespace {

enum class Defect : std::uint8_t { none, refuses_setting, no_decoder, other_frame, other_bytes };
Defect defect = Defect::none;

}  // namespace
}  // namespace stillframe::test

extern "C" {

std::size_t __real_ZSTD_CCtx_setParameter(ZSTD_CCtx* encoder, ZSTD_cParameter parameter, int value);
ZSTD_DCtx* __real_ZSTD_createDCtx();
std::size_t __real_ZSTD_compressSequences(ZSTD_CCtx* encoder, void* out, std::size_t out_bytes,
                                          const ZSTD_Sequence* sequences, std::size_t count, const void* raw,
                                          std::size_t raw_bytes);

// As a library that does not know the mode of literals.
std::size_t __wrap_ZSTD_CCtx_setParameter(ZSTD_CCtx* encoder, ZSTD_cParameter parameter, int value) {
  using namespace stillframe::test;
  if (defect == Defect::refuses_setting && parameter == ZSTD_c_literalCompressionMode) {
    return static_cast<std::size_t>(-static_cast<int>(ZSTD_error_parameter_unsupported));
  }
  return __real_ZSTD_CCtx_setParameter(encoder, parameter, value);
}

ZSTD_DCtx* __wrap_ZSTD_createDCtx() {
  using namespace stillframe::test;
  return defect == Defect::no_decoder ? nullptr : __real_ZSTD_createDCtx();
}

std::size_t __wrap_ZSTD_compressSequences(ZSTD_CCtx* encoder, void* out, std::size_t out_bytes,
                                          const ZSTD_Sequence* sequences, std::size_t count, const void* raw,
                                          std::size_t raw_bytes) {
  using namespace stillframe::test;
  if (defect == Defect::other_frame) return ZSTD_compress(out, out_bytes, raw, raw_bytes, 19);
  std::vector<char> bytes(static_cast<const char*>(raw), static_cast<const char*>(raw) + raw_bytes);
  if (defect == Defect::other_bytes) std::swap(bytes.front(), bytes.back());
  return __real_ZSTD_compressSequences(encoder, out, out_bytes, sequences, count, bytes.data(), raw_bytes);
}

}  // extern "C"

namespace stillframe::test {
namespace {

using codec::Level;
using testing::HasSubstr;

class OtherZstd : public testing::Test {
 protected:
  ~OtherZstd() override { defect = Defect::none; }

  Result<persist::EncodedChunk> encode(Level level) {
    pipeline_.emplace(*encoders_, persist::Encoding{level}, 1);
    pipeline_->submit(raw_, {{static_cast<std::uint32_t>(raw_.size()), 4}}, decisions_);
    return pipeline_->take();
  }
  void expect_comes_back(const persist::EncodedChunk& chunk) {
    defect = Defect::none;
    std::vector<std::byte> decoded(raw_.size());
    const Status status = codec::decode(chunk.record.codec, chunk.stored, decoded);
    EXPECT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(decoded, raw_);
    EXPECT_EQ(chunk.record.raw_hash, base::xxh128(raw_));
    EXPECT_EQ(chunk.record.stored_crc32c, base::crc32c(chunk.stored));
    EXPECT_EQ(chunk.record.stored_bytes, chunk.stored.size());
  }

  codec::Bytes raw_ = codec::weights(400'000, 1);
  codec::Decisions decisions_;
  std::unique_ptr<persist::Encoders> encoders_ = persist::Encoders::start("test-encode", 1, 2).value();
  std::optional<persist::EncodePipeline> pipeline_;
};

TEST_F(OtherZstd, TheRightOneIsUsed) {
  const auto chunk = encode(Level::standard);
  SF_ASSERT_OK(chunk);
  EXPECT_EQ(chunk->record.codec, static_cast<std::uint8_t>(codec::CodecId::planes));
  EXPECT_FALSE(chunk->defeated_codec);
  EXPECT_EQ(encoders_->notice(), "");
  expect_comes_back(*chunk);
}

TEST_F(OtherZstd, OneThatRefusesASettingLeavesPlanesRawAndIsNamed) {
  defect = Defect::refuses_setting;
  EXPECT_FALSE(codec::Context::create()->encodes_literals());
  const auto chunk = encode(Level::standard);
  SF_ASSERT_OK(chunk);
  EXPECT_FALSE(chunk->defeated_codec);
  EXPECT_THAT(encoders_->notice(), HasSubstr(std::string("libzstd ") + ZSTD_versionString()));
  expect_comes_back(*chunk);
}

TEST_F(OtherZstd, WithoutADecoderNothingIsEncodedAndTheLibraryNamed) {
  defect = Defect::no_decoder;
  const auto chunk = encode(Level::standard);
  ASSERT_EQ(chunk.status().code(), Code::unsupported) << chunk.status().message();
  EXPECT_THAT(chunk.status().message(), HasSubstr(ZSTD_versionString()));
  EXPECT_THAT(chunk.status().message(), HasSubstr("set persist.level to \"raw\""));
}

class OtherZstdPersisting : public PersistTest {
 protected:
  ~OtherZstdPersisting() override { defect = Defect::none; }
};

TEST_F(OtherZstdPersisting, AFailureSaysWhichFileAndChunk) {
  defect = Defect::no_decoder;
  start(16);
  const Shot shot = trainer_->capture_unless_failed(7, layout_of_chunks(2));
  ASSERT_TRUE(news_.comes("failed"));
  EXPECT_THAT(news_.of("failed")[0].error, HasSubstr("rank-00000.data, chunk 0: libzstd "));
}

TEST_F(OtherZstdPersisting, ACheckpointOfADefeatedCodecIsWholeAndOfVersionOne) {
  defect = Defect::other_bytes;
  start(16);
  Shot shot = trainer_->begin(7, layout_of_chunks(2));
  shot.image = codec::weights(shot.image.size(), 1);
  trainer_->fill_all(shot);
  ASSERT_TRUE(trainer_->side().seal(shot.handle));
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  EXPECT_TRUE(holds(shot));
  EXPECT_EQ(store::CheckpointReader::open(store_, name_of(7)).value()->manifest().version, 1U);
}

TEST_F(OtherZstd, LevelRawNeedsNone) {
  defect = Defect::no_decoder;
  const auto chunk = encode(Level::raw);
  SF_ASSERT_OK(chunk);
  expect_comes_back(*chunk);
}

TEST_F(OtherZstd, AFrameThatTheReaderInPythonDoesNotKnowIsNotStored) {
  defect = Defect::other_frame;
  raw_.resize(200'000);
  raw_.insert(raw_.end(), raw_.begin(), raw_.begin() + 200'000);  // there are matches to be found
  const auto chunk = encode(Level::standard);
  SF_ASSERT_OK(chunk);
  EXPECT_FALSE(chunk->defeated_codec) << "refused by the encoder already";
  expect_comes_back(*chunk);
}

// No checkpoint is lost because a codec is: only what is not even raw what was hashed is called corrupt.
TEST_F(OtherZstd, AChunkThatDoesNotComeBackIsStoredRaw) {
  defect = Defect::other_bytes;
  const auto chunk = encode(Level::standard);
  SF_ASSERT_OK(chunk);
  EXPECT_TRUE(chunk->defeated_codec);
  EXPECT_EQ(chunk->record.codec, static_cast<std::uint8_t>(codec::CodecId::raw));
  EXPECT_EQ(chunk->record.location, format::LocationKind::own_bytes);
  expect_comes_back(*chunk);
  const auto next = encode(Level::standard);
  SF_ASSERT_OK(next);
  EXPECT_FALSE(next->defeated_codec);
  EXPECT_EQ(next->record.codec, static_cast<std::uint8_t>(codec::CodecId::planes));
}

}  // namespace
}  // namespace stillframe::test
