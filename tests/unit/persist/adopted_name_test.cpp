// A daemon died between the rename of a checkpoint and the sync of its name: the next one, which finds it, syncs it
// first.
#include "unit/persist/persist_rig.hpp"

namespace stillframe::test {
namespace {

using AdoptedName = PersistTest;

TEST_F(AdoptedName, IsDurableBeforeItIsCalledSo) {
  start(8);
  // The first two are of the sequence and of the partial directory. The third only says that it was done.
  mem_.fail({EnvOp::sync_dir, Code::ok, 3});
  const Shot shot = trainer_->capture(1, three_chunk_layout());
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  persister_.reset();
  const std::string path = "/runs/gpt/" + name_of(1);
  ASSERT_FALSE(mem_.survivor(FaultEnv::kOnlySynced)->exists(path).value()) << "its name was synced after all";
  arena_->record(shot.handle.record).state = RecordState::sealed;

  start_daemon();
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  EXPECT_TRUE(mem_.survivor(FaultEnv::kOnlySynced)->exists(path).value());
}

}  // namespace
}  // namespace stillframe::test
