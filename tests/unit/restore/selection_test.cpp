// Which checkpoints @best and @before-nan mean, from heads alone.
#include "restore/selection.hpp"

#include <gmock/gmock.h>

namespace stillframe::restore {
namespace {

using store::CatalogEntry;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// A catalog written oldest first; each line one checkpoint of the run "main".
class Catalog {
 public:
  Catalog& add(std::int64_t step, const std::string& metrics, const std::string& alarm = "",
               const std::string& run = "main") {
    ++sequence_;
    format::ManifestHead head;
    head.sequence = sequence_;
    head.run = run;
    head.step = step;
    head.metrics_json = metrics;
    if (!alarm.empty()) head.alarms = {{alarm, "text"}};
    store::CheckpointRef ref{std::to_string(sequence_), {sequence_, step, "20261122T123005Z"}};
    entries_.insert(entries_.begin(), CatalogEntry{ref, head, 1000, {}});
    return *this;
  }
  Catalog& loss(std::int64_t step, const std::string& value) { return add(step, "{\"loss\":" + value + "}"); }
  Catalog& unreadable() {
    add(7, "{}");
    entries_.front().head = Status(Code::corrupt, "torn");
    return *this;
  }
  [[nodiscard]] const std::vector<CatalogEntry>& entries() const { return entries_; }

 private:
  std::uint64_t sequence_ = 0;
  std::vector<CatalogEntry> entries_;
};

constexpr const char* kNan = R"({"$float":"nan"})";
constexpr const char* kInfinite = R"({"$float":"inf"})";

format::Address address(format::Select select, const std::string& metric = "loss", bool highest = false) {
  format::Address made;
  made.run = "main";
  made.select = select;
  made.metric = metric;
  made.highest = highest;
  return made;
}

std::vector<std::string> names(const Selection& selection) {
  std::vector<std::string> found;
  for (const Candidate& candidate : selection.candidates) found.push_back(candidate.ref.name);
  return found;
}

Selection best(const Catalog& catalog, const std::string& metric = "loss", bool highest = false) {
  return select_best(address(format::Select::best, metric, highest), catalog.entries());
}
Selection before_nan(const Catalog& catalog) {
  return select_before_nan(address(format::Select::before_nan), catalog.entries());
}

TEST(SelectBest, LowestFirstAndOfEqualOnesTheNewest) {
  const auto catalog = Catalog().loss(1, "0.5").loss(2, "0.25").loss(3, "0.25").loss(4, "0.75");
  EXPECT_THAT(names(best(catalog)), ElementsAre("3", "2", "1", "4"));
  EXPECT_THAT(names(best(catalog, "loss", true)), ElementsAre("4", "1", "3", "2"));
  EXPECT_EQ(best(catalog).candidates[0].why, "loss 0.25, the lowest of 4 checkpoints with that metric");
  EXPECT_EQ(best(catalog, "loss", true).candidates[1].why,
            "loss 0.5, the highest but 1 of 4 checkpoints with that metric");
}

TEST(SelectBest, NanAndInfinityAreNeverBestAndOneWithoutTheMetricIsNone) {
  const auto catalog = Catalog()
                           .loss(1, kNan)
                           .loss(2, kInfinite)
                           .loss(3, R"({"$float":"-inf"})")
                           .add(4, R"({"accuracy":0.9})")
                           .add(5, R"({"loss":"low"})")
                           .loss(6, "3");
  EXPECT_THAT(names(best(catalog)), ElementsAre("6"));
  EXPECT_THAT(names(best(catalog, "loss", true)), ElementsAre("6"));
}

TEST(SelectBest, OnlyTheRunCountsAndWhatCannotBeReadIsNone) {
  const auto catalog = Catalog().add(1, R"({"loss":0.1})", "", "other").loss(2, "0.5").unreadable();
  EXPECT_THAT(names(best(catalog)), ElementsAre("2"));
}

TEST(SelectBest, WithoutTheMetricItIsSaidWhichThereAre) {
  const auto catalog = Catalog().add(1, R"({"loss":1})").add(2, R"({"accuracy":0.5,"loss":2})");
  const Selection none = best(catalog, "acc");
  EXPECT_THAT(names(none), IsEmpty());
  EXPECT_THAT(none.none, HasSubstr("'acc'"));
  EXPECT_THAT(none.none, HasSubstr("accuracy, loss"));
  EXPECT_THAT(best(Catalog().add(1, "{}")).none, HasSubstr("no metrics at all"));
}

TEST(SelectBeforeNan, TheNewestWithAFiniteLossBeforeTheStreak) {
  const auto catalog = Catalog().loss(10, "2").loss(20, "1").loss(30, kNan).loss(40, kNan);
  const Selection found = before_nan(catalog);
  EXPECT_THAT(names(found), ElementsAre("2", "1"));
  EXPECT_THAT(found.candidates[0].why, HasSubstr("step 30 (3)"));
}

TEST(SelectBeforeNan, TheLastStreakCounts) {
  const auto catalog =
      Catalog().loss(10, "2").loss(20, kNan).loss(30, "1").loss(40, kInfinite).loss(50, kNan).loss(60, "5");
  EXPECT_THAT(names(before_nan(catalog)), ElementsAre("3", "1"));
}

TEST(SelectBeforeNan, AnAlarmSaysItAsWell) {
  const auto catalog = Catalog().loss(10, "2").add(20, R"({"loss":1})", "non_finite_loss").add(30, "{}", "other");
  EXPECT_THAT(names(before_nan(catalog)), ElementsAre("1"));
}

TEST(SelectBeforeNan, WithoutANonFiniteLossTheNewestIsMeant) {
  EXPECT_THAT(names(before_nan(Catalog().loss(10, "2").add(20, "{}").loss(30, "1"))), ElementsAre("3", "2", "1"));
  EXPECT_THAT(before_nan(Catalog().loss(10, "2")).candidates[0].why, HasSubstr("no loss of this run was non-finite"));
}

TEST(SelectBeforeNan, OneWithoutALossIsNotTakenForFinite) {
  const auto catalog = Catalog().loss(10, "2").add(20, "{}").loss(30, kNan);
  EXPECT_THAT(names(before_nan(catalog)), ElementsAre("1"));
}

// Training went back to step 20 and on from there: what came after that step on the old line is no longer its past.
TEST(SelectBeforeNan, OnlyTheCurrentLineCounts) {
  const auto catalog = Catalog()
                           .loss(10, "3")
                           .loss(20, "2")
                           .loss(30, kNan)
                           .loss(40, kNan)
                           .loss(30, "1")  // again, from 20
                           .loss(40, "0.5");
  EXPECT_THAT(names(before_nan(catalog)), ElementsAre("6", "5", "2", "1"));
  const auto diverged_again = Catalog(catalog).loss(50, kNan);
  EXPECT_THAT(names(before_nan(diverged_again)), ElementsAre("6", "5", "2", "1"));
  EXPECT_THAT(before_nan(diverged_again).candidates[0].why, HasSubstr("step 50"));
}

TEST(SelectBeforeNan, ANewRunInAnOldDirectoryIsItsOwnLine) {
  const auto catalog = Catalog().loss(1000, "3").loss(2000, kNan).loss(10, "9");
  EXPECT_THAT(names(before_nan(catalog)), ElementsAre("3"));
}

TEST(SelectBeforeNan, WhenNothingFiniteCameBeforeItIsSaid) {
  const Selection none = before_nan(Catalog().loss(10, kNan).loss(20, "1"));
  EXPECT_THAT(names(none), IsEmpty());
  EXPECT_THAT(none.none, HasSubstr("before step 10"));
  EXPECT_THAT(before_nan(Catalog()).none, HasSubstr("no readable checkpoint"));
}

}  // namespace
}  // namespace stillframe::restore
