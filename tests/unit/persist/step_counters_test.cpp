// Step counters of an optimizer inside one snapshot: which disagreement is an alarm.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "persist/inspector.hpp"

namespace stillframe::test {
namespace {

using persist::Findings;
using persist::Inspector;
using testing::HasSubstr;
using testing::SizeIs;

class Counting : public testing::Test {
 protected:
  format::StepCounter in_image(const std::string& name, std::size_t optimizer = 0) {
    const Entry& entry = layout_.entries[static_cast<std::size_t>(name.back() - '0')];
    format::StepCounter counter;
    counter.path = "optimizer.state[" + name + "].step";
    counter.optimizer = optimizer;
    counter.image_offset = entry.offset;
    counter.dtype = entry.dtype;
    return counter;
  }
  static format::StepCounter in_tree(double value, std::size_t optimizer = 0) {
    format::StepCounter counter;
    counter.path = "optimizer.state[t].step";
    counter.optimizer = optimizer;
    counter.value = value;
    return counter;
  }
  template <typename T>
  void put(std::size_t entry, T value) {
    std::memcpy(image_.data() + layout_.entries[entry].offset, &value, sizeof value);
  }
  std::optional<persist::FoundAlarm> alarm() {
    Inspector inspector(layout_, facts_);
    for (std::uint64_t chunk = 0; chunk < layout_.chunk_count(); ++chunk) {
      const auto raw = std::span(image_).subspan(chunk * kChunkBytes, layout_.chunk_length(chunk));
      inspector.look(chunk, raw, base::xxh128(raw));
    }
    const Findings found = std::move(inspector).finish(7, nullptr, std::nullopt);
    if (found.alarms.empty()) return std::nullopt;
    EXPECT_THAT(found.alarms, SizeIs(1));
    EXPECT_EQ(found.alarms[0].kind, "step_counters_disagree");
    return found.alarms[0];
  }

  // Counters of several types, with more than a chunk between the first and the last.
  format::ImageLayout layout_ = format::lay_out({{"0", DType::i64, {}},
                                                 {"1", DType::f64, {}},
                                                 {"2", DType::f32, {}},
                                                 {"between", DType::f32, {kChunkBytes / 2}},
                                                 {"4", DType::f32, {}},
                                                 {"5", DType::i32, {}}})
                                    .value();
  std::vector<std::byte> image_ = std::vector<std::byte>(layout_.bytes);
  format::TreeFacts facts_;
};

TEST_F(Counting, CountersThatAgreeAreNoAlarmWhateverTheirType) {
  facts_.step_counters = {in_image("0"), in_image("1"), in_image("2"), in_image("4"), in_image("5"), in_tree(40)};
  put(0, std::int64_t{40});
  put(1, 40.0);
  put(2, 40.0F);
  put(4, 40.0F);
  put(5, std::int32_t{40});
  EXPECT_FALSE(alarm());
}

TEST_F(Counting, OneThatLagsIsAnAlarmThatNamesIt) {
  facts_.step_counters = {in_image("4"), in_image("2"), in_tree(40)};
  put(4, 38.0F);
  put(2, 40.0F);
  const auto found = alarm();
  ASSERT_TRUE(found);
  EXPECT_THAT(found->text, HasSubstr("1 at 38 ('optimizer.state[4].step')"));
  EXPECT_THAT(found->text, HasSubstr("2 at 40"));
}

TEST_F(Counting, ManyAreCountedAndTheFirstNamed) {
  put(2, 40.0F);
  facts_.step_counters = {in_image("2")};
  for (int i = 0; i < 10; ++i) facts_.step_counters.push_back(in_tree(39));
  facts_.step_counters.push_back(in_tree(37));
  const auto found = alarm();
  ASSERT_TRUE(found);
  EXPECT_THAT(found->text, HasSubstr("1 at 37"));
  EXPECT_THAT(found->text, HasSubstr("10 between"));
  EXPECT_THAT(found->text, HasSubstr("1 at 40"));
}

TEST_F(Counting, TheCountersOfAnotherOptimizerMayDiffer) {
  facts_.step_counters = {in_tree(5, 0), in_tree(5, 0), in_tree(1, 1), in_tree(1, 1)};
  EXPECT_FALSE(alarm());
}

TEST_F(Counting, ALagThatGoesOnIsTheSameTrouble) {
  facts_.step_counters = {in_image("4"), in_image("2")};
  put(4, 38.0F);
  put(2, 40.0F);
  const auto first = alarm();
  put(4, 39.0F);
  put(2, 41.0F);
  const auto second = alarm();
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->subject, second->subject);
  EXPECT_NE(first->text, second->text);
}

TEST_F(Counting, ACounterAcrossTheBorderOfTwoChunksIsLeftOut) {
  format::StepCounter across = in_image("2");
  across.image_offset = kChunkBytes - 2;
  facts_.step_counters = {across, in_tree(40), in_tree(40)};
  EXPECT_FALSE(alarm());
}

}  // namespace
}  // namespace stillframe::test
