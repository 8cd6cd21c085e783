// A trainer that finds its snapshot torn while it still copies it: the memory is its own until it has stopped.
#include "persist_rig.hpp"

namespace stillframe::test {
namespace {

class WithdrawnWhileCopying : public PersistTest {};

TEST_F(WithdrawnWhileCopying, TheDaemonTakesNothingBackBeforeTheTrainerHasStopped) {
  constexpr std::uint64_t kUnhurriedMs = 200;
  start(8);
  const Shot shot = trainer_->begin(7, layout_of_chunks(3));
  trainer_->fill_descriptor(shot);
  trainer_->fill_chunk(shot, 0);
  const auto leased =
      trainer_->side().lease(shot.handle, arena::SlotKind::image, 1, base::Deadline::after_ms(kPatienceMs));
  ASSERT_TRUE(leased.ok());
  trainer_->side().withdraw(shot.handle);
  EXPECT_FALSE(wait_until([&] { return trainer_->done_now(shot); }, kUnhurriedMs)) << "a copy is still under way";
  trainer_->side().mark_filled(shot.handle, *leased);
  trainer_->side().abandon(shot.handle);

  ASSERT_TRUE(trainer_->is_done(shot));
  EXPECT_TRUE(trainer_->side().recycle(shot.handle));
  EXPECT_EQ(trainer_->free_slots(), 8U) << "a slot that nobody gives back is lost to the run";
  EXPECT_TRUE(steps().empty());
  EXPECT_TRUE(leftovers().empty());
}

TEST_F(WithdrawnWhileCopying, ASealThatComesAllTheSameIsNotPublished) {
  start(8);
  const Shot shot = trainer_->begin(7, layout_of_chunks(3));
  trainer_->side().withdraw(shot.handle);
  trainer_->fill_all(shot);
  (void)trainer_->side().seal(shot.handle);
  ASSERT_TRUE(trainer_->is_done(shot));
  EXPECT_EQ(trainer_->state(shot), RecordState::failed);
  EXPECT_TRUE(steps().empty());
  EXPECT_EQ(trainer_->free_slots(), 8U);
}

}  // namespace
}  // namespace stillframe::test
