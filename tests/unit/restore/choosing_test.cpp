// @best and @before-nan on a real store: what is chosen, what is passed over, and what is said.
#include <gmock/gmock.h>

#include "restore/chooser.hpp"
#include "support/store_fixture.hpp"

namespace stillframe::test {
namespace {

using restore::Chooser;
using testing::HasSubstr;

class Choosing : public StoreTest {
 protected:
  void SetUp() override {
    store_ = std::make_unique<store::Store>(make_store());
    const std::vector<std::string> losses{"0.5", "0.25", "0.25", R"({"$float":"nan"})", R"({"$float":"nan"})"};
    for (const std::string& loss : losses) add("{\"loss\":" + loss + "}");
  }
  void add(const std::string& metrics, const std::string& run = "main") {
    format::Manifest draft = draft_of(run, static_cast<std::int64_t>(names_.size()) + 1);
    draft.metrics_json = metrics;
    const auto published = publish_draft(*store_, draft);
    ASSERT_TRUE(published.ok()) << published.status().message();
    names_.push_back(published->name);
  }
  Result<Chooser> choose(const std::string& selector) {
    SF_ASSIGN(auto address, format::parse_address(store_->path() + "@" + selector));
    return Chooser::open(env(), address);
  }
  std::string file(std::size_t index, std::string_view name) const { return file_of(*store_, names_[index], name); }

  std::unique_ptr<store::Store> store_;
  std::vector<std::string> names_;  // oldest first
};
INSTANTIATE_TEST_SUITE_P(On, Choosing, testing::Values(EnvKind::posix, EnvKind::mem), env_kind_name);

TEST_P(Choosing, TheBestIsTheNewestOfEqualOnesAndThenTheNextBest) {
  auto chooser = choose("best");
  SF_ASSERT_OK(chooser);
  EXPECT_EQ(chooser->current().name(), names_[2]);
  EXPECT_EQ(chooser->why(), "loss 0.25, the lowest of 3 checkpoints with that metric");
  EXPECT_TRUE(chooser->skipped().empty());
  SF_ASSERT_OK(chooser->next("a chunk did not match"));
  EXPECT_EQ(chooser->current().name(), names_[1]);
  SF_ASSERT_OK(chooser->next("nor here"));
  EXPECT_EQ(chooser->current().name(), names_[0]);
  EXPECT_THAT(chooser->why(), HasSubstr("0.5"));
  EXPECT_EQ(chooser->next("nor here").code(), Code::not_found);
}

TEST_P(Choosing, TheHighestWhenAskedFor) { EXPECT_EQ(choose("best:loss:max")->current().name(), names_[0]); }

TEST_P(Choosing, ADamagedOrBadBestGivesWayToTheNextBestWithTheReason) {
  SF_ASSERT_OK(store_->set_mark(names_[2], format::kBadMark, "torn\n"));
  SF_ASSERT_OK(flip_bit(env(), file(1, format::table_file(0)), 100));
  const auto chooser = choose("best");
  SF_ASSERT_OK(chooser);
  EXPECT_EQ(chooser->current().name(), names_[0]);
  ASSERT_EQ(chooser->skipped().size(), 2U);
  EXPECT_EQ(chooser->skipped()[0].name, names_[2]);
  EXPECT_EQ(chooser->skipped()[0].reason, "marked bad: torn");
  EXPECT_THAT(chooser->skipped()[1].reason, HasSubstr(format::table_file(0)));
}

TEST_P(Choosing, AnUnreadableManifestMayHaveBeenTheBestAndIsNamed) {
  SF_ASSERT_OK(flip_bit(env(), file(2, format::kManifestFile), 100));
  const auto chooser = choose("best");
  SF_ASSERT_OK(chooser);
  EXPECT_EQ(chooser->current().name(), names_[1]);
  ASSERT_EQ(chooser->skipped().size(), 1U);
  EXPECT_EQ(chooser->skipped()[0].name, names_[2]);
}

TEST_P(Choosing, AMetricThatNobodyHasIsNotFoundAndTheOthersAreNamed) {
  const auto chooser = choose("best:accuracy:max");
  EXPECT_EQ(chooser.status().code(), Code::not_found);
  EXPECT_THAT(chooser.status().message(), HasSubstr("'accuracy'"));
  EXPECT_THAT(chooser.status().message(), HasSubstr("run 'main'"));
  EXPECT_THAT(chooser.status().message(), HasSubstr("the metrics of the newest are: loss"));
}

TEST_P(Choosing, BeforeNanIsTheNewestBeforeTheStreakAndThenOlder) {
  auto chooser = choose("before-nan");
  SF_ASSERT_OK(chooser);
  EXPECT_EQ(chooser->current().name(), names_[2]);
  EXPECT_THAT(chooser->why(), HasSubstr("before step 4 (" + names_[3] + ")"));
  SF_ASSERT_OK(chooser->next("damaged"));
  EXPECT_EQ(chooser->current().name(), names_[1]);
}

TEST_P(Choosing, BeforeNanWithoutANanIsTheNewest) {
  add(R"({"loss":1})", "calm");
  const auto address = format::parse_address(store_->path() + ":calm@before-nan");
  SF_ASSERT_OK(address);
  const auto chooser = Chooser::open(env(), *address);
  SF_ASSERT_OK(chooser);
  EXPECT_EQ(chooser->current().name(), names_[5]);
  EXPECT_THAT(chooser->why(), HasSubstr("no loss of this run was non-finite"));
}

TEST_P(Choosing, AStepTakesTheNewestOfIt) {
  const auto chooser = choose("2");
  SF_ASSERT_OK(chooser);
  EXPECT_EQ(chooser->current().name(), names_[1]);
  EXPECT_EQ(chooser->why(), "the newest checkpoint of that step");
  EXPECT_EQ(choose("latest")->why(), "the newest checkpoint of its run");
}

TEST_P(Choosing, ACheckpointWhoseManifestIsMissingIsPassedOverByEverySelector) {
  SF_ASSERT_OK(env().remove_file(file(4, format::kManifestFile)));
  EXPECT_EQ(choose("latest")->current().name(), names_[3]);
  EXPECT_EQ(choose("best")->current().name(), names_[2]);
  EXPECT_EQ(choose("before-nan")->current().name(), names_[2]);
}

}  // namespace
}  // namespace stillframe::test
