// A daemon that is about to stop, and a trainer that goes on sealing snapshots.
#include "unit/persist/persist_rig.hpp"

namespace stillframe::test {
namespace {

using arena::RecordState;
using testing::ElementsAre;

class Finishing : public PersistTest {};

TEST_F(Finishing, WhatIsSealedAfterFinishIsLeftForTheNextDaemon) {
  start(16);
  persister_->finish();
  const Shot later = trainer_->capture(7, three_chunk_layout());
  EXPECT_TRUE(drains());
  persister_.reset();
  EXPECT_EQ(trainer_->state(later), RecordState::sealed);
  start_daemon();
  ASSERT_TRUE(trainer_->reaches(later, RecordState::durable));
}

TEST_F(Finishing, WhatWasSealedAfterFinishIsPersistedWhenItsTrainerDies) {
  start(16);
  persister_->finish();
  const Shot later = trainer_->capture(7, three_chunk_layout());
  persister_->trainer_died();
  ASSERT_TRUE(trainer_->reaches(later, RecordState::durable));
  EXPECT_THAT(steps(), ElementsAre(7));
}

}  // namespace
}  // namespace stillframe::test
