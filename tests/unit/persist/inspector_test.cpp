// What the bytes of one snapshot beside those of the one before raise an alarm for, and what they do not.
#include "persist/inspector.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/thread.hpp"
#include "support/checkpoints.hpp"

namespace stillframe::test {
namespace {

using persist::Findings;
using persist::Inspector;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// Three trained tensors, of which "big" covers whole chunks and "a", "b" share one with others; "buffer" is not trained.
struct Training {
  format::ImageLayout layout = format::lay_out({{"buffer", DType::f64, {100}},
                                                {"a", DType::f32, {1000}},
                                                {"big", DType::f32, {3 * kChunkBytes / 4}},
                                                {"b", DType::f32, {70'000}},
                                                {"none", DType::f32, {0}},
                                                {"count", DType::f32, {}}})
                                   .value();
  format::TreeFacts facts{std::vector<bool>(6), {}};
  std::vector<std::byte> image = image_of(layout, 1);

  Training() {
    for (const char* name : {"a", "big", "b", "none"}) facts.trainable[index_of(name)] = true;
  }
  std::size_t index_of(const std::string& name) const {
    std::size_t i = 0;
    while (layout.entries[i].name != name) ++i;
    return i;
  }
  // One bit, in the middle of the tensor.
  void change(const std::string& name) {
    const Entry& entry = layout.entries[index_of(name)];
    image[entry.offset + entry.bytes / 2] ^= std::byte{1};
  }
  Findings inspect(std::int64_t step, const Findings* before, std::optional<double> loss = std::nullopt) const {
    Inspector inspector(layout, facts);
    for (std::uint64_t chunk = 0; chunk < layout.chunk_count(); ++chunk) {
      const auto raw = std::span(image).subspan(chunk * kChunkBytes, layout.chunk_length(chunk));
      inspector.look(chunk, raw, base::xxh128(raw));
    }
    return std::move(inspector).finish(step, before != nullptr ? &before->remembered : nullptr, loss);
  }
};

std::vector<std::string> kinds(const Findings& findings) {
  std::vector<std::string> found;
  for (const persist::FoundAlarm& alarm : findings.alarms) found.push_back(alarm.kind);
  return found;
}

TEST(Inspecting, TrainingThatGoesOnRaisesNoAlarm) {
  Training training;
  Findings before = training.inspect(0, nullptr, 1.0);
  EXPECT_THAT(kinds(before), IsEmpty());
  for (std::int64_t step = 1; step < 5; ++step) {
    for (const char* name : {"a", "big", "b"}) training.change(name);
    before = training.inspect(step, &before, 0.5);
    EXPECT_THAT(kinds(before), IsEmpty()) << step;
  }
}

TEST(Inspecting, TrainedTensorsThatAllStandStillAreAnAlarm) {
  Training training;
  const Findings before = training.inspect(10, nullptr);
  training.change("buffer");
  training.change("count");
  const Findings now = training.inspect(20, &before);
  ASSERT_THAT(kinds(now), ElementsAre("stale_state"));
  EXPECT_THAT(now.alarms[0].text, HasSubstr("all 3 trainable tensors"));
  EXPECT_THAT(now.alarms[0].text, HasSubstr("step 10 and step 20"));
  EXPECT_THAT(now.alarms[0].text, HasSubstr("optimizer.step()"));
}

TEST(Inspecting, OneBitInOneTensorIsEnoughToBeTrained) {
  for (const char* name : {"a", "big", "b"}) {
    Training training;
    const Findings before = training.inspect(1, nullptr);
    training.change(name);
    EXPECT_THAT(kinds(training.inspect(2, &before)), IsEmpty()) << name;
  }
}

TEST(Inspecting, EveryByteOfATensorCounts) {
  Training training;
  const Findings before = training.inspect(1, nullptr);
  const Entry& big = training.layout.entries[training.index_of("big")];
  for (const std::uint64_t at : {std::uint64_t{0}, kChunkBytes - big.offset % kChunkBytes, big.bytes - 1}) {
    Training other = training;
    other.image[big.offset + at] ^= std::byte{1};
    EXPECT_THAT(kinds(other.inspect(2, &before)), IsEmpty()) << at;
  }
}

TEST(Inspecting, ANeighbourInTheSameChunkIsNotTheTensor) {
  Training training;
  const Findings before = training.inspect(1, nullptr);
  training.change("buffer");  // in the chunk of "a" and of the first part of "big"
  EXPECT_THAT(kinds(training.inspect(2, &before)), ElementsAre("stale_state"));
}

TEST(Inspecting, TheSameStepAgainIsNoAlarm) {
  Training training;
  const Findings before = training.inspect(10, nullptr);
  const Findings again = training.inspect(10, &before);
  EXPECT_THAT(kinds(again), IsEmpty());
  EXPECT_THAT(kinds(training.inspect(9, &before)), IsEmpty()) << "a step back, after a restore";
  EXPECT_THAT(kinds(training.inspect(11, &again)), ElementsAre("stale_state"));
}

TEST(Inspecting, AStaleAlarmStandsWhileTheSameStepIsTakenAgain) {
  Training training;
  const Findings first = training.inspect(10, nullptr);
  const Findings stale = training.inspect(11, &first);
  ASSERT_THAT(kinds(stale), ElementsAre("stale_state"));
  const Findings again = training.inspect(11, &stale);
  EXPECT_THAT(kinds(again), ElementsAre("stale_state")) << "the last snapshot of a run repeats the step";
  training.change("big");
  EXPECT_THAT(kinds(training.inspect(11, &again)), IsEmpty());
}

TEST(Inspecting, WithoutATrainedTensorThereIsNothingToCompare) {
  Training training;
  training.facts.trainable.assign(6, false);
  const Findings before = training.inspect(1, nullptr);
  EXPECT_THAT(kinds(training.inspect(2, &before)), IsEmpty());
  EXPECT_THAT(before.remembered.pieces, IsEmpty());
}

class Stopping : public testing::Test {
 protected:
  // Steps 1 and 2, all trained.
  void SetUp() override {
    const Findings first = training_.inspect(1, nullptr);
    change_all_but("");
    before_ = training_.inspect(2, &first);
    ASSERT_THAT(kinds(before_), IsEmpty());
  }
  void change_all_but(const std::string& stopped) {
    for (const char* name : {"a", "big", "b"}) {
      if (name != stopped) training_.change(name);
    }
  }
  Findings next() { return before_ = training_.inspect(++step_, &before_); }

  Training training_;
  Findings before_;
  std::int64_t step_ = 2;
};

TEST_F(Stopping, ATensorThatStopsWhileOthersGoOnIsAnAlarmUntilItGoesOn) {
  change_all_but("b");
  const Findings stopped = next();
  ASSERT_THAT(kinds(stopped), ElementsAre("stale_tensors"));
  EXPECT_THAT(stopped.alarms[0].text, HasSubstr("1 of 3"));
  EXPECT_THAT(stopped.alarms[0].text, HasSubstr("'b'"));
  EXPECT_THAT(stopped.alarms[0].text, Not(HasSubstr("'a'")));
  change_all_but("b");
  const Findings still = next();
  ASSERT_THAT(kinds(still), ElementsAre("stale_tensors"));
  EXPECT_EQ(still.alarms[0].subject, stopped.alarms[0].subject);
  EXPECT_NE(still.alarms[0].text, stopped.alarms[0].text) << "it says which steps";
  change_all_but("");
  EXPECT_THAT(kinds(next()), IsEmpty());
}

TEST_F(Stopping, OneThatStopsAfterAnotherIsAnotherAlarm) {
  change_all_but("b");
  const Findings stopped = next();
  training_.change("big");
  const Findings both = next();
  ASSERT_THAT(kinds(both), ElementsAre("stale_tensors"));
  EXPECT_THAT(both.alarms[0].text, HasSubstr("2 of 3"));
  EXPECT_NE(both.alarms[0].subject, stopped.alarms[0].subject);
}

TEST_F(Stopping, OnceNothingMovesItIsTheWholeState) {
  change_all_but("b");
  EXPECT_THAT(kinds(next()), ElementsAre("stale_tensors"));
  EXPECT_THAT(kinds(next()), ElementsAre("stale_state"));
  change_all_but("b");
  EXPECT_THAT(kinds(next()), ElementsAre("stale_tensors"));
}

TEST_F(Stopping, TheSameStepAgainDoesNotForgetWhatMoved) {
  before_ = training_.inspect(step_, &before_);
  change_all_but("b");
  EXPECT_THAT(kinds(next()), ElementsAre("stale_tensors"));
}

TEST(Inspecting, ATensorThatNeverMovedIsNoneThatStopped) {
  Training training;
  Findings before = training.inspect(1, nullptr);
  for (std::int64_t step = 2; step < 5; ++step) {
    training.change("a");
    training.change("big");
    before = training.inspect(step, &before);
    EXPECT_THAT(kinds(before), IsEmpty()) << "a layer that is frozen, or not used";
  }
}

TEST(Inspecting, TensorsAreRecognisedByNameWhenTheLayoutGrows) {
  Training training;
  const Findings before = training.inspect(1, nullptr);
  // Optimizer state came to be: wider elements stand before, so every offset moves by whole chunks.
  Training grown;
  grown.layout = format::lay_out({{"buffer", DType::f64, {100}},
                                  {"new", DType::f64, {2 * kChunkBytes / 8}},
                                  {"a", DType::f32, {1000}},
                                  {"big", DType::f32, {3 * kChunkBytes / 4}},
                                  {"b", DType::f32, {70'000}}})
                     .value();
  grown.facts.trainable = {false, false, true, true, true};
  grown.image.assign(2 * kChunkBytes, std::byte{5});
  grown.image.insert(grown.image.begin(), training.image.begin(), training.image.begin() + 800);
  grown.image.insert(grown.image.end(), training.image.begin() + 800, training.image.end() - 4);
  ASSERT_EQ(grown.image.size(), grown.layout.bytes);
  EXPECT_THAT(kinds(grown.inspect(2, &before)), ElementsAre("stale_state"));
  grown.change("b");
  EXPECT_THAT(kinds(grown.inspect(2, &before)), IsEmpty());
}

TEST(Inspecting, TensorsThatCannotBeComparedAreJudgedAnew) {
  Training training;
  const Findings before = training.inspect(1, nullptr);
  Training shifted;
  shifted.layout = format::lay_out({{"buffer", DType::f64, {101}},
                                    {"a", DType::f32, {1000}},
                                    {"big", DType::f32, {3 * kChunkBytes / 4}},
                                    {"b", DType::f32, {70'000}},
                                    {"none", DType::f32, {0}},
                                    {"count", DType::f32, {}}})
                       .value();
  shifted.image.insert(shifted.image.begin(), 8, std::byte{0});
  const Findings now = shifted.inspect(2, &before);
  EXPECT_THAT(kinds(now), IsEmpty());
  EXPECT_THAT(kinds(shifted.inspect(3, &now)), ElementsAre("stale_state"));
  shifted.change("a");
  EXPECT_THAT(kinds(shifted.inspect(3, &now)), IsEmpty()) << "that the others changed in step 2 is not known";
}

TEST(Inspecting, ALossThatIsNotFiniteIsAnAlarm) {
  const Training training;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double loss : {std::nan(""), kInfinity, -kInfinity}) {
    const Findings found = training.inspect(30, nullptr, loss);
    ASSERT_THAT(kinds(found), ElementsAre("non_finite_loss")) << loss;
    EXPECT_THAT(found.alarms[0].text, HasSubstr("step 30"));
    EXPECT_THAT(found.alarms[0].text, HasSubstr("@before-nan"));
  }
  EXPECT_THAT(kinds(training.inspect(30, nullptr, 1e308)), IsEmpty());
  EXPECT_THAT(kinds(training.inspect(30, nullptr, std::nullopt)), IsEmpty());
}

TEST(Inspecting, SeveralAlarmsStandSideBySide) {
  Training training;
  training.facts.step_counters = {{"a", 0, 1.0, 0, DType::f32}, {"b", 0, 2.0, 0, DType::f32}};
  const Findings before = training.inspect(1, nullptr);
  EXPECT_THAT(kinds(training.inspect(2, &before, std::nan(""))),
              ElementsAre("stale_state", "step_counters_disagree", "non_finite_loss"));
}

TEST(Inspecting, LongNamesAndManyAreShortened) {
  std::vector<Entry> entries;
  for (int i = 0; i < 5; ++i) entries.push_back({std::to_string(i) + std::string(5000, 'x') + "é", DType::f32, {4}});
  entries.push_back({"alive", DType::f32, {4}});
  Training training;
  training.layout = format::lay_out(entries).value();
  training.facts.trainable.assign(6, true);
  training.image = image_of(training.layout, 1);
  const Findings first = training.inspect(1, nullptr);
  for (std::byte& byte : training.image) byte ^= std::byte{1};
  const Findings second = training.inspect(2, &first);
  training.change("alive");
  const Findings third = training.inspect(3, &second);
  ASSERT_THAT(kinds(third), ElementsAre("stale_tensors"));
  EXPECT_THAT(third.alarms[0].text, HasSubstr("and 2 more"));
  EXPECT_LT(third.alarms[0].text.size(), 1000U);
}

TEST(Inspecting, ThreadsLookAtDifferentChunksAtOnce) {
  Training training;
  const Findings before = training.inspect(1, nullptr);
  Inspector inspector(training.layout, training.facts);
  {
    const auto pool = base::WorkerPool::start("test-look", 4, 4).value();
    for (std::uint64_t chunk = training.layout.chunk_count(); chunk-- > 0;) {
      pool->submit([&, chunk] {
        const auto raw = std::span(training.image).subspan(chunk * kChunkBytes, training.layout.chunk_length(chunk));
        inspector.look(chunk, raw, base::xxh128(raw));
      });
    }
  }
  const Findings now = std::move(inspector).finish(2, &before.remembered, std::nullopt);
  EXPECT_THAT(kinds(now), ElementsAre("stale_state"));
  EXPECT_EQ(now.remembered.pieces, before.remembered.pieces);
}

}  // namespace
}  // namespace stillframe::test
