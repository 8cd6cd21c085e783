// Damage is found, named, and never handed out.
#include <gmock/gmock.h>

#include "support/store_fixture.hpp"

namespace stillframe::test {
namespace {

using store::CheckpointReader;
using store::Store;
using testing::HasSubstr;

class Damage : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = Store::open_or_create(env_, "/runs/gpt");
    SF_ASSERT_OK(opened);
    store_ = std::make_unique<Store>(*std::move(opened));
    const auto published = publish(*store_, "main", 1);
    SF_ASSERT_OK(published);
    name_ = published->name;
  }
  std::string file(std::string_view name) const { return file_of(*store_, name_, name); }
  store::VerifyReport verified() const { return store::verify(*store_, name_, store::VerifyDepth::full, {}).value(); }

  FaultEnv env_;
  std::unique_ptr<Store> store_;
  std::string name_;
};

TEST_F(Damage, NoByteOfTheManifestCanChangeUnnoticed) {
  const std::string content = content_of(env_, file(format::kManifestFile)).value();
  for (std::size_t at = 0; at < content.size(); ++at) {
    std::string damaged = content;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x01);
    SF_ASSERT_OK(overwrite(env_, file(format::kManifestFile), damaged));
    EXPECT_FALSE(CheckpointReader::open(*store_, name_).ok()) << "byte " << at;
  }
}

TEST_F(Damage, NoByteOfTheTableCanChangeUnnoticed) {
  const std::string content = content_of(env_, file(format::table_file(0))).value();
  for (std::size_t at = 0; at < content.size(); ++at) {
    std::string damaged = content;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    SF_ASSERT_OK(overwrite(env_, file(format::table_file(0)), damaged));
    EXPECT_EQ(CheckpointReader::open(*store_, name_).status().code(), Code::corrupt) << "byte " << at;
  }
}

TEST_F(Damage, NoByteOfTheDataIsHandedOutChanged) {
  const std::string content = content_of(env_, file(format::data_file(0))).value();
  const std::size_t stride = content.size() / 97;
  for (std::size_t at = 0; at < content.size(); at += stride) {
    std::string damaged = content;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x80);
    SF_ASSERT_OK(overwrite(env_, file(format::data_file(0)), damaged));
    const auto reader = CheckpointReader::open(*store_, name_);
    SF_ASSERT_OK(reader);
    const auto image = read_image(**reader);
    EXPECT_EQ(image.status().code(), Code::corrupt) << "byte " << at;
    EXPECT_THAT(image.status().message(), HasSubstr(format::data_file(0)));
  }
}

TEST_F(Damage, FilesThatAreMissingTruncatedOrGrownAreNamed) {
  for (const std::string& damaged : {format::data_file(0), format::table_file(0), std::string(format::kManifestFile)}) {
    const std::string content = content_of(env_, file(damaged)).value();
    for (const std::string& other : {content.substr(0, content.size() - 1), content + "x", std::string()}) {
      SF_ASSERT_OK(overwrite(env_, file(damaged), other));
      const auto reader = CheckpointReader::open(*store_, name_);
      EXPECT_EQ(reader.status().code(), Code::corrupt) << damaged;
      EXPECT_THAT(reader.status().message(), HasSubstr(damaged));
    }
    SF_ASSERT_OK(env_.remove_file(file(damaged)));
    const auto reader = CheckpointReader::open(*store_, name_);
    EXPECT_EQ(reader.status().code(), Code::corrupt) << damaged;
    EXPECT_THAT(reader.status().message(), HasSubstr(damaged));
    SF_ASSERT_OK(env_.create(file(damaged)));
    SF_ASSERT_OK(overwrite(env_, file(damaged), content));
    SF_ASSERT_OK(check_whole(*store_, name_, 1));
  }
}

TEST_F(Damage, AStaleCopyOfAnotherCheckpointsFilesIsFound) {
  const auto newer = publish(*store_, "main", 2);
  SF_ASSERT_OK(newer);
  for (const std::string& swapped : {format::data_file(0), format::table_file(0), std::string(format::kManifestFile)}) {
    const std::string own = content_of(env_, file_of(*store_, newer->name, swapped)).value();
    const std::string stale = content_of(env_, file(swapped)).value();
    SF_ASSERT_OK(overwrite(env_, file_of(*store_, newer->name, swapped), stale));
    EXPECT_EQ(check_whole(*store_, newer->name, 2).code(), Code::corrupt) << swapped;
    SF_ASSERT_OK(overwrite(env_, file_of(*store_, newer->name, swapped), own));
  }
  SF_ASSERT_OK(check_whole(*store_, newer->name, 2));
}

TEST_F(Damage, ARenamedCheckpointIsNotTakenForAnother) {
  const std::string other = "000099-step000005-20261122T123005Z";
  SF_ASSERT_OK(env_.rename(file_of(*store_, name_, ""), env::join(store_->path(), other)));
  const auto reader = CheckpointReader::open(*store_, other);
  EXPECT_EQ(reader.status().code(), Code::corrupt);
  EXPECT_THAT(reader.status().message(), HasSubstr("belongs to another checkpoint"));
}

// Each checksum alone: a record that lies in one of them, in a table that is otherwise sound.
TEST_F(Damage, EachChecksumOfAChunkIsCheckedByItself) {
  const std::vector<std::pair<std::string, void (*)(format::ChunkRecord&)>> lies{
      {"CRC-32C", [](format::ChunkRecord& record) { record.stored_crc32c ^= 1U; }},
      {"XXH3-128", [](format::ChunkRecord& record) { record.raw_hash.bytes[3] ^= 1U; }},
      {"CRC-32", [](format::ChunkRecord& record) { record.raw_crc32 ^= 1U; }}};
  const auto layout = format::lay_out({{"bias", DType::u8, {100}}}).value();
  const std::vector<std::byte> raw(layout.bytes, std::byte{7});
  for (const auto& [checksum, lie] : lies) {
    const auto sequence = store_->claim_sequence(base::Deadline::after_ms(10'000)).value();
    const auto writer = store::CheckpointWriter::begin(*store_, "main", sequence, 1, kUtcNs);
    SF_ASSERT_OK(writer);
    SF_ASSERT_OK((*writer)->begin_rank(0, layout, store::DataKind::container));
    format::ChunkRecord record;
    record.raw_bytes = record.stored_bytes = static_cast<std::uint32_t>(raw.size());
    record.raw_hash = base::xxh128(raw);
    record.raw_crc32 = base::crc32(raw);
    record.stored_crc32c = base::crc32c(raw);
    lie(record);
    SF_ASSERT_OK((*writer)->append(record, raw));
    SF_ASSERT_OK((*writer)->end_rank(format::flat_tree(layout)));
    const auto published = (*writer)->commit(draft_of("main", 1));
    SF_ASSERT_OK(published);
    const auto report = store::verify(*store_, published->name, store::VerifyDepth::full, {});
    SF_ASSERT_OK(report);
    ASSERT_EQ(report->findings.size(), 1U) << checksum;
    EXPECT_THAT(report->findings[0].what, testing::EndsWith(" " + checksum));
  }
}

TEST_F(Damage, VerifyOfAWholeCheckpointSaysHowMuchItRead) {
  const auto report = verified();
  EXPECT_TRUE(report.ok);
  EXPECT_EQ(report.chunks, three_chunk_layout().chunk_count());
  EXPECT_EQ(report.raw_bytes, three_chunk_layout().bytes);
  EXPECT_EQ(report.findings_total, 0U);
}

TEST_F(Damage, VerifyNamesFileTensorsAndChunkOfEveryFinding) {
  const auto chunks = CheckpointReader::open(*store_, name_).value()->table(0).chunks;
  ASSERT_EQ(chunks.size(), 3U);
  SF_ASSERT_OK(flip_bit(env_, file(format::data_file(0)), chunks[1].offset));
  SF_ASSERT_OK(flip_bit(env_, file(format::data_file(0)), chunks[2].offset + chunks[2].stored_bytes - 1));
  const auto report = verified();
  EXPECT_FALSE(report.ok);
  ASSERT_EQ(report.findings.size(), 2U);
  EXPECT_EQ(report.findings[0].file, name_ + "/" + format::data_file(0));
  EXPECT_EQ(report.findings[0].chunk, 1);
  EXPECT_EQ(report.findings[0].tensors, "layer.weight");
  EXPECT_EQ(report.findings[1].chunk, 2);
  EXPECT_THAT(report.findings[1].tensors, HasSubstr("mask"));
  EXPECT_FALSE(report.findings[1].what.empty());
  EXPECT_EQ(report.chunks, 3U);  // it went on after the first finding
}

TEST_F(Damage, VerifyReportsATruncatedFileAndWhatIsLostInIt) {
  const std::string content = content_of(env_, file(format::data_file(0))).value();
  SF_ASSERT_OK(overwrite(env_, file(format::data_file(0)), content.substr(0, content.size() - 1)));
  const auto report = verified();
  ASSERT_EQ(report.findings.size(), 2U);
  EXPECT_THAT(report.findings[0].what, HasSubstr("truncated"));
  EXPECT_EQ(report.findings[1].chunk, 2);
}

TEST_F(Damage, VerifyReportsDamagedTableAndManifestAsFindings) {
  SF_ASSERT_OK(flip_bit(env_, file(format::table_file(0)), 40));
  EXPECT_EQ(verified().findings.at(0).file, name_ + "/" + format::table_file(0));
  SF_ASSERT_OK(flip_bit(env_, file(format::kManifestFile), 40));
  EXPECT_EQ(verified().findings.at(0).file, name_ + "/" + std::string(format::kManifestFile));
  EXPECT_EQ(store::verify(*store_, "000099-step000001-20261122T123005Z", store::VerifyDepth::full, {}).status().code(), Code::not_found);
}

TEST_F(Damage, VerifyCanBeEndedEarly) {
  std::uint64_t last_done = 0;
  const auto ended = store::verify(*store_, name_, store::VerifyDepth::full, [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_EQ(total, three_chunk_layout().bytes);
    last_done = done;
    return false;
  });
  EXPECT_EQ(ended.status().code(), Code::deadline);
  EXPECT_EQ(last_done, kChunkBytes);
}

}  // namespace
}  // namespace stillframe::test
