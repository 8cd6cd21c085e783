// Two persisters of one group over real arenas, with the test in the place of both trainers.
#pragma once

#include <array>

#include "unit/persist/persist_rig.hpp"

namespace stillframe::test {

// What one rank has: memory, a trainer, a persister, and what was said to it.
struct RankRig {
  std::shared_ptr<arena::Arena> arena;
  std::unique_ptr<ArenaTrainer> trainer;
  NewsLog news;
  std::unique_ptr<persist::Persister> persister;
  std::uint32_t reads_format = format::kFormatVersion;
};

class GroupPersisting : public PersistTest {
 protected:
  ~GroupPersisting() override {
    gate_.open();
    for (RankRig& rank : ranks_) rank.persister.reset();
  }
  void begin_group(std::uint64_t deadline_ms = kPatienceMs) {
    group_ = std::make_shared<persist::GroupCommit>("g1", "default", kRanks, deadline_ms);
  }
  void start_group(std::uint64_t deadline_ms = kPatienceMs) {
    begin_group(deadline_ms);
    for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
      ranks_[rank].arena = std::make_shared<arena::Arena>(make_arena(16));
      ranks_[rank].trainer = std::make_unique<ArenaTrainer>(*ranks_[rank].arena);
      start_rank(rank);
    }
  }
  void start_rank(std::uint32_t rank) {
    persist::PersistOptions options = options_of_run("main");
    options.reads_format = ranks_[rank].reads_format;
    options.rank = rank;
    options.world_size = kRanks;
    options.joint = group_;
    options.joint_arena = ranks_[rank].arena;
    auto started = persist::Persister::start(*ranks_[rank].arena, store_, *encoders_, std::move(options),
                                             [&log = ranks_[rank].news](const persist::News& news) { log.add(news); });
    ASSERT_TRUE(started.ok()) << started.status().message();
    ranks_[rank].persister = std::move(started).value();
  }
  // The places of all ranks, without persisters: the test does what they would.
  void enter_all(std::uint64_t deadline_ms) {
    begin_group(deadline_ms);
    for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
      ranks_[rank].arena = std::make_shared<arena::Arena>(make_arena(16));
      ranks_[rank].trainer = std::make_unique<ArenaTrainer>(*ranks_[rank].arena);
      ASSERT_TRUE(group_->enter(rank, member_of(rank)).ok());
    }
  }
  persist::GroupCommit::Member member_of(std::uint32_t rank) {
    return {ranks_[rank].arena, [](const persist::Verdict&) {}, [](const arena::RecordView&) {}};
  }
  [[nodiscard]] arena::RecordView oldest_of(std::uint32_t rank) const {
    return arena::DaemonSide(*ranks_[rank].arena).records().front();
  }
  Shot capture(std::uint32_t rank, std::int64_t step) { return ranks_[rank].trainer->capture(step, layout_of(rank)); }
  static format::ImageLayout layout_of(std::uint32_t rank) { return layout_of_chunks(rank + 1); }
  [[nodiscard]] bool is_captured(std::uint32_t rank, const Shot& shot) {
    return (ranks_[rank].trainer->side().progress(shot.handle)->flags & arena::kCaptured) != 0;
  }
  // The bytes of every rank are those of the trainers.
  void expect_whole(std::int64_t step, const std::vector<Shot>& shots) {
    const auto reader = store::CheckpointReader::open(store_, name_of(step));
    ASSERT_TRUE(reader.ok()) << reader.status().message();
    ASSERT_THAT((*reader)->manifest().ranks, testing::SizeIs(kRanks));
    EXPECT_EQ((*reader)->manifest().world_size, kRanks);
    for (std::uint32_t rank = 0; rank < kRanks; ++rank) {
      const format::RankManifest& own = (*reader)->manifest().ranks[rank];
      EXPECT_EQ(own.rank, rank);
      std::vector<std::byte> image(own.layout.bytes);
      for (std::uint64_t chunk = 0; chunk < own.layout.chunk_count(); ++chunk) {
        store::ReadScratch scratch;
        const auto bytes = std::span(image).subspan(chunk * kChunkBytes, own.layout.chunk_length(chunk));
        ASSERT_TRUE((*reader)->read_chunk(rank, chunk, bytes, scratch).ok());
      }
      EXPECT_EQ(image, shots[rank].image) << "rank " << rank;
    }
  }

  static constexpr std::uint32_t kRanks = 2;
  std::shared_ptr<persist::GroupCommit> group_;
  std::array<RankRig, kRanks> ranks_;
};

}  // namespace stillframe::test
