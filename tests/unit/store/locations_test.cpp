// A chunk comes from its own bytes, a pattern, a shared file or other chunks: in each way whole and checked, or not at
// all.
#include <gmock/gmock.h>

#include <algorithm>

#include "store/scrub.hpp"
#include "support/observed_env.hpp"
#include "support/store_fixture.hpp"
#include "unit/store/handmade.hpp"

namespace stillframe::test {
namespace {

using format::DerivedRule;
using store::CheckpointReader;
using testing::HasSubstr;

constexpr auto kChunk = static_cast<std::uint32_t>(kChunkBytes);

class Locations : public StoreTest {
 protected:
  void put(const Handmade& made) {
    store_ = std::make_unique<store::Store>(make_store());
    SF_ASSERT_OK(made.put(*store_, name_));
  }
  std::string file(const std::string& name) const { return file_of(*store_, name_, name); }
  // The status of reading one chunk; ok only when its bytes are right.
  Status read(const Handmade& made, std::uint64_t chunk) {
    SF_ASSIGN(const auto reader, CheckpointReader::open(*store_, name_));
    std::vector<std::byte> raw(made.layout.chunk_length(chunk), std::byte{0xEE});
    store::ReadScratch scratch;
    SF_TRY(reader->read_chunk(0, chunk, raw, scratch));
    const auto expected = made.raw(chunk);
    return std::equal(raw.begin(), raw.end(), expected.begin()) ? Status() : Status(Code::internal, "wrong bytes");
  }
  void expect_only_bad(const Handmade& made, const std::vector<std::uint64_t>& bad, const std::string& why) {
    for (std::uint64_t chunk = 0; chunk < made.table.chunks.size(); ++chunk) {
      const Status status = read(made, chunk);
      if (std::find(bad.begin(), bad.end(), chunk) == bad.end()) {
        EXPECT_TRUE(status.ok()) << status.message();
      } else {
        EXPECT_EQ(status.code(), Code::corrupt) << chunk;
        EXPECT_THAT(status.message(), HasSubstr(why));
      }
    }
  }

  std::unique_ptr<store::Store> store_;
  std::string name_;
};
INSTANTIATE_TEST_SUITE_P(On, Locations, testing::Values(EnvKind::posix, EnvKind::mem), env_kind_name);

TEST_P(Locations, EachKindIsReadWholeAndVerified) {
  const Handmade made;
  put(made);
  const auto reader = CheckpointReader::open(*store_, name_);
  SF_ASSERT_OK(reader);
  const auto image = read_image(**reader);
  SF_ASSERT_OK(image);
  EXPECT_TRUE(*image == made.image);
  const auto report = store::verify(*store_, name_, store::VerifyDepth::full, {});
  SF_ASSERT_OK(report);
  EXPECT_TRUE(report->ok) << store::first_finding(*report);
  EXPECT_EQ(report->raw_bytes, made.image.size());
}

// What was elided, or derived, from chunks that are stored in fewer bytes; damage to those is damage to all of it.
TEST_P(Locations, EachKindIsReadOverChunksOfTheCodecOfTheLevels) {
  Handmade made(codec::CodecId::planes);
  constexpr auto kPlanes = static_cast<std::uint8_t>(codec::CodecId::planes);
  ASSERT_EQ(made.table.chunks[0].codec, kPlanes);
  ASSERT_EQ(made.table.chunks[1].codec, kPlanes);
  put(made);
  {
    const auto reader = CheckpointReader::open(*store_, name_);
    SF_ASSERT_OK(reader);
    EXPECT_EQ((*reader)->manifest().version, 2U);
    const auto image = read_image(**reader);
    SF_ASSERT_OK(image);
    EXPECT_TRUE(*image == made.image);
  }
  SF_ASSERT_OK(flip_bit(env(), file(format::shared_file(0, 0)), 100 + 50));
  expect_only_bad(made, {1, 3}, "the stored bytes do not match their CRC-32C");
  SF_ASSERT_OK(flip_bit(env(), file(format::data_file(0)), 50));
  const auto report = store::verify(*store_, name_, store::VerifyDepth::full, {});
  SF_ASSERT_OK(report);
  EXPECT_FALSE(report->ok);
  for (const std::uint64_t chunk : {0U, 1U, 3U}) EXPECT_EQ(read(made, chunk).code(), Code::corrupt);
  SF_ASSERT_OK(read(made, 2));
}

TEST_P(Locations, PiecesMayCrossTheBordersOfTheirSources) {
  Handmade made;
  // The border of the pieces lies in no chunk border's place, neither in the source nor in what is made.
  const std::uint32_t first = kChunk / 2 - 34;
  made.derive_from({{0, first, DerivedRule::bf16_of_f32}, {2 * first, kChunk - first, DerivedRule::bf16_of_f32}});
  put(made);
  expect_only_bad(made, {}, "");
}

// The content of `weight` repeats every 2048 bytes, so that its pieces may come from anywhere in it.
std::vector<format::DerivedPiece> jumping_pieces() {
  constexpr std::uint32_t kMade = 1024;
  std::vector<format::DerivedPiece> pieces;
  for (std::uint64_t i = 0; i < kChunk / kMade; ++i) {
    pieces.push_back({i % 2 * kChunkBytes + i / 2 * 2 * kMade, kMade, DerivedRule::bf16_of_f32});
  }
  return pieces;
}

TEST_P(Locations, EachSourceIsReadOnceHoweverThePiecesJump) {
  Handmade made;
  made.derive_from(jumping_pieces());
  put(made);
  expect_only_bad(made, {}, "");
  ObservedEnv observed(env());
  const auto store = store::Store::open(observed, store_path());
  SF_ASSERT_OK(store);
  std::vector<std::string> reads;
  observed.observe_uses([&](ObservedEnv::Use use, const std::string& path) {
    if (use == ObservedEnv::Use::read) reads.push_back(path);
  });
  const auto reader = CheckpointReader::open(*store, name_);
  SF_ASSERT_OK(reader);
  reads.clear();
  std::vector<std::byte> raw(kChunk);
  store::ReadScratch scratch;
  SF_ASSERT_OK((*reader)->read_chunk(0, 3, raw, scratch));
  const std::string data = file(format::data_file(0));
  EXPECT_THAT(reads, testing::ElementsAre(data, data, file(format::shared_file(0, 0)))) << "pieces, and two sources";
}

TEST_P(Locations, AScrubThatIsToldToEndDoesSoBetweenTheSourcesOfOneChunk) {
  Handmade made;
  made.derive_from(jumping_pieces());
  put(made);
  ObservedEnv observed(env());
  std::vector<std::string> reads;
  observed.observe_uses([&](ObservedEnv::Use use, const std::string& path) {
    if (use == ObservedEnv::Use::read) reads.push_back(path);
  });
  const auto store = store::Store::open(observed, store_path());
  SF_ASSERT_OK(store);
  const auto reads_of = [&](const std::string& name) { return std::count(reads.begin(), reads.end(), file(name)); };
  // The first chunk, the pieces of the last, and its first source.
  const auto ended = store::scrub_checkpoint(*store, name_, {0, [&] { return reads_of(format::data_file(0)) < 3; }});
  SF_ASSERT_OK(ended);
  EXPECT_EQ(ended->outcome, store::ScrubOutcome::ended);
  EXPECT_EQ(reads_of(format::shared_file(0, 0)), 1) << "the second chunk, and no second source";
  const auto whole = store::scrub_checkpoint(*store, name_, {});
  SF_ASSERT_OK(whole);
  EXPECT_EQ(whole->outcome, store::ScrubOutcome::verified);
}

TEST_P(Locations, AChunkThatIsDerivedFromADerivedOneIsRefused) {
  Handmade made;
  made.derive_from({{3 * kChunkBytes, kChunk, DerivedRule::copy}});
  put(made);
  expect_only_bad(made, {3}, "derived");
}

TEST_P(Locations, APieceThatReachesBehindTheImageIsRefused) {
  for (const std::uint64_t offset : {std::uint64_t{4 * kChunkBytes}, ~std::uint64_t{0} - 10}) {
    Handmade made;
    made.derive_from({{offset, kChunk, DerivedRule::copy}});
    FaultEnv env;
    const auto store = store::Store::open_or_create(env, "/s");
    SF_ASSERT_OK(store);
    std::string name;
    SF_ASSERT_OK(made.put(*store, name));
    const auto report = store::verify(*store, name, store::VerifyDepth::full, {});
    SF_ASSERT_OK(report);
    ASSERT_EQ(report->findings.size(), 1U);
    EXPECT_EQ(report->findings[0].chunk, 3);
    EXPECT_EQ(report->findings[0].code, Code::corrupt);
  }
}

TEST_P(Locations, ADamagedSourceIsNamedAndNotHandedOnToWhatIsDerivedFromIt) {
  const Handmade made;
  put(made);
  SF_ASSERT_OK(flip_bit(env(), file(format::data_file(0)), 77));
  expect_only_bad(made, {0, 3}, "CRC-32C");
  const Status derived = read(made, 3);
  EXPECT_THAT(derived.message(), HasSubstr("chunk 3 (half)"));
  EXPECT_THAT(derived.message(), HasSubstr("its source, chunk 0"));
}

TEST_P(Locations, WhatIsDerivedMustMatchItsOwnChecksums) {
  Handmade made;
  made.derive_from({{0, kChunk, DerivedRule::copy}});  // sound sources, other bytes than were checksummed
  put(made);
  expect_only_bad(made, {3}, "XXH3-128");
}

TEST_P(Locations, APatternThatIsNotTheContentIsFound) {
  Handmade made;
  made.table.chunks[2].pattern[5] = std::byte{1};
  put(made);
  expect_only_bad(made, {2}, "XXH3-128");
}

TEST_P(Locations, ASharedFileThatIsMissingTruncatedOrDamagedIsNamed) {
  const Handmade made;
  put(made);
  const std::string shared = format::shared_file(0, 0);
  const std::string content = content_of(env(), file(shared)).value();
  SF_ASSERT_OK(flip_bit(env(), file(shared), 100));
  expect_only_bad(made, {1, 3}, "CRC-32C");
  EXPECT_THAT(read(made, 1).message(), HasSubstr(shared));
  SF_ASSERT_OK(overwrite(env(), file(shared), content.substr(1)));
  EXPECT_THAT(CheckpointReader::open(*store_, name_).status().message(), HasSubstr("truncated"));
  SF_ASSERT_OK(env().remove_file(file(shared)));
  const auto gone = CheckpointReader::open(*store_, name_);
  EXPECT_EQ(gone.status().code(), Code::corrupt);
  EXPECT_THAT(gone.status().message(), HasSubstr(shared));
  const auto report = store::verify(*store_, name_, store::VerifyDepth::full, {});
  SF_ASSERT_OK(report);
  EXPECT_TRUE(report->damaged);
  EXPECT_THAT(report->findings.at(0).file, HasSubstr(shared));
  EXPECT_EQ(report->chunks, 3U);  // the others were read all the same
}

TEST_P(Locations, ASharedFileIsAHardLinkAndLivesOnWithoutTheOther) {
  const Handmade made;
  put(made);
  const std::string shared = file(format::shared_file(0, 0));
  const std::string other = env::join(store_->path(), "elsewhere");
  SF_ASSERT_OK(env().link(shared, other));
  expect_only_bad(made, {}, "");
  SF_ASSERT_OK(env().remove_file(other));
  expect_only_bad(made, {}, "");
}

}  // namespace
}  // namespace stillframe::test
