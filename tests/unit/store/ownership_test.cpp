// Nothing is followed out of a checkpoint's own directory, and nobody else's file is taken for ours.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>

#include "store/catalog.hpp"
#include "support/store_fixture.hpp"
#include "unit/store/owner_env.hpp"

namespace stillframe::test {
namespace {

namespace fs = std::filesystem;
using codec::CodecId;
using store::CheckpointReader;
using store::Store;
using testing::HasSubstr;

constexpr std::uint32_t kUser = 1000;
constexpr std::uint32_t kStranger = 2000;
constexpr std::uint32_t kRoot = 0;

class Owners : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = Store::open_or_create(env_, "/s");
    SF_ASSERT_OK(opened);
    store_ = std::make_unique<Store>(*std::move(opened));
    const auto published = publish(*store_, "main", 1);
    SF_ASSERT_OK(published);
    name_ = published->name;
    directory_ = env::join("/s", name_);
    for (const std::string& file : {std::string(format::kManifestFile), format::data_file(0), format::table_file(0)}) {
      paths_.push_back(env::join(directory_, file));
    }
    paths_.push_back(directory_);
  }

  FaultEnv mem_;
  OwnerEnv env_{mem_, kUser};
  std::unique_ptr<Store> store_;
  std::string name_;
  std::string directory_;
  std::vector<std::string> paths_;
};

TEST_F(Owners, AForeignFileOrDirectoryIsRefusedByNameAndNotMarkedAsDamage) {
  for (const std::string& path : paths_) {
    env_.give(path, kStranger);
    const auto reader = CheckpointReader::open(*store_, name_);
    ASSERT_FALSE(reader.ok()) << path;
    EXPECT_THAT(reader.status().message(), HasSubstr("'" + path + "' belongs to user 2000"));
    const auto report = store::verify(*store_, name_, store::VerifyDepth::quick, {});
    SF_ASSERT_OK(report);
    EXPECT_FALSE(report->ok);
    EXPECT_FALSE(report->damaged) << "the bytes are not known to be wrong";
    env_.give(path, kUser);
  }
  SF_ASSERT_OK(CheckpointReader::open(*store_, name_));
}

TEST_F(Owners, TheCatalogDoesNotReadAForeignManifest) {
  env_.give(paths_[0], kStranger);
  const auto catalog = store::read_catalog(*store_);
  SF_ASSERT_OK(catalog);
  ASSERT_EQ(catalog->size(), 1U);
  EXPECT_THAT(catalog->front().head.status().message(), HasSubstr("user 2000"));
}

TEST_F(Owners, RootAndTheOwnerOfTheStoreAreTrusted) {
  env_.give("/s", kStranger);  // a reader of somebody else's store
  for (const std::string& path : paths_) env_.give(path, kStranger);
  SF_ASSERT_OK(check_whole(*store_, name_, 1));
  env_.give("/s", kUser);
  for (const std::string& path : paths_) env_.give(path, kRoot);
  SF_ASSERT_OK(check_whole(*store_, name_, 1));
}

class Links : public testing::TestWithParam<CodecId> {
 protected:
  void SetUp() override {
    auto opened = Store::open_or_create(env::posix_env(), dir_.path() + "/store");
    SF_ASSERT_OK(opened);
    store_ = std::make_unique<Store>(*std::move(opened));
    for (const std::int64_t step : {1, 2}) {
      const auto published = publish(*store_, "main", step, GetParam());
      SF_ASSERT_OK(published);
      name_ = published->name;
    }
    files_ = {std::string(format::kManifestFile), format::table_file(0),
              GetParam() == CodecId::raw ? format::safetensors_file(0) : format::data_file(0)};
  }
  // Moves `path` out of the store and leaves a symbolic link there.
  void replace_by_link(const std::string& path) const {
    const fs::path target = fs::path(dir_.path()) / "outside";
    fs::rename(path, target);
    fs::create_symlink(target, path);
  }
  void restore(const std::string& path) const {
    fs::remove(path);
    fs::rename(fs::path(dir_.path()) / "outside", path);
  }

  TempDir dir_;
  std::unique_ptr<Store> store_;
  std::string name_;  // the newer one
  std::vector<std::string> files_;
};
std::string codec_of(const testing::TestParamInfo<CodecId>& tested) {
  return std::string(codec::codec_name(static_cast<std::uint8_t>(tested.param)));
}
INSTANTIATE_TEST_SUITE_P(Of, Links, testing::Values(CodecId::raw, CodecId::planes_lz4, CodecId::planes), codec_of);

TEST_P(Links, AFileThatIsASymbolicLinkIsRefusedByName) {
  for (const std::string& file : files_) {
    replace_by_link(file_of(*store_, name_, file));
    const auto reader = CheckpointReader::open(*store_, name_);
    ASSERT_FALSE(reader.ok()) << file;
    EXPECT_THAT(reader.status().message(), HasSubstr(file));
    EXPECT_THAT(reader.status().message(), HasSubstr("symbolic link"));
    EXPECT_FALSE(store::verify(*store_, name_, store::VerifyDepth::quick, {})->ok);
    restore(file_of(*store_, name_, file));
    SF_ASSERT_OK(check_whole(*store_, name_, 2));
  }
}

TEST_P(Links, ACheckpointThatIsASymbolicLinkIsListedAndRefusedByNameForEverything) {
  const std::string path = env::join(store_->path(), name_);
  replace_by_link(path);
  EXPECT_EQ(store_->list()->size(), 2U);
  for (const Status& refused :
       {CheckpointReader::open(*store_, name_).status(), store_->set_mark(name_, format::kBadMark, "x"),
        store_->clear_mark(name_, format::kBadMark), store_->remove(name_).status(),
        store::read_catalog(*store_)->front().head.status()}) {
    EXPECT_FALSE(refused.ok());
    EXPECT_THAT(refused.message(), HasSubstr(name_));
    EXPECT_THAT(refused.message(), HasSubstr("link"));
  }
  restore(path);
  SF_ASSERT_OK(check_whole(*store_, name_, 2));
  EXPECT_FALSE(store_->marks(name_)->bad);
}

TEST_P(Links, ASecondHardLinkIsNoFault) {
  for (const std::string& file : files_) {
    fs::create_hard_link(file_of(*store_, name_, file), fs::path(dir_.path()) / file);
  }
  SF_ASSERT_OK(check_whole(*store_, name_, 2));
  EXPECT_TRUE(store::verify(*store_, name_, store::VerifyDepth::full, {})->ok);
}

TEST_P(Links, AFileThatIsADirectoryOrAPipeIsRefusedAndNotWaitedFor) {
  for (const std::string& file : files_) {
    const std::string path = file_of(*store_, name_, file);
    fs::rename(path, path + ".kept");
    fs::create_directory(path);
    EXPECT_FALSE(CheckpointReader::open(*store_, name_).ok()) << file;
    fs::remove(path);
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    EXPECT_FALSE(CheckpointReader::open(*store_, name_).ok()) << file;
    fs::remove(path);
    fs::rename(path + ".kept", path);
  }
  SF_ASSERT_OK(check_whole(*store_, name_, 2));
}

}  // namespace
}  // namespace stillframe::test
