// Damage is found, named, and never handed out.
#include <gmock/gmock.h>

#include "base/bytes.hpp"
#include "format/safetensors.hpp"
#include "support/store_fixture.hpp"

namespace stillframe::test {
namespace {

using store::CheckpointReader;
using store::Store;
using testing::HasSubstr;

// Both ways in which data lies on disk: a safetensors file, and a container.
class Damage : public testing::TestWithParam<codec::CodecId> {
 protected:
  void SetUp() override {
    auto opened = Store::open_or_create(env_, "/runs/gpt");
    SF_ASSERT_OK(opened);
    store_ = std::make_unique<Store>(*std::move(opened));
    const auto published = publish(*store_, "main", 1, GetParam());
    SF_ASSERT_OK(published);
    name_ = published->name;
  }
  std::string file(std::string_view name) const { return file_of(*store_, name_, name); }
  store::VerifyReport verified() const { return store::verify(*store_, name_, store::VerifyDepth::full, {}).value(); }

  static std::string data_file() {
    return GetParam() == codec::CodecId::raw ? format::safetensors_file(0) : format::data_file(0);
  }

  FaultEnv env_;
  std::unique_ptr<Store> store_;
  std::string name_;
};
std::string codec_of(const testing::TestParamInfo<codec::CodecId>& tested) {
  return std::string(codec::codec_name(static_cast<std::uint8_t>(tested.param)));
}
INSTANTIATE_TEST_SUITE_P(Of, Damage,
                         testing::Values(codec::CodecId::raw, codec::CodecId::planes_lz4, codec::CodecId::planes),
                         codec_of);

TEST_P(Damage, NoByteOfTheManifestCanChangeUnnoticed) {
  const std::string content = content_of(env_, file(format::kManifestFile)).value();
  for (std::size_t at = 0; at < content.size(); ++at) {
    std::string damaged = content;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x01);
    SF_ASSERT_OK(overwrite(env_, file(format::kManifestFile), damaged));
    EXPECT_FALSE(CheckpointReader::open(*store_, name_).ok()) << "byte " << at;
  }
}

TEST_P(Damage, NoByteOfTheTableCanChangeUnnoticed) {
  const std::string content = content_of(env_, file(format::table_file(0))).value();
  for (std::size_t at = 0; at < content.size(); ++at) {
    std::string damaged = content;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    SF_ASSERT_OK(overwrite(env_, file(format::table_file(0)), damaged));
    EXPECT_EQ(CheckpointReader::open(*store_, name_).status().code(), Code::corrupt) << "byte " << at;
  }
}

TEST_P(Damage, NoByteOfTheDataIsHandedOutChanged) {
  const std::string content = content_of(env_, file(data_file())).value();
  const std::size_t stride = content.size() / 97;
  for (std::size_t at = 0; at < content.size(); at += stride) {
    std::string damaged = content;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x80);
    SF_ASSERT_OK(overwrite(env_, file(data_file()), damaged));
    const Status found = check_whole(*store_, name_, 1);
    EXPECT_EQ(found.code(), Code::corrupt) << "byte " << at;
    EXPECT_THAT(found.message(), HasSubstr(data_file()));
    EXPECT_TRUE(verified().damaged);
  }
}

TEST_P(Damage, FilesThatAreMissingTruncatedOrGrownAreNamed) {
  for (const std::string& damaged : {data_file(), format::table_file(0), std::string(format::kManifestFile)}) {
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

TEST_P(Damage, AStaleCopyOfAnotherCheckpointsFilesIsFound) {
  const auto newer = publish(*store_, "main", 2, GetParam());
  SF_ASSERT_OK(newer);
  for (const std::string& swapped : {data_file(), format::table_file(0), std::string(format::kManifestFile)}) {
    const std::string own = content_of(env_, file_of(*store_, newer->name, swapped)).value();
    const std::string stale = content_of(env_, file(swapped)).value();
    SF_ASSERT_OK(overwrite(env_, file_of(*store_, newer->name, swapped), stale));
    EXPECT_EQ(check_whole(*store_, newer->name, 2).code(), Code::corrupt) << swapped;
    SF_ASSERT_OK(overwrite(env_, file_of(*store_, newer->name, swapped), own));
  }
  SF_ASSERT_OK(check_whole(*store_, newer->name, 2));
}

TEST_P(Damage, ARenamedCheckpointIsNotTakenForAnother) {
  const std::string other = "000099-step000005-20261122T123005Z";
  SF_ASSERT_OK(env_.rename(file_of(*store_, name_, ""), env::join(store_->path(), other)));
  const auto reader = CheckpointReader::open(*store_, other);
  EXPECT_EQ(reader.status().code(), Code::corrupt);
  EXPECT_THAT(reader.status().message(), HasSubstr("belongs to another checkpoint"));
}

// What other tools read of a safetensors file, and no chunk's checksum covers.
class DataHeader : public Damage {
 protected:
  void SetUp() override {
    Damage::SetUp();
    const auto published = publish_draft(*store_, draft_of("main", 1), GetParam(), layout_);
    SF_ASSERT_OK(published);
    name_ = published->name;
  }
  const format::ImageLayout layout_ =
      format::lay_out({{"weight", DType::f32, {10, 3}}, {"phase", DType::c128, {2}}, {"mask", DType::boolean, {7}}})
          .value();
};
INSTANTIATE_TEST_SUITE_P(Of, DataHeader, testing::Values(codec::CodecId::raw), codec_of);

TEST_P(DataHeader, NoByteOfItCanChangeUnnoticed) {
  const std::string content = content_of(env_, file(data_file())).value();
  const std::size_t last_brace = content.rfind('}', 4095);
  for (std::size_t at = 0; at < 4096; at += at < last_brace + 20 ? 1 : 101) {
    for (const char bit : {'\x01', '\x20'}) {
      std::string damaged = content;
      damaged[at] = static_cast<char>(damaged[at] ^ bit);
      SF_ASSERT_OK(overwrite(env_, file(data_file()), damaged));
      EXPECT_EQ(CheckpointReader::open(*store_, name_).status().code(), Code::corrupt) << "byte " << at;
    }
  }
  SF_ASSERT_OK(overwrite(env_, file(data_file()), content));
  SF_ASSERT_OK(CheckpointReader::open(*store_, name_));
}

TEST_P(DataHeader, OneThatIsSoundButOfAnotherStepIsFoundByQuickVerifyAsWell) {
  const auto other = publish_draft(*store_, draft_of("main", 2), GetParam(), layout_);
  SF_ASSERT_OK(other);
  const std::string content = content_of(env_, file(data_file())).value();
  const std::string foreign = content_of(env_, file_of(*store_, other->name, data_file())).value();
  SF_ASSERT_OK(overwrite(env_, file(data_file()), foreign.substr(0, 4096) + content.substr(4096)));
  const auto report = store::verify(*store_, name_, store::VerifyDepth::quick, {});
  SF_ASSERT_OK(report);
  ASSERT_EQ(report->findings.size(), 1U);
  EXPECT_THAT(report->findings[0].what, HasSubstr("another run or step"));
}

// Another writer's wording: other order, no padding but what the page needs.
TEST_P(DataHeader, OneOfAnotherWordingThatSaysTheSameIsFine) {
  const std::string content = content_of(env_, file(data_file())).value();
  std::string header = content.substr(8, 4088);
  const std::size_t comma = header.find(',');
  ASSERT_NE(comma, std::string::npos);
  ASSERT_EQ(header.back(), ' ');
  header.insert(comma + 1, " ");
  header.pop_back();
  SF_ASSERT_OK(overwrite(env_, file(data_file()), content.substr(0, 8) + header + content.substr(4096)));
  SF_ASSERT_OK(CheckpointReader::open(*store_, name_));
}

TEST_P(DataHeader, TheFileIsASafetensorsFileOfTheVeryTensors) {
  const std::string content = content_of(env_, file(data_file())).value();
  const auto header = format::read_safetensors_header(base::as_bytes(content), content.size());
  SF_ASSERT_OK(header);
  EXPECT_EQ(header->data_start % 4096, 0U);
  ASSERT_EQ(header->entries.size(), 3U);
  EXPECT_EQ(header->entries[1], layout_.entries[1]);
  EXPECT_EQ(header->entries[1].name, "weight");
  EXPECT_EQ(header->metadata.at("stillframe.run"), "main");
  EXPECT_EQ(header->metadata.at("stillframe.step"), "1");
  const auto image = image_of(layout_, 1);
  EXPECT_TRUE(content.substr(header->data_start) == base::as_text(image));
}

// Each checksum alone: a record that lies in one of them, in a table that is otherwise sound.
TEST_P(Damage, EachChecksumOfAChunkIsCheckedByItself) {
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

TEST_P(Damage, VerifyOfAWholeCheckpointSaysHowMuchItRead) {
  const auto report = verified();
  EXPECT_TRUE(report.ok);
  EXPECT_EQ(report.chunks, three_chunk_layout().chunk_count());
  EXPECT_EQ(report.raw_bytes, three_chunk_layout().bytes);
  EXPECT_EQ(report.findings_total, 0U);
}

TEST_P(Damage, VerifyNamesFileTensorsAndChunkOfEveryFinding) {
  const auto chunks = CheckpointReader::open(*store_, name_).value()->table(0).chunks;
  ASSERT_EQ(chunks.size(), 3U);
  SF_ASSERT_OK(flip_bit(env_, file(data_file()), chunks[1].offset));
  SF_ASSERT_OK(flip_bit(env_, file(data_file()), chunks[2].offset + chunks[2].stored_bytes - 1));
  const auto report = verified();
  EXPECT_FALSE(report.ok);
  ASSERT_EQ(report.findings.size(), 2U);
  EXPECT_EQ(report.findings[0].file, name_ + "/" + data_file());
  EXPECT_EQ(report.findings[0].chunk, 1);
  EXPECT_EQ(report.findings[0].tensors, "layer.weight");
  EXPECT_EQ(report.findings[1].chunk, 2);
  EXPECT_THAT(report.findings[1].tensors, HasSubstr("mask"));
  EXPECT_FALSE(report.findings[1].what.empty());
  EXPECT_EQ(report.chunks, 3U);  // it went on after the first finding
}

TEST_P(Damage, VerifyReportsATruncatedFileAndWhatIsLostInIt) {
  const std::string content = content_of(env_, file(data_file())).value();
  SF_ASSERT_OK(overwrite(env_, file(data_file()), content.substr(0, content.size() - 1)));
  const auto report = verified();
  ASSERT_EQ(report.findings.size(), 2U);
  EXPECT_THAT(report.findings[0].what, HasSubstr("truncated"));
  EXPECT_EQ(report.findings[1].chunk, 2);
}

TEST_P(Damage, VerifyReportsDamagedTableAndManifestAsFindings) {
  SF_ASSERT_OK(flip_bit(env_, file(format::table_file(0)), 40));
  EXPECT_EQ(verified().findings.at(0).file, name_ + "/" + format::table_file(0));
  SF_ASSERT_OK(flip_bit(env_, file(format::kManifestFile), 40));
  EXPECT_EQ(verified().findings.at(0).file, name_ + "/" + std::string(format::kManifestFile));
  EXPECT_EQ(store::verify(*store_, "000099-step000001-20261122T123005Z", store::VerifyDepth::full, {}).status().code(),
            Code::not_found);
}

TEST_P(Damage, QuickVerifyFindsWhatNeedsNoChunkToBeRead) {
  const auto quick = [&] { return store::verify(*store_, name_, store::VerifyDepth::quick, {}).value(); };
  EXPECT_TRUE(quick().ok);
  EXPECT_EQ(quick().chunks, 0U);
  const std::string content = content_of(env_, file(data_file())).value();
  SF_ASSERT_OK(flip_bit(env_, file(data_file()), content.size() - 1));
  EXPECT_TRUE(quick().ok);
  SF_ASSERT_OK(overwrite(env_, file(data_file()), content.substr(1)));
  EXPECT_TRUE(quick().damaged);
  SF_ASSERT_OK(overwrite(env_, file(data_file()), content));
  SF_ASSERT_OK(flip_bit(env_, file(format::table_file(0)), 100));
  EXPECT_TRUE(quick().damaged);
}

TEST_P(Damage, AFileThatCannotBeReadIsAFindingButNoDamage) {
  env_.fail({EnvOp::read_at, Code::io_error, 1, true, data_file()});
  const auto report = verified();
  EXPECT_FALSE(report.ok);
  EXPECT_FALSE(report.damaged);
  EXPECT_EQ(report.findings.at(0).code, Code::io_error);
}

TEST_P(Damage, VerifyCanBeEndedEarly) {
  std::uint64_t last_done = 0;
  const auto ended =
      store::verify(*store_, name_, store::VerifyDepth::full, [&](std::uint64_t done, std::uint64_t total) {
        EXPECT_EQ(total, three_chunk_layout().bytes);
        last_done = done;
        return false;
      });
  EXPECT_EQ(ended.status().code(), Code::deadline);
  EXPECT_EQ(last_done, kChunkBytes);
}

}  // namespace
}  // namespace stillframe::test
