#include "format/tree_facts.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "format/descriptor.hpp"
#include "format/tree.hpp"

namespace stillframe::format {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// count: I64 []; w, b: F32; step: F32 []; half: F16 []; raw: U8 [16].
ImageLayout layout() {
  return lay_out({{"count", DType::i64, {}, 0, 0},
                  {"w", DType::f32, {2, 3}, 0, 0},
                  {"b", DType::f32, {3}, 0, 0},
                  {"step", DType::f32, {}, 0, 0},
                  {"half", DType::f16, {}, 0, 0},
                  {"raw", DType::u8, {16}, 0, 0}})
      .value();
}

TreeFacts facts_of(const std::string& tree) {
  auto facts = read_tree_facts(tree, layout());
  EXPECT_TRUE(facts.ok()) << facts.status().message();
  return facts.ok() ? std::move(facts).value() : TreeFacts{};
}

std::vector<std::string> trainable_names(const TreeFacts& facts) {
  std::vector<std::string> names;
  const ImageLayout of = layout();
  for (std::size_t i = 0; i < of.entries.size(); ++i) {
    if (facts.trainable.at(i)) names.push_back(of.entries[i].name);
  }
  return names;
}

std::uint64_t offset_of(const std::string& name) {
  const ImageLayout of = layout();
  for (const Entry& entry : of.entries) {
    if (entry.name == name) return entry.offset;
  }
  return 0;
}

// A state tree with one optimizer whose state of parameters 0, 1, … holds these nodes under "step".
std::string optimizer_with_steps(const std::vector<std::string>& steps) {
  std::string pairs;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    pairs += (i == 0 ? "[" : ", [") + std::to_string(i) + ", {\"exp_avg\": 1.5, \"step\": " + steps[i] + "}]";
  }
  return R"({"optimizer": {"state": {"$dict": [)" + pairs + R"(]}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}})";
}

TEST(TreeFacts, ATensorIsTrainableWhenItIsAParameterThatRequiresGrad) {
  const TreeFacts facts = facts_of(R"({"model": [
    {"$tensor": {"entry": "w", "parameter": true, "requires_grad": true}},
    {"$tensor": {"entry": "b", "parameter": true, "requires_grad": false}},
    {"$tensor": {"entry": "half", "parameter": true}},
    {"$tensor": {"entry": "count", "requires_grad": true}},
    {"$tensor": "step"}, {"$tensor": "raw"}]})");
  EXPECT_THAT(trainable_names(facts), ElementsAre("w"));
}

TEST(TreeFacts, OneTrainableViewMakesItsEntryTrainableWhereverItStands) {
  const TreeFacts facts = facts_of(R"({"$ordered_dict": [["a", {"$tuple": [{"$namedtuple": {"type": "m.T",
    "fields": ["x"], "values": [{"$tensor": {"entry": "raw", "dtype": "F32", "shape": [2], "stride": [1], "offset": 0,
    "parameter": true, "requires_grad": true}}]}}]}], ["b", {"$tensor": "raw"}]]})");
  EXPECT_THAT(trainable_names(facts), ElementsAre("raw"));
}

TEST(TreeFacts, StepCountersAreFoundInTheStateOfAnOptimizer) {
  const TreeFacts facts = facts_of(optimizer_with_steps({R"({"$tensor": "step"})", "7", "8.0"}));
  ASSERT_EQ(facts.step_counters.size(), 3U);
  EXPECT_EQ(facts.step_counters[0].path, "optimizer.state[0].step");
  EXPECT_FALSE(facts.step_counters[0].value);
  EXPECT_EQ(facts.step_counters[0].image_offset, offset_of("step"));
  EXPECT_EQ(facts.step_counters[0].dtype, DType::f32);
  EXPECT_EQ(facts.step_counters[1].path, "optimizer.state[1].step");
  EXPECT_EQ(facts.step_counters[1].value, 7.0);
  EXPECT_EQ(facts.step_counters[2].value, 8.0);
}

TEST(TreeFacts, AViewOfOneElementIsACounterAtItsOwnPlace) {
  const std::string view =
      R"({"$tensor": {"entry": "raw", "dtype": "I32", "shape": [1, 1], "stride": [4, 1], "offset": 2}})";
  const TreeFacts facts = facts_of(optimizer_with_steps({view, R"({"$ndarray": {"entry": "count", "dtype": "<i8",
    "shape": [], "order": "C"}})"}));
  ASSERT_EQ(facts.step_counters.size(), 2U);
  EXPECT_EQ(facts.step_counters[0].image_offset, offset_of("raw") + 8);
  EXPECT_EQ(facts.step_counters[0].dtype, DType::i32);
  EXPECT_EQ(facts.step_counters[1].image_offset, offset_of("count"));
  EXPECT_EQ(facts.step_counters[1].dtype, DType::i64);
}

TEST(TreeFacts, WhatIsNoCountOfStepsIsPassedOver) {
  const TreeFacts facts = facts_of(optimizer_with_steps(
      {R"({"$tensor": "w"})", R"({"$tensor": "half"})", "null", "true", R"("7")", R"({"$float": "nan"})", "[1]",
       R"({"$tensor": {"entry": "raw", "dtype": "I32", "shape": [2], "stride": [1], "offset": 0}})"}));
  EXPECT_THAT(facts.step_counters, IsEmpty());
}

TEST(TreeFacts, CountersOutsideOfAnOptimizerAreNotCompared) {
  for (const char* tree : {R"({"scheduler": {"state": {"a": {"step": 3}}}})", R"({"state": {"a": {"step": 3}}})",
                           R"({"state": {"a": {"step": 3}}, "param_groups": 1})",
                           R"({"state": [{"step": 3}], "param_groups": []})", R"({"step": 3, "param_groups": []})"}) {
    EXPECT_THAT(facts_of(tree).step_counters, IsEmpty()) << tree;
  }
}

TEST(TreeFacts, EachOptimizerHasItsOwnNumber) {
  const TreeFacts facts = facts_of(R"({"optimizer": {
    "generator": {"state": {"w": {"step": 1}, "b": {"step": 1}}, "param_groups": []},
    "critic": {"state": {"w": {"step": 5}}, "param_groups": {"$tuple": []}}}})");
  ASSERT_EQ(facts.step_counters.size(), 3U);
  EXPECT_EQ(facts.step_counters[0].optimizer, facts.step_counters[1].optimizer);
  EXPECT_NE(facts.step_counters[0].optimizer, facts.step_counters[2].optimizer);
  EXPECT_EQ(facts.step_counters[2].path, "optimizer.critic.state.w.step");
}

TEST(TreeFacts, ALongPathIsCutBetweenCharacters) {
  std::string name;
  for (int i = 0; i < 300; ++i) name += "é";
  const TreeFacts facts = facts_of(R"({"x)" + name + R"(": {"state": {"w": {"step": 1}}, "param_groups": []}})");
  ASSERT_EQ(facts.step_counters.size(), 1U);
  const std::string& path = facts.step_counters[0].path;
  EXPECT_LT(path.size(), 210U);
  EXPECT_TRUE(path.ends_with("é.…")) << path;
}

TEST(TreeFacts, ATreeThatIsNoneIsRefusedAsByTheCheck) {
  for (const char* tree : {"", "{", R"({"$tensor": "nowhere"})", R"({"$dict": [[1]]})", R"({"a": {"$what": 1}})"}) {
    const auto facts = read_tree_facts(tree, layout());
    const Status checked = check_tree(tree, layout());
    ASSERT_FALSE(facts.ok()) << tree;
    EXPECT_EQ(facts.status().code(), Code::corrupt);
    EXPECT_EQ(facts.status().message(), checked.message());
  }
}

TEST(DescriptorFacts, WhatThePlanCallsTrainableIsTrainableWhateverTheTreeSays) {
  const ImageLayout of = layout();
  std::vector<bool> trainable(of.entries.size());
  trainable[1] = true;
  const std::string tree = R"([{"$tensor": {"entry": "b", "parameter": true, "requires_grad": true}}])";
  const auto bytes = encode_descriptor(encode_layout(of, trainable), tree, "{}");
  const auto descriptor = decode_descriptor(bytes, of.bytes);
  ASSERT_TRUE(descriptor.ok()) << descriptor.status().message();
  EXPECT_EQ(descriptor->layout.entries, of.entries);
  EXPECT_THAT(trainable_names(descriptor->facts), ElementsAre("w", "b"));
}

TEST(DescriptorFacts, ALayoutInAnotherOrderThanTheImageIsRefused) {
  const ImageLayout of = layout();
  std::vector<Entry> entries = of.entries;
  std::swap(entries.front(), entries.back());
  ImageLayout other;
  other.entries = entries;
  other.bytes = of.bytes;
  const auto bytes = encode_descriptor(encode_layout(other), "{}", "{}");
  EXPECT_EQ(decode_descriptor(bytes, of.bytes).status().code(), Code::corrupt);
}

}  // namespace
}  // namespace stillframe::format
