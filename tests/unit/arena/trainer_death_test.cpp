// The trainer dies after any operation: the daemon sees nothing, a snapshot under way, or a whole sealed one.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

#include "arena_steps.hpp"

namespace stillframe::arena {
namespace {

using steps::make_arena;
using steps::SteppedTrainer;

constexpr SnapshotFacts kFacts{7, 3 * kChunkBytes + 10, kChunkBytes + 100, 0};

// What may be seen of a snapshot whose trainer has gone.
void expect_readable(const Arena& arena, const RecordView& view) {
  if (view.state == RecordState::copying) return;
  ASSERT_EQ(view.state, RecordState::sealed);
  EXPECT_TRUE(steps::is_whole(arena, view)) << "snapshot " << view.snapshot_id << " was sealed with chunks missing";
}

TEST(TrainerDeath, AfterEveryOperationTheDaemonSeesNothingOrACopyUnderWayOrAWholeSnapshot) {
  const Arena shape = make_arena(1);
  const std::uint64_t steps_of_one = SteppedTrainer(shape, kFacts).step_count();
  for (std::uint64_t done = 0; done <= steps_of_one; ++done) {
    SCOPED_TRACE(done);
    const Arena arena = make_arena(16);
    SteppedTrainer before(arena, kFacts);
    ASSERT_TRUE(before.run_steps(before.step_count()));
    {
      SteppedTrainer dying(arena, kFacts);
      ASSERT_TRUE(dying.run_steps(done));
    }
    const DaemonSide daemon(arena);
    const auto records = daemon.records();
    ASSERT_EQ(records.size(), done == 0 ? 1U : 2U);
    EXPECT_TRUE(steps::is_whole(arena, records[0])) << "the snapshot before is untouched";
    if (done == 0) continue;
    expect_readable(arena, records[1]);
    const bool sealed = done > steps_of_one - 2;
    EXPECT_EQ(records[1].state, sealed ? RecordState::sealed : RecordState::copying);
    EXPECT_EQ(records[1].flags & kConfirmed, done == steps_of_one ? std::uint32_t{kConfirmed} : 0U);
    EXPECT_EQ((records[1].flags & kSealed) != 0, sealed);
    daemon.release_all(records[1]);
    EXPECT_EQ(TrainerSide(arena).free_slots(100), 16U - 6U) << "every slot of the cut-off snapshot comes back";
  }
}

// A process that takes snapshots until it is killed: reads a byte before every operation, writes one after it.
class DoomedTrainer {
 public:
  explicit DoomedTrainer(const Arena& arena) {
    std::array<int, 2> grants{};
    std::array<int, 2> reports{};
    EXPECT_EQ(::pipe2(grants.data(), O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(reports.data(), O_CLOEXEC), 0);
    grant_.reset(grants[1]);
    report_.reset(reports[0]);
    const base::UniqueFd child_grant(grants[0]);
    const base::UniqueFd child_report(reports[1]);
    process_ = ::fork();
    if (process_ == 0) ::_exit(take_snapshots(arena.memfd(), child_grant.get(), child_report.get()));
  }
  ~DoomedTrainer() { kill(); }
  DoomedTrainer(const DoomedTrainer&) = delete;
  DoomedTrainer& operator=(const DoomedTrainer&) = delete;

  void allow(std::size_t operations) {
    const std::vector<char> bytes(operations, 'g');
    ASSERT_EQ(::write(grant_.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  // False when the process has ended instead.
  [[nodiscard]] bool wait_done(std::size_t operations) {
    for (std::size_t done = 0; done < operations; ++done) {
      char byte;
      if (::read(report_.get(), &byte, 1) != 1) return false;
    }
    return true;
  }
  void kill() {
    if (process_ <= 0) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
    process_ = -1;
  }

 private:
  static int take_snapshots(int memfd, int grant, int report) {
    auto arena = Arena::attach(base::UniqueFd(::dup(memfd)));
    if (!arena.ok()) return 1;
    for (;;) {
      SteppedTrainer trainer(*arena, kFacts);
      while (!trainer.finished()) {
        char byte;
        if (::read(grant, &byte, 1) != 1) return 2;
        if (!trainer.step()) return 3;
        if (::write(report, &byte, 1) != 1) return 4;
      }
    }
  }

  pid_t process_ = -1;
  base::UniqueFd grant_;
  base::UniqueFd report_;
};

void expect_only_whole_or_cut_off(const Arena& arena, std::uint64_t operations) {
  const DaemonSide daemon(arena);
  const std::uint64_t steps_of_one = SteppedTrainer(arena, kFacts).step_count();
  const auto records = daemon.records();
  EXPECT_GE(records.size(), (operations + steps_of_one - 1) / steps_of_one);
  std::uint64_t sealed = 0;
  for (const RecordView& view : records) {
    expect_readable(arena, view);
    sealed += view.state == RecordState::sealed;
  }
  EXPECT_GE(sealed, operations / steps_of_one) << "what was sealed before the death is still there";
}

TEST(TrainerDeath, AProcessKilledBetweenAnyTwoOperationsLeavesAnArenaThatReads) {
  for (std::uint64_t operations = 0; operations < 44; operations += 3) {
    SCOPED_TRACE(operations);
    const Arena arena = make_arena(16);
    DoomedTrainer trainer(arena);
    trainer.allow(operations);
    ASSERT_TRUE(trainer.wait_done(operations));
    trainer.kill();
    expect_only_whole_or_cut_off(arena, operations);
  }
}

TEST(TrainerDeath, AProcessKilledInMidOperationLeavesAnArenaThatReads) {
  for (std::uint64_t seen = 0; seen < 40; seen += 2) {
    SCOPED_TRACE(seen);
    const Arena arena = make_arena(16);
    DoomedTrainer trainer(arena);
    trainer.allow(42);
    ASSERT_TRUE(trainer.wait_done(seen));
    trainer.kill();
    expect_only_whole_or_cut_off(arena, seen);
  }
}

}  // namespace
}  // namespace stillframe::arena
