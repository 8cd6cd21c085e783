// The trainer takes a snapshot back while the daemon re-reads it: its word comes before the checksums.
#include "unit/persist/persist_rig.hpp"

namespace stillframe::test {
namespace {

using WithdrawnWhileRead = PersistTest;

TEST_F(WithdrawnWhileRead, ATornSnapshotWithRightChecksumsIsMarkedBadAndNotVerified) {
  env_.observe_opens([this](const std::string& path) {
    if (path.find("step000007") != std::string::npos && path.ends_with(".table")) gate_.pass();
  });
  start(8);
  const Shot shot = trainer_->capture(7, three_chunk_layout());
  trainer_->side().confirm(shot.handle);
  ASSERT_TRUE(wait_until([&] { return gate_.arrived(); })) << "nothing re-reads it";
  trainer_->side().withdraw(shot.handle);
  gate_.open();
  ASSERT_TRUE(news_.comes("withdrawn"));
  EXPECT_FALSE(marks(7).verified);
  EXPECT_TRUE(marks(7).bad);
}

}  // namespace
}  // namespace stillframe::test
