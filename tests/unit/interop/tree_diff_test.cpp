#include "interop/tree_diff.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stillframe::interop {

bool operator==(const ValueChange& a, const ValueChange& b) {
  return a.path == b.path && a.before == b.before && a.after == b.after;
}
void PrintTo(const ValueChange& c, std::ostream* out) {
  *out << c.path << ": " << c.before.value_or("absent") << " -> " << c.after.value_or("absent");
}

namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(TreeDiff, EqualTreesHaveNoChange) {
  EXPECT_EQ(diff_trees(R"({"a": [1, null]})", R"({"a": [1, null]})").total, 0U);
}

TEST(TreeDiff, AValueIsNamedByItsPath) {
  const TreeDiff diff = diff_trees(R"({"step": 1, "optimizer": {"param_groups": [{"lr": 0.1, "name": "x"}]}})",
                                   R"({"step": 2, "optimizer": {"param_groups": [{"lr": 0.05, "name": "x"}]}})");
  EXPECT_THAT(diff.changes,
              ElementsAre(ValueChange{"step", "1", "2"}, ValueChange{"optimizer.param_groups[0].lr", "0.1", "0.05"}));
}

TEST(TreeDiff, WhatIsOnlyInOneTreeWasAddedOrRemoved) {
  const TreeDiff diff = diff_trees(R"({"a": 1, "gone": true})", R"({"new": null, "a": 1})");
  EXPECT_THAT(diff.changes,
              ElementsAre(ValueChange{"new", std::nullopt, "null"}, ValueChange{"gone", "true", std::nullopt}));
  EXPECT_THAT(diff_trees("[1]", "[1, 2]").changes, ElementsAre(ValueChange{"[1]", std::nullopt, "2"}));
}

TEST(TreeDiff, TheOrderOfKeysIsNoChange) {
  EXPECT_EQ(diff_trees(R"({"a": 1, "b": 2})", R"({"b": 2, "a": 1})").total, 0U);
}

TEST(TreeDiff, TheOrderOfAnOrderedDictIsState) {
  const TreeDiff diff = diff_trees(R"({"s": {"$ordered_dict": [["a", 1], ["b", 2]]}})",
                                   R"({"s": {"$ordered_dict": [["b", 2], ["a", 3]]}})");
  EXPECT_THAT(diff.changes, ElementsAre(ValueChange{"s", R"({"$ordered_dict":[["a",1],["b",2]]})",
                                                    R"({"$ordered_dict":[["b",2],["a",3]]})"},
                                        ValueChange{"s.a", "1", "3"}));
  EXPECT_THAT(diff_trees(R"({"$ordered_dict": [["a", 1], ["b", 2], ["c", 3]]})",
                         R"({"$ordered_dict": [["new", 0], ["a", 1], ["c", 3]]})")
                  .changes,
              ElementsAre(ValueChange{"new", std::nullopt, "0"}, ValueChange{"b", "2", std::nullopt}))
      << "what stayed is in the same order";
}

TEST(TreeDiff, AnIntegerIsNoFloatAndZeroNotMinusZero) {
  EXPECT_THAT(diff_trees("[1, 0.0]", "[1.0, -0.0]").changes,
              ElementsAre(ValueChange{"[0]", "1", "1.0"}, ValueChange{"[1]", "0.0", "-0.0"}));
}

TEST(TreeDiff, DictsWithOtherKeysAndTuplesAreLookedInto) {
  const TreeDiff diff = diff_trees(R"({"s": {"$dict": [[0, {"$tuple": [1, 2]}], ["k", 5]]}})",
                                   R"({"s": {"$dict": [["k", 6], [0, {"$tuple": [1, 3]}]]}})");
  EXPECT_THAT(diff.changes, ElementsAre(ValueChange{"s.k", "5", "6"}, ValueChange{"s[0][1]", "2", "3"}));
}

TEST(TreeDiff, AnotherKindOfContainerIsAChange) {
  EXPECT_THAT(diff_trees("[1]", R"({"$tuple": [1]})").changes,
              ElementsAre(ValueChange{"", "[1]", R"({"$tuple":[1]})"}));
  EXPECT_EQ(diff_trees(R"({"$dict": [[1, 2]]})", R"({"$ordered_dict": [[1, 2]]})").total, 1U);
}

TEST(TreeDiff, LeavesWithoutAJsonTypeAreCompared) {
  EXPECT_THAT(diff_trees(R"({"x": {"$float": "nan"}})", R"({"x": {"$float": "nan"}})").changes, IsEmpty());
  EXPECT_THAT(diff_trees(R"({"x": 1.5})", R"({"x": {"$float": "nan"}})").changes,
              ElementsAre(ValueChange{"x", "1.5", R"({"$float":"nan"})"}));
  EXPECT_EQ(diff_trees(R"({"x": {"$tensor": "a"}})", R"({"x": {"$tensor": "b"}})").changes.at(0).path, "x");
}

TEST(TreeDiff, KeysThatLookLikePathsAreQuoted) {
  EXPECT_EQ(diff_trees(R"({"a.b": 1, "a": {"b": 1}})", R"({"a.b": 2, "a": {"b": 1}})").changes.at(0).path,
            R"(["a.b"])");
}

TEST(TreeDiff, ALongListIsCountedToTheEndAndCutOff) {
  std::string before = "[0", after = "[1";
  for (std::size_t i = 0; i < 2 * kMaxValueChanges; ++i) before += ", 0", after += ", 1";
  const TreeDiff diff = diff_trees(before + "]", after + "]");
  EXPECT_EQ(diff.total, 2 * kMaxValueChanges + 1);
  EXPECT_EQ(diff.changes.size(), kMaxValueChanges);
}

}  // namespace
}  // namespace stillframe::interop
