// Snapshots for memory only: hashed, kept until a newer one is confirmed, and never lost by a death.
#include "unit/persist/persist_rig.hpp"

namespace stillframe::test {
namespace {

using persist::decide_keeping;
using persist::Keeping;
using testing::ElementsAre;
using testing::IsEmpty;

arena::RecordView record_of(std::uint64_t id, RecordState state, std::uint32_t flags = 0) {
  arena::RecordView view;
  view.snapshot_id = id;
  view.state = state;
  view.flags = arena::kMemoryOnly | flags;
  return view;
}

TEST(NewestCaptured, IsTheNewestThatIsSealedAndNotTorn) {
  EXPECT_EQ(persist::newest_captured({}), 0U);
  EXPECT_EQ(persist::newest_captured({record_of(1, RecordState::verified), record_of(2, RecordState::sealed),
                                      record_of(3, RecordState::sealed, arena::kWithdrawn),
                                      record_of(4, RecordState::copying), record_of(5, RecordState::abandoned)}),
            2U);
}

TEST(NewestConfirmed, IsOneThatCanNoLongerProveTorn) {
  EXPECT_EQ(persist::newest_confirmed({record_of(1, RecordState::sealed, arena::kConfirmed), record_of(2, RecordState::durable),
                                       record_of(3, RecordState::sealed, arena::kConfirmed | arena::kWithdrawn),
                                       record_of(4, RecordState::copying, arena::kConfirmed)}),
            1U);
}

TEST(Keeping, UntilANewerOneIsConfirmed) {
  EXPECT_EQ(decide_keeping(record_of(3, RecordState::sealed), 3, false), Keeping::keep);
  EXPECT_EQ(decide_keeping(record_of(3, RecordState::sealed), 3, true), Keeping::keep);
  EXPECT_EQ(decide_keeping(record_of(3, RecordState::sealed), 2, false), Keeping::keep);
  EXPECT_EQ(decide_keeping(record_of(3, RecordState::sealed), 4, false), Keeping::let_go);
}

TEST(Keeping, WhatWillNeverBeSealedOrIsTornGoes) {
  EXPECT_EQ(decide_keeping(record_of(3, RecordState::copying), 2, false), Keeping::keep);
  EXPECT_EQ(decide_keeping(record_of(3, RecordState::copying), 2, true), Keeping::let_go);
  EXPECT_EQ(decide_keeping(record_of(3, RecordState::abandoned), 2, false), Keeping::let_go);
  EXPECT_EQ(decide_keeping(record_of(3, RecordState::sealed, arena::kWithdrawn), 2, false), Keeping::withdraw);
}

class Kept : public PersistTest {
 protected:
  [[nodiscard]] bool image_is_hashed(const Shot& shot) {
    const arena::DaemonSide side(*arena_);
    const auto view = *side.view(shot.handle.record);
    return wait_until([&] {
      for (std::uint64_t chunk = 0; chunk < view.image_chunks(); ++chunk) {
        const auto slot = side.filled_slot(view, chunk);
        const auto bytes = std::span(shot.image).subspan(chunk * kChunkBytes, shot.layout.chunk_length(chunk));
        if (!slot || side.hash(*slot) != base::xxh128(bytes)) return false;
      }
      return true;
    });
  }
  // And its descriptor, once it is sealed.
  [[nodiscard]] bool is_hashed(const Shot& shot) {
    const arena::DaemonSide side(*arena_);
    const auto view = *side.view(shot.handle.record);
    return image_is_hashed(shot) && wait_until([&] {
      const auto slots = side.descriptor_slots(view);
      return slots && side.hash(slots->front()) == base::xxh128(shot.descriptor);
    });
  }
  [[nodiscard]] bool is_whole(const Shot& shot) const {
    const arena::DaemonSide side(*arena_);
    const auto view = *side.view(shot.handle.record);
    for (std::uint64_t chunk = 0; chunk < view.image_chunks(); ++chunk) {
      if (!side.filled_slot(view, chunk)) return false;
    }
    return side.descriptor_slots(view).has_value();
  }
  void flip_a_byte(const Shot& shot, std::uint64_t chunk) {
    const arena::DaemonSide side(*arena_);
    const auto slot = side.filled_slot(*side.view(shot.handle.record), chunk);
    ASSERT_TRUE(slot.has_value());
    arena_->chunk(*slot)[99] ^= std::byte{1};
  }
};

TEST_F(Kept, ItIsHashedAndStaysUntilANewerOneIsConfirmedAndNeverReachesTheStore) {
  start(8);
  const Shot kept = trainer_->capture_for_memory(1, three_chunk_layout());
  EXPECT_TRUE(is_hashed(kept));
  EXPECT_TRUE(drains()) << "nothing waits for a disk";
  const Shot filling = trainer_->begin_for_memory(2, three_chunk_layout());
  trainer_->fill_all(filling);
  EXPECT_FALSE(trainer_->done_now(kept));
  EXPECT_EQ(trainer_->free_slots(), 0U);
  EXPECT_TRUE(image_is_hashed(filling)) << "as it is filled";
  EXPECT_TRUE(trainer_->side().seal(filling.handle));
  trainer_->side().confirm(filling.handle);
  EXPECT_TRUE(trainer_->is_done(kept));
  EXPECT_EQ(trainer_->free_slots(), 4U);
  EXPECT_THAT(steps(), IsEmpty());
}

TEST_F(Kept, AGoodOneStaysUntilTheNewerOneIsConfirmed) {
  start(12);
  const Shot good = trainer_->capture_for_memory(1, three_chunk_layout());
  const Shot torn = trainer_->capture_for_memory(2, three_chunk_layout());
  EXPECT_TRUE(is_hashed(torn)) << "the keeper has seen it sealed";
  trainer_->side().withdraw(torn.handle);
  ASSERT_TRUE(trainer_->is_done(torn));
  EXPECT_TRUE(is_hashed(good)) << "whole in memory";
  const Shot sound = trainer_->capture_for_memory(3, three_chunk_layout());
  trainer_->side().confirm(sound.handle);
  EXPECT_TRUE(trainer_->is_done(good));
}

TEST_F(Kept, AnImageThatCouldNotBeWrittenStaysUntilANewerOneIsCaptured) {
  start(8);
  const Shot older = trainer_->capture_for_memory(1, three_chunk_layout());
  mem_.fail({EnvOp::write_at, Code::no_space, 1, true, std::string(format::data_file(0))});
  hold_at(EnvOp::write_at, std::string(format::data_file(0)));
  const Shot unwritten = trainer_->begin(2, three_chunk_layout());
  trainer_->fill_all(unwritten);
  EXPECT_TRUE(trainer_->side().seal(unwritten.handle));
  trainer_->side().confirm(unwritten.handle);
  gate_.open();
  ASSERT_TRUE(trainer_->reaches(unwritten, RecordState::failed));
  EXPECT_TRUE(news_.comes("failed"));
  ASSERT_TRUE(trainer_->is_done(older));
  EXPECT_FALSE(trainer_->done_now(unwritten));
  EXPECT_TRUE(is_whole(unwritten));
  const Shot newer = trainer_->capture_for_memory(3, three_chunk_layout());
  EXPECT_TRUE(is_hashed(newer)) << "the keeper has seen it sealed";
  EXPECT_FALSE(trainer_->done_now(unwritten)) << "the newer one may prove torn";
  trainer_->side().confirm(newer.handle);
  ASSERT_TRUE(trainer_->is_done(unwritten));
  EXPECT_EQ(trainer_->free_slots(), 4U);
}

// Each failed before its trainer came to the fence that would have confirmed it.
TEST_F(Kept, ImagesThatNobodyConfirmedDoNotFillTheArena) {
  start(8);
  mem_.fail({EnvOp::write_at, Code::no_space, 1, true, std::string(format::data_file(0))});
  std::optional<Shot> older;
  for (std::int64_t step = 1; step <= 6;) {
    const Shot newer = trainer_->capture_unless_failed(step, three_chunk_layout());
    ASSERT_TRUE(wait_until([&] { return trainer_->state(newer) == RecordState::failed || trainer_->done_now(newer); }));
    if (trainer_->done_now(newer)) {  // it failed before its seal, and leaves the older one where it is
      ASSERT_TRUE(trainer_->side().recycle(newer.handle));
      continue;
    }
    if (older) {
      ASSERT_TRUE(trainer_->is_done(*older)) << step;
      ASSERT_TRUE(trainer_->side().recycle(older->handle));
    }
    older = newer;
    ++step;
  }
}

TEST_F(Kept, AnOlderImageGivesWayHoweverLongTheStoreHangs) {
  start(8);
  const Shot older = trainer_->capture(1, three_chunk_layout());
  trainer_->side().confirm(older.handle);
  ASSERT_TRUE(trainer_->reaches(older, RecordState::verified));
  hold_at(EnvOp::make_dir, "step000002");
  const Shot hung = trainer_->capture(2, three_chunk_layout());
  ASSERT_TRUE(wait_until([this] { return gate_.arrived(); }));
  EXPECT_TRUE(wait_until([this] { return trainer_->free_slots() == 4; })) << "the newer one is sealed";
  gate_.open();
  EXPECT_TRUE(trainer_->reaches(hung, RecordState::durable));
}

TEST_F(Kept, ASlowStoreHoldsUpNeitherTheHashNorTheMemory) {
  start(12);
  hold_at(EnvOp::sync, std::string(format::data_file(0)));
  const Shot written = trainer_->capture(1, three_chunk_layout());
  ASSERT_TRUE(wait_until([this] { return gate_.arrived(); }));
  const Shot kept = trainer_->capture_for_memory(2, three_chunk_layout());
  EXPECT_TRUE(is_hashed(kept));
  const Shot newer = trainer_->capture_for_memory(3, three_chunk_layout());
  trainer_->side().confirm(newer.handle);
  EXPECT_TRUE(trainer_->is_done(kept));
  EXPECT_TRUE(is_hashed(newer));
  EXPECT_TRUE(is_hashed(written));
  gate_.open();
  EXPECT_TRUE(trainer_->reaches(written, RecordState::durable));
  EXPECT_THAT(steps(), ElementsAre(1));
}

TEST_F(Kept, TheNewestGoesToTheStoreWhenTheTrainerDies) {
  start(8);
  const Shot older = trainer_->capture_for_memory(1, three_chunk_layout());
  const Shot newest = trainer_->capture_for_memory(2, three_chunk_layout());
  trainer_->side().confirm(newest.handle);
  ASSERT_TRUE(trainer_->is_done(older));
  persister_->trainer_died();
  ASSERT_TRUE(drains());
  EXPECT_THAT(steps(), ElementsAre(2));
  EXPECT_TRUE(holds(newest));
  EXPECT_TRUE(is_hashed(newest)) << "and its image stays in memory";
}

TEST_F(Kept, ItStaysInMemoryWhileTheLineIsBrokenAndGoesToTheStoreWhenTheDaemonStops) {
  start(8);
  const Shot shot = trainer_->capture_for_memory(1, three_chunk_layout());
  persister_->finish();
  ASSERT_TRUE(drains());
  EXPECT_EQ(trainer_->state(shot), RecordState::sealed);
  EXPECT_THAT(steps(), IsEmpty());
  persister_->finish(/*stopping=*/true);
  ASSERT_TRUE(drains());
  EXPECT_THAT(steps(), ElementsAre(1));
}

TEST_F(Kept, TheNewestAtTheStopIsWrittenThoughANewerOneIsSealedMeanwhile) {
  start(12);
  hold_at(EnvOp::sync, std::string(format::data_file(0)));
  const Shot written = trainer_->capture(1, three_chunk_layout());
  ASSERT_TRUE(wait_until([this] { return gate_.arrived(); }));
  const Shot newest = trainer_->capture_for_memory(2, three_chunk_layout());
  persister_->finish(/*stopping=*/true);
  const Shot next_daemons = trainer_->capture_for_memory(3, three_chunk_layout());
  trainer_->side().confirm(next_daemons.handle);
  EXPECT_TRUE(is_hashed(next_daemons)) << "the keeper has seen it sealed";
  gate_.open();
  ASSERT_TRUE(drains());
  EXPECT_THAT(steps(), ElementsAre(2, 1));
  EXPECT_TRUE(holds(newest));
  EXPECT_EQ(trainer_->state(next_daemons), RecordState::sealed);
}

TEST_F(Kept, TheNewestGoesToTheStoreWhenTheTrainerSaysSo) {
  start(8);
  const Shot shot = trainer_->capture_for_memory(1, three_chunk_layout());
  trainer_->side().send_to_store(shot.handle);
  ASSERT_TRUE(trainer_->reaches(shot, RecordState::durable));
  EXPECT_THAT(steps(), ElementsAre(1));
}

TEST_F(Kept, WhoWaitsForItsHashesWaitsNoLongerThanHeSaid) {
  start(12);
  const Shot shot = trainer_->capture_for_memory(1, three_chunk_layout());
  const auto view = arena::DaemonSide(*arena_).view(shot.handle.record);
  ASSERT_TRUE(view);
  EXPECT_EQ(persister_->hash_all(*view, base::Deadline::after_ms(0)).code(), Code::deadline);
  EXPECT_TRUE(persister_->hash_all(*view, base::Deadline::after_ms(kPatienceMs)).ok());
  arena::DaemonSide(*arena_).release_all(*view);
  EXPECT_EQ(persister_->hash_all(*view, base::Deadline::after_ms(kPatienceMs)).code(), Code::not_found);
}

TEST_F(Kept, WhatChangedInMemorySinceItWasHashedIsNotWritten) {
  start(8);
  const Shot shot = trainer_->capture_for_memory(1, three_chunk_layout());
  ASSERT_TRUE(is_hashed(shot));
  flip_a_byte(shot, 1);
  persister_->trainer_died();
  ASSERT_TRUE(drains());
  EXPECT_THAT(steps(), IsEmpty());
  ASSERT_EQ(news_.of("failed").size(), 1U);
  EXPECT_THAT(news_.of("failed")[0].error, testing::HasSubstr("chunk 1"));
}

TEST_F(Kept, ATornOneIsGivenUpAndSaid) {
  start(8);
  const Shot shot = trainer_->capture_for_memory(1, three_chunk_layout());
  trainer_->side().withdraw(shot.handle);
  ASSERT_TRUE(trainer_->is_done(shot));
  EXPECT_EQ(trainer_->state(shot), RecordState::failed);
  EXPECT_EQ(trainer_->free_slots(), 8U);
  EXPECT_TRUE(news_.comes("withdrawn"));
}

TEST_F(Kept, ANewDaemonGoesOnKeepingIt) {
  start(8);
  const Shot shot = trainer_->capture_for_memory(1, three_chunk_layout());
  persister_.reset();
  start_daemon();
  ASSERT_TRUE(drains());
  EXPECT_TRUE(is_hashed(shot));
  EXPECT_FALSE(trainer_->done_now(shot));
  persister_->trainer_died();
  ASSERT_TRUE(drains());
  EXPECT_THAT(steps(), ElementsAre(1));
}

TEST_F(Kept, ADurableImageStaysWholeInMemoryAfterTheTrainersDeath) {
  start(4);  // room for one image: of a living trainer it would come back at once
  hold_at(EnvOp::sync, std::string(format::data_file(0)));
  const Shot shot = trainer_->capture(1, three_chunk_layout());
  persister_->trainer_died();
  gate_.open();
  ASSERT_TRUE(drains());
  EXPECT_THAT(steps(), ElementsAre(1));
  EXPECT_TRUE(is_hashed(shot));
}

}  // namespace
}  // namespace stillframe::test
