// Which copies of one stream may be made at the same time: none that could tell the order in which they were given.
#include "device/copy_run.hpp"

#include <gtest/gtest.h>

namespace stillframe::device {
namespace {

class CopyRuns : public testing::Test {
 protected:
  [[nodiscard]] HostCopy copy(std::size_t to, std::size_t from, std::size_t bytes) {
    return {std::span(memory_).subspan(to, bytes), memory_.data() + from};
  }
  [[nodiscard]] bool add(const std::vector<HostCopy>& copies) { return run_.add(copies); }

  std::vector<std::byte> memory_ = std::vector<std::byte>(1000);
  CopyRun run_;
};

TEST_F(CopyRuns, CopiesThatHaveNothingToDoWithEachOtherStandTogetherInTheirOrder) {
  EXPECT_TRUE(add({copy(0, 500, 10), copy(10, 900, 10)}));
  EXPECT_TRUE(add({copy(20, 520, 10)}));
  ASSERT_EQ(run_.copies().size(), 3U);
  EXPECT_EQ(run_.copies()[2].from, memory_.data() + 520);
}

TEST_F(CopyRuns, TheSameSourceMayBeReadByAll) {
  EXPECT_TRUE(add({copy(0, 500, 100)}));
  EXPECT_TRUE(add({copy(100, 500, 100)}));
  EXPECT_TRUE(add({copy(200, 550, 10)}));
}

TEST_F(CopyRuns, RangesThatTouchDoNotMeet) {
  EXPECT_TRUE(add({copy(100, 500, 100)}));
  EXPECT_TRUE(add({copy(200, 600, 100)}));
  EXPECT_TRUE(add({copy(0, 400, 100)}));
}

TEST_F(CopyRuns, WhatWasWrittenIsNotReadWrittenOrOverwrittenInTheSameRun) {
  ASSERT_TRUE(add({copy(100, 500, 100)}));
  EXPECT_FALSE(add({copy(300, 199, 10)})) << "reads the last byte that is written";
  EXPECT_FALSE(add({copy(300, 50, 51)})) << "reads the first byte that is written";
  EXPECT_FALSE(add({copy(199, 700, 10)})) << "writes a byte that is written";
  EXPECT_FALSE(add({copy(50, 700, 51)})) << "writes a byte that is written";
  EXPECT_FALSE(add({copy(599, 700, 10)})) << "writes a byte that is read";
  EXPECT_EQ(run_.copies().size(), 1U);
  EXPECT_TRUE(add({copy(300, 700, 10)})) << "a refused one leaves nothing behind";
}

TEST_F(CopyRuns, SourcesOnBothSidesOfTheTargetsDoNotPartARun) {
  EXPECT_TRUE(add({copy(400, 0, 10), copy(410, 990, 10)}));
  EXPECT_TRUE(add({copy(420, 10, 10), copy(430, 980, 10)}));
  EXPECT_TRUE(add({copy(440, 20, 10)}));
}

TEST_F(CopyRuns, OneOfManyIsEnoughToBeRefused) {
  ASSERT_TRUE(add({copy(400, 0, 10)}));
  EXPECT_FALSE(add({copy(420, 10, 10), copy(430, 405, 1)}));
  EXPECT_EQ(run_.copies().size(), 1U);
}

TEST_F(CopyRuns, AClearedRunKnowsNothingOfTheOneBefore) {
  ASSERT_TRUE(add({copy(100, 500, 100)}));
  run_.clear();
  EXPECT_TRUE(run_.copies().empty());
  EXPECT_TRUE(add({copy(500, 100, 100)}));
}

}  // namespace
}  // namespace stillframe::device
