// Restore takes the newest checkpoint that verifies, and says what it passed over.
#include <gmock/gmock.h>

#include <atomic>

#include "restore/chooser.hpp"
#include "restore/load.hpp"
#include "support/store_fixture.hpp"

namespace stillframe::test {
namespace {

using restore::Chooser;
using restore::Target;
using store::CheckpointReader;
using store::Store;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

class Restoring : public StoreTest {
 protected:
  void SetUp() override {
    store_ = std::make_unique<Store>(make_store());
    for (const std::int64_t step : {1, 2, 3}) {
      const auto published = publish(*store_, "main", step);
      SF_ASSERT_OK(published);
      names_.push_back(published->name);
    }
  }
  Result<Chooser> choose(const std::string& run = "", std::optional<std::int64_t> step = {}) {
    const auto select = step ? format::Select::step : format::Select::latest;
    return Chooser::open(env(), {store_->path(), run, select, step.value_or(0)});
  }
  std::string newest(std::string_view file) const { return file_of(*store_, names_.back(), file); }

  std::unique_ptr<Store> store_;
  std::vector<std::string> names_;  // oldest first
};
INSTANTIATE_TEST_SUITE_P(On, Restoring, testing::Values(EnvKind::posix, EnvKind::mem), env_kind_name);

TEST_P(Restoring, TheNewestIsChosenAndThenTheNextOlder) {
  auto chooser = choose();
  SF_ASSERT_OK(chooser);
  EXPECT_EQ(chooser->current().name(), names_[2]);
  SF_ASSERT_OK(chooser->next("a chunk did not match"));
  EXPECT_EQ(chooser->current().name(), names_[1]);
  SF_ASSERT_OK(chooser->next("nor here"));
  EXPECT_EQ(chooser->current().name(), names_[0]);
  const Status none = chooser->next("nor here");
  EXPECT_EQ(none.code(), Code::not_found);
  EXPECT_THAT(none.message(), HasSubstr("a chunk did not match"));
  ASSERT_EQ(chooser->skipped().size(), 3U);
  EXPECT_EQ(chooser->skipped()[0].step, 3);
}

TEST_P(Restoring, RunAndStepSelect) {
  const auto other = publish(*store_, "other", 9);
  SF_ASSERT_OK(other);
  EXPECT_EQ(choose()->current().name(), names_[2]);
  EXPECT_TRUE(choose()->skipped().empty());
  EXPECT_EQ(choose("other")->current().name(), other->name);
  EXPECT_EQ(choose("main", 2)->current().name(), names_[1]);
  EXPECT_EQ(choose("main", 9).status().code(), Code::not_found);
  EXPECT_EQ(choose("nobody").status().code(), Code::not_found);
}

TEST_P(Restoring, ACheckpointMarkedBadIsSkippedWithTheMarksText) {
  SF_ASSERT_OK(store_->set_mark(names_[2], format::kBadMark, "torn: an update came before the fence\n"));
  const auto chooser = choose();
  SF_ASSERT_OK(chooser);
  EXPECT_EQ(chooser->current().name(), names_[1]);
  ASSERT_EQ(chooser->skipped().size(), 1U);
  EXPECT_EQ(chooser->skipped()[0].reason, "marked bad: torn: an update came before the fence");
}

TEST_P(Restoring, EachWayOfDamageFallsBackWithTheFileInTheReason) {
  for (const std::string& damaged : {format::data_file(0), format::table_file(0), std::string(format::kManifestFile)}) {
    const std::string content = content_of(env(), newest(damaged)).value();
    const auto expect_fallback = [&](const std::string& how) {
      const auto chooser = choose();
      ASSERT_TRUE(chooser.ok()) << damaged << how << chooser.status().message();
      EXPECT_EQ(chooser->current().name(), names_[1]) << damaged << how;
      ASSERT_EQ(chooser->skipped().size(), 1U);
      EXPECT_THAT(chooser->skipped()[0].reason, HasSubstr(damaged)) << how;
    };
    SF_ASSERT_OK(overwrite(env(), newest(damaged), content.substr(0, content.size() / 2)));
    expect_fallback(" truncated");
    SF_ASSERT_OK(env().remove_file(newest(damaged)));
    expect_fallback(" missing");
    SF_ASSERT_OK(env().create(newest(damaged)));
    expect_fallback(" empty");
    SF_ASSERT_OK(overwrite(env(), newest(damaged), content));
    EXPECT_EQ(choose()->current().name(), names_[2]);
  }
}

TEST_P(Restoring, WhenNothingOpensEverythingSkippedIsListed) {
  for (const std::string& name : names_) {
    SF_ASSERT_OK(flip_bit(env(), file_of(*store_, name, format::kManifestFile), 30));
  }
  const auto chooser = choose();
  EXPECT_EQ(chooser.status().code(), Code::corrupt);
  for (const std::string& name : names_) EXPECT_THAT(chooser.status().message(), HasSubstr(name));
}

TEST_P(Restoring, AllEntriesComeBackWithAnyNumberOfThreads) {
  const auto reader = CheckpointReader::open(*store_, names_[2]);
  SF_ASSERT_OK(reader);
  const auto layout = three_chunk_layout();
  const auto image = image_of(layout, 3);
  for (const std::size_t threads : {0U, 1U, 2U, 7U}) {
    std::vector<std::vector<std::byte>> memory;
    std::vector<Target> targets;
    for (const auto& entry : layout.entries) memory.emplace_back(entry.bytes);
    for (std::size_t i = 0; i < memory.size(); ++i) targets.push_back({layout.entries[i].name, memory[i]});
    std::reverse(targets.begin(), targets.end());
    std::uint64_t last_done = 0;
    SF_ASSERT_OK(restore::load(**reader, 0, targets, threads, [&](std::uint64_t done, std::uint64_t total) {
      EXPECT_LE(done, total);
      last_done = done;
    }));
    EXPECT_EQ(last_done, layout.bytes);
    for (std::size_t i = 0; i < memory.size(); ++i) {
      const auto& entry = layout.entries[i];
      EXPECT_TRUE(
          std::equal(memory[i].begin(), memory[i].end(), image.begin() + static_cast<std::ptrdiff_t>(entry.offset)))
          << entry.name << " with " << threads << " threads";
    }
  }
}

TEST_P(Restoring, ASubsetReadsOnlyItsChunks) {
  const auto chunks = CheckpointReader::open(*store_, names_[2]).value()->table(0).chunks;
  SF_ASSERT_OK(flip_bit(env(), newest(format::data_file(0)), chunks[0].offset));
  const auto reader = CheckpointReader::open(*store_, names_[2]);
  SF_ASSERT_OK(reader);
  std::vector<std::byte> bias(40);
  const std::vector<Target> targets{{"layer.bias", bias}};
  SF_ASSERT_OK(restore::load(**reader, 0, targets, 1, {}));
  std::vector<std::byte> weight(2'400'000);
  const std::vector<Target> damaged{{"layer.weight", weight}};
  const Status failed = restore::load(**reader, 0, damaged, 2, {});
  EXPECT_EQ(failed.code(), Code::corrupt);
  EXPECT_THAT(failed.message(), HasSubstr("layer.weight"));
  EXPECT_THAT(failed.message(), HasSubstr("chunk 0"));
  EXPECT_THAT(failed.message(), HasSubstr("partly overwritten"));
}

TEST(RestoringFromAFailingDisk, AnErrorWhileReadingSendsTheRestoreToTheNextOlderOne) {
  FaultEnv env;
  const Store store = Store::open_or_create(env, "/s").value();
  for (const std::int64_t step : {1, 2}) SF_ASSERT_OK(publish(store, "main", step));
  auto chooser = Chooser::open(env, format::parse_address("/s").value());
  SF_ASSERT_OK(chooser);
  env.fail({EnvOp::read_at, Code::io_error, 1, true, chooser->current().name()});
  std::vector<std::byte> bias(40);
  const std::vector<Target> targets{{"layer.bias", bias}};
  const Status failed = restore::load(chooser->current(), 0, targets, 1, {});
  EXPECT_EQ(failed.code(), Code::corrupt) << "the code that makes every restore go on to the next one";
  EXPECT_THAT(failed.message(), HasSubstr("a failure planned by the test"));
  SF_ASSERT_OK(chooser->next(failed.message()));
  SF_ASSERT_OK(restore::load(chooser->current(), 0, targets, 1, {}));
}

TEST_P(Restoring, EveryOffenceIsNamedAndNothingTouched) {
  const auto reader = CheckpointReader::open(*store_, names_[2]);
  SF_ASSERT_OK(reader);
  std::vector<std::byte> bias(40, std::byte{0xAA});
  std::vector<std::byte> small(3, std::byte{0xAA});
  const std::vector<Target> targets{
      {"layer.bias", bias}, {"layer.bias", bias}, {"mask", small}, {"unknown.weight", small}};
  const Status refused = restore::load(**reader, 0, targets, 1, {});
  EXPECT_EQ(refused.code(), Code::mismatch);
  EXPECT_THAT(refused.message(), HasSubstr("'layer.bias': given twice"));
  EXPECT_THAT(refused.message(), HasSubstr("'mask': the checkpoint has 7 bytes, the target 3"));
  EXPECT_THAT(refused.message(), HasSubstr("unknown.weight"));
  EXPECT_THAT(bias, Each(std::byte{0xAA}));
  EXPECT_EQ(restore::load(**reader, 1, {}, 1, {}).code(), Code::mismatch);
}

}  // namespace
}  // namespace stillframe::test
