// What a dead trainer's memory offers its successor, and how long it stays.
#include "daemon/hot_image.hpp"

#include <gmock/gmock.h>

namespace stillframe::test {
namespace {

using arena::RecordState;
using arena::RecordView;
using daemon::choose_hot;
using daemon::HotStay;

RecordView record_of(std::uint64_t id, RecordState state, std::uint32_t flags = arena::kSealed) {
  RecordView view;
  view.snapshot_id = id;
  view.state = state;
  view.flags = flags;
  return view;
}

// Its id, or 0 for none. `whole`: ids of the images that are.
std::uint64_t chosen(const std::vector<RecordView>& records, const std::vector<std::uint64_t>& whole) {
  const auto found = choose_hot(records, [&](const RecordView& view) {
    return std::find(whole.begin(), whole.end(), view.snapshot_id) != whole.end();
  });
  return found ? found->snapshot_id : 0;
}

TEST(ChooseHot, TheNewestThatIsWholeWhateverHasBecomeOfIt) {
  for (const RecordState state :
       {RecordState::sealed, RecordState::durable, RecordState::verified, RecordState::failed}) {
    EXPECT_EQ(chosen({record_of(1, RecordState::durable), record_of(2, state)}, {1, 2}), 2U);
  }
  EXPECT_EQ(chosen({}, {}), 0U);
}

TEST(ChooseHot, NeitherUnsealedNorTorn) {
  EXPECT_EQ(chosen({record_of(1, RecordState::sealed), record_of(2, RecordState::copying, 0)}, {1, 2}), 1U);
  EXPECT_EQ(chosen({record_of(1, RecordState::sealed), record_of(2, RecordState::abandoned, 0)}, {1, 2}), 1U);
  EXPECT_EQ(chosen({record_of(1, RecordState::sealed), record_of(2, RecordState::failed, 0)}, {1, 2}), 1U);
  EXPECT_EQ(chosen({record_of(1, RecordState::sealed),
                    record_of(2, RecordState::durable, arena::kSealed | arena::kWithdrawn)}, {1, 2}), 1U);
}

TEST(ChooseHot, UnconfirmedOrForMemoryOnlyIsAsGood) {
  EXPECT_EQ(chosen({record_of(1, RecordState::sealed, arena::kSealed | arena::kMemoryOnly)}, {1}), 1U);
}

TEST(ChooseHot, NothingOlderThanWhatTheStoreHasOrGets) {
  for (const RecordState state : {RecordState::sealed, RecordState::durable, RecordState::verified}) {
    EXPECT_EQ(chosen({record_of(1, RecordState::durable), record_of(2, state)}, {1}), 0U);
  }
  EXPECT_EQ(chosen({record_of(1, RecordState::durable), record_of(2, RecordState::failed)}, {1}), 1U)
      << "a failed one whose memory was given back is nowhere";
}

class HotStayTest : public testing::Test {
 protected:
  HotStay stay;
  const int reader = 0, another = 0;
};

TEST_F(HotStayTest, RestsUntilItsTime) {
  EXPECT_FALSE(stay.is_wanted(1));
  EXPECT_FALSE(stay.is_resting());
  stay.rest_until(100, false);
  EXPECT_TRUE(stay.is_resting());
  EXPECT_TRUE(stay.is_wanted(99));
  EXPECT_FALSE(stay.is_wanted(100));
}

TEST_F(HotStayTest, AHoldKeepsItAndLetsItGo) {
  stay.rest_until(10, false);
  stay.hold_until(&reader, 50);
  EXPECT_TRUE(stay.is_wanted(20));
  EXPECT_FALSE(stay.is_wanted(50)) << "a hold has a deadline";
  stay.let_go(&reader);
  EXPECT_TRUE(stay.is_wanted(9));
  EXPECT_FALSE(stay.is_wanted(20));
}

TEST_F(HotStayTest, TheEndOfOneHoldLeavesThatOfAnotherReader) {
  stay.hold_until(&reader, 50);
  stay.hold_until(&another, 40);
  stay.let_go(&reader);
  EXPECT_TRUE(stay.is_held(39));
  EXPECT_FALSE(stay.is_held(40));
}

TEST_F(HotStayTest, HoldsTheOnlyCopyWhileItRests) {
  EXPECT_FALSE(stay.holds_only_copy());
  stay.rest_until(100, true);
  EXPECT_TRUE(stay.holds_only_copy());
  stay.end();
  EXPECT_FALSE(stay.holds_only_copy());
}

TEST_F(HotStayTest, UntilItRestsNobodyKnowsWhetherTheStoreHasIt) {
  EXPECT_FALSE(stay.holds_stored_copy());
  stay.rest_until(10, /*only_copy=*/true);
  EXPECT_FALSE(stay.holds_stored_copy());
  stay.rest_until(10, /*only_copy=*/false);
  EXPECT_TRUE(stay.holds_stored_copy());
}

TEST_F(HotStayTest, OnceNobodyWillAskForItItNeverRestsAgain) {
  stay.hold_until(&reader, 50);
  stay.end();
  stay.rest_until(100, false);
  EXPECT_FALSE(stay.is_wanted(20));
  EXPECT_FALSE(stay.is_resting());
}

}  // namespace
}  // namespace stillframe::test
