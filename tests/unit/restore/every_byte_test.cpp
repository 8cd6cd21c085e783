// Every byte of manifest, table and safetensors header flipped and cut off, ten thousand bits of the payload, chunks
// exchanged and replayed, files and checkpoints renamed: each is found, and a restore gives the checkpoint before, with the file in its reason.
#include <gmock/gmock.h>

#include <algorithm>
#include <random>

#include "format/safetensors.hpp"
#include "restore/chooser.hpp"
#include "restore/load.hpp"
#include "support/store_fixture.hpp"

namespace stillframe::test {
namespace {

using testing::HasSubstr;

constexpr std::int64_t kGoodStep = 1;
constexpr std::int64_t kVictimStep = 2;
constexpr int kPayloadBits = 5'000;  // of each of the two ways in which data lies on disk

format::ImageLayout small_layout() {
  return format::lay_out({{"layer.weight", DType::f32, {2'000}}, {"mask", DType::boolean, {7}}, {"step", DType::i64, {}}})
      .value();
}

// What a restore gives, as Checkpointer::restore() goes about it.
struct Given {
  std::int64_t step = -1;  // -1: nothing
  bool right = false;      // every byte is that step's
  std::vector<restore::Skipped> skipped;
  std::string error;
};

// A store with a good checkpoint and a newer one, the victim; both ways in which data lies on disk.
class EveryByte : public testing::TestWithParam<codec::CodecId> {
 protected:
  void SetUp() override { make(small_layout()); }

  void make(const format::ImageLayout& layout) {
    layout_ = layout;
    auto opened = store::Store::open_or_create(env_, "/runs/gpt" + std::to_string(++stores_));
    SF_ASSERT_OK(opened);
    store_ = std::make_unique<store::Store>(*std::move(opened));
    for (const std::int64_t step : {kGoodStep, kVictimStep}) {
      const auto published = publish_draft(*store_, draft_of("main", step), GetParam(), layout);
      SF_ASSERT_OK(published);
      (step == kGoodStep ? good_ : victim_) = published->name;
    }
  }

  static std::string data_file() {
    return GetParam() == codec::CodecId::raw ? format::safetensors_file(0) : format::data_file(0);
  }
  std::string path_of(const std::string& file) const { return file_of(*store_, victim_, file); }
  std::string content(const std::string& file) { return content_of(env_, path_of(file)).value(); }
  void put(const std::string& file, const std::string& bytes) { SF_ASSERT_OK(overwrite(env_, path_of(file), bytes)); }

  Given restore_newest() {
    Given given;
    auto chooser = restore::Chooser::open(env_, {store_->path(), "", format::Select::latest, 0});
    if (!chooser.ok()) {
      given.error = chooser.status().message();
      return given;
    }
    for (;;) {
      std::vector<std::byte> image(layout_.bytes);
      std::vector<restore::Target> targets;
      for (const Entry& entry : layout_.entries) {
        targets.push_back({entry.name, std::span(image).subspan(entry.offset, entry.bytes)});
      }
      const Status loaded = restore::load(chooser->current(), 0, targets, 1, {});
      if (loaded.ok()) {
        given.step = chooser->current().manifest().step;
        given.right = image == image_of(layout_, given.step);
        given.skipped = chooser->skipped();
        return given;
      }
      if (Status next = chooser->next(loaded.message()); !next.ok()) {
        given.error = next.message();
        return given;
      }
    }
  }

  // The damage that stands on disk now.
  void expect_found(const std::string& file, const std::string& how) {
    const Given given = restore_newest();
    ASSERT_EQ(given.step, kGoodStep) << how << ": " << given.error;
    ASSERT_TRUE(given.right) << how;
    ASSERT_EQ(given.skipped.size(), 1U) << how;
    ASSERT_EQ(given.skipped[0].name, victim_) << how;
    ASSERT_THAT(given.skipped[0].reason, HasSubstr(file)) << how;
  }
  void expect_verify_finds(const std::string& how) {
    const auto report = store::verify(*store_, victim_, store::VerifyDepth::full, {});
    SF_ASSERT_OK(report);
    ASSERT_FALSE(report->ok) << how;
  }
  void expect_whole() {
    const Given given = restore_newest();
    ASSERT_EQ(given.step, kVictimStep) << given.error;
    ASSERT_TRUE(given.right && given.skipped.empty());
  }

  // One bit of each of the first `bytes` of a file, each bit of a byte in turn.
  void flip_every_byte(const std::string& file, std::size_t bytes) {
    const std::string whole = content(file);
    for (std::size_t at = 0; at < bytes && !HasFatalFailure(); ++at) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << (at % 8)));
      put(file, damaged);
      const std::string how = file + ", bit " + std::to_string(at % 8) + " of byte " + std::to_string(at);
      expect_found(file, how);
      if (at % 8 == 0) expect_verify_finds(how);
    }
    put(file, whole);
    expect_whole();
  }
  // The file ends after each of its first `bytes`.
  void cut_everywhere(const std::string& file, std::size_t bytes) {
    const std::string whole = content(file);
    for (std::size_t length = 0; length < bytes && !HasFatalFailure(); ++length) {
      put(file, whole.substr(0, length));
      const std::string how = file + ", cut after " + std::to_string(length) + " bytes";
      expect_found(file, how);
      expect_verify_finds(how);
    }
    put(file, whole);
    expect_whole();
  }
  // Where the payload begins in the data file.
  std::size_t data_start() {
    return store::CheckpointReader::open(*store_, victim_).value()->manifest().ranks.front().data.start;
  }

  FaultEnv env_;
  format::ImageLayout layout_;
  std::unique_ptr<store::Store> store_;
  std::string good_, victim_;
  int stores_ = 0;
};
std::string codec_of(const testing::TestParamInfo<codec::CodecId>& tested) {
  return std::string(codec::codec_name(static_cast<std::uint8_t>(tested.param)));
}
INSTANTIATE_TEST_SUITE_P(Of, EveryByte,
                         testing::Values(codec::CodecId::raw, codec::CodecId::planes_lz4, codec::CodecId::planes),
                         codec_of);

TEST_P(EveryByte, OfTheManifestFlipped) {
  flip_every_byte(std::string(format::kManifestFile), content(std::string(format::kManifestFile)).size());
}

TEST_P(EveryByte, OfTheManifestCutOff) {
  cut_everywhere(std::string(format::kManifestFile), content(std::string(format::kManifestFile)).size());
}

TEST_P(EveryByte, OfTheTableFlipped) { flip_every_byte(format::table_file(0), content(format::table_file(0)).size()); }

TEST_P(EveryByte, OfTheTableCutOff) { cut_everywhere(format::table_file(0), content(format::table_file(0)).size()); }

TEST_P(EveryByte, OfTheSafetensorsHeaderFlipped) { flip_every_byte(data_file(), data_start()); }

TEST_P(EveryByte, OfTheSafetensorsHeaderCutOff) { cut_everywhere(data_file(), data_start()); }

TEST_P(EveryByte, OfThePayloadCutOff) {
  const std::string whole = content(data_file());
  for (std::size_t length = data_start(); length < whole.size() && !HasFatalFailure(); length += 101) {
    put(data_file(), whole.substr(0, length));
    expect_found(data_file(), "cut after " + std::to_string(length) + " bytes");
  }
  put(data_file(), whole + '\0');
  expect_found(data_file(), "a byte more");
}

TEST_P(EveryByte, FiveThousandRandomBitsOfThePayloadFlipped) {
  const std::string whole = content(data_file());
  const std::size_t start = data_start();
  std::mt19937_64 dice(20261122);
  for (int i = 0; i < kPayloadBits && !HasFatalFailure(); ++i) {
    const std::size_t at = start + dice() % (whole.size() - start);
    const int bit = static_cast<int>(dice() % 8);
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
    put(data_file(), damaged);
    const std::string how = "bit " + std::to_string(bit) + " of byte " + std::to_string(at);
    expect_found(data_file(), how);
    if (i % 10 == 0) expect_verify_finds(how);
  }
}

// Chunks in the wrong place, each with the right checksums of its own.
class EveryChunk : public EveryByte {
 protected:
  void SetUp() override { make(three_chunk_layout()); }

  struct Place {
    std::size_t at = 0;
    std::size_t bytes = 0;
  };
  Place place(const std::string& name, std::uint64_t chunk) {
    const auto reader = store::CheckpointReader::open(*store_, name).value();
    const format::ChunkRecord& record = reader->table(0).chunks[chunk];
    return {static_cast<std::size_t>(record.offset), record.stored_bytes};
  }
  // The table with its records `first` and `second` exchanged; a record is 64 bytes, after a header of as many.
  static std::string exchanged(std::string table, std::size_t first, std::size_t second) {
    constexpr std::size_t kRecordBytes = 64;
    const auto begin = table.begin() + static_cast<std::ptrdiff_t>(kRecordBytes * (first + 1));
    const auto other = table.begin() + static_cast<std::ptrdiff_t>(kRecordBytes * (second + 1));
    std::swap_ranges(begin, begin + kRecordBytes, other);
    return table;
  }
};
INSTANTIATE_TEST_SUITE_P(Of, EveryChunk,
                         testing::Values(codec::CodecId::raw, codec::CodecId::planes_lz4, codec::CodecId::planes),
                         codec_of);

TEST_P(EveryChunk, TwoExchangedInTheData) {
  const std::string whole = content(data_file());
  const Place first = place(victim_, 0);
  const Place second = place(victim_, 1);
  const std::size_t bytes = std::min(first.bytes, second.bytes);
  std::string damaged = whole;
  damaged.replace(first.at, bytes, whole, second.at, bytes);
  damaged.replace(second.at, bytes, whole, first.at, bytes);
  put(data_file(), damaged);
  expect_found(data_file(), "two chunks of the data exchanged");
}

TEST_P(EveryChunk, TwoExchangedInTheTable) {
  put(format::table_file(0), exchanged(content(format::table_file(0)), 0, 1));
  expect_found(format::table_file(0), "two records of the table exchanged");
}

TEST_P(EveryChunk, OneReplayedFromTheCheckpointBefore) {
  const std::string stale = content_of(env_, file_of(*store_, good_, data_file())).value();
  const std::string whole = content(data_file());
  for (std::uint64_t chunk = 0; chunk < 3; ++chunk) {
    const Place from = place(good_, chunk);
    const Place to = place(victim_, chunk);
    std::string damaged = whole;
    damaged.replace(to.at, std::min(from.bytes, to.bytes), stale, from.at, std::min(from.bytes, to.bytes));
    put(data_file(), damaged);
    expect_found(data_file(), "chunk " + std::to_string(chunk) + " replayed");
  }
}

TEST_P(EveryChunk, DataAndTableTogetherReplayedFromTheCheckpointBefore) {
  for (const std::string& file : {data_file(), format::table_file(0)}) {
    put(file, content_of(env_, file_of(*store_, good_, file)).value());
  }
  expect_found(format::table_file(0), "data and table replayed");
}

TEST_P(EveryChunk, AllFilesReplayedFromTheCheckpointBefore) {
  for (const std::string& file : {data_file(), format::table_file(0), std::string(format::kManifestFile)}) {
    put(file, content_of(env_, file_of(*store_, good_, file)).value());
  }
  expect_found(std::string(format::kManifestFile), "the whole checkpoint replayed under another name");
}

TEST_P(EveryChunk, FilesThatTookEachOthersNames) {
  const std::string data = content(data_file());
  const std::string table = content(format::table_file(0));
  put(data_file(), table);
  put(format::table_file(0), data);
  expect_found(format::table_file(0), "data and table took each other's name");
}

TEST_P(EveryChunk, ACheckpointUnderAnotherSequenceOrStep) {
  for (const char* name : {"000007-step000002-20261122T123005Z", "000002-step000009-20261122T123005Z"}) {
    const std::string other = env::join(store_->path(), name);
    SF_ASSERT_OK(env_.rename(path_of(""), other));
    victim_ = name;
    expect_found(std::string(format::kManifestFile), name);
  }
}

}  // namespace
}  // namespace stillframe::test
