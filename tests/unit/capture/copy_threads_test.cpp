// Snapshots of host memory that several threads copy: what one thread promises, they do.
#include <filesystem>
#include <fstream>
#include <string>

#include "capture_fixture.hpp"
#include "support/wait_until.hpp"

namespace stillframe::capture {
namespace {

using arena::RecordState;
using device::kCopyPartBytes;

constexpr std::uint64_t kScratchBytes = 1 << 20;
constexpr std::uint64_t kFenceMs = 60'000;

std::size_t open_files() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

// Those of the library: the copier, its stream, and those beside it.
std::size_t threads_of_ours() {
  std::size_t found = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    if (name.starts_with("sf-cop")) ++found;
  }
  return found;
}

// A thread is in the list for a moment more than it runs, and has its name a moment after it was started.
bool threads_become(std::size_t threads) {
  return test::wait_until([=] { return threads_of_ours() == threads; });
}

// What no fence guards beside what one does, at every border, and thousands of small ones of both.
std::vector<State::Tensor> tensors(std::uint64_t scale) {
  std::vector<State::Tensor> all;
  for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{1}, kChunkBytes - 1, kChunkBytes, kChunkBytes + 1,
                                    kCopyPartBytes - 1, kCopyPartBytes + 1}) {
    all.push_back({bytes, true});
    all.push_back({bytes / scale, false});
  }
  for (std::uint64_t i = 0; i < 3000; ++i) all.push_back({i % 90, i % 2 == 0});
  return all;
}

class CopyThreads : public testing::TestWithParam<std::size_t> {
 protected:
  void start(std::uint64_t slots) {
    auto crew = device::CopyCrew::start(GetParam());
    ASSERT_TRUE(crew.ok()) << crew.status().message();
    rig_ = std::make_unique<Rig>(slots, device::make_host_device(*crew), kScratchBytes, kFenceMs, *crew);
  }
  // The state changes as soon as it may, and what was captured is as it was in the call.
  void snapshot(State& state, unsigned step) {
    state.set(step);
    const std::vector<std::byte> expected = state.image();
    const auto handle = rig_->copier->submit(state.job(step), soon());
    ASSERT_TRUE(handle.ok()) << handle.status().message();
    for (std::size_t i = 0; i < state.tensors.size(); ++i) {
      if (!state.plan->source_guarded[i]) state.set(i, step + 50);
    }
    ASSERT_TRUE(rig_->copier->fence(soon()).ok());
    state.set(step + 99);
    ASSERT_TRUE(rig_->copier->wait_idle(soon()));
    ASSERT_EQ(rig_->view(*handle).state, RecordState::sealed);
    ASSERT_TRUE(rig_->image(*handle) == expected) << "step " << step;
    rig_->give_back(*handle);
  }
  std::unique_ptr<Rig> rig_;
};
INSTANTIATE_TEST_SUITE_P(Host, CopyThreads, testing::Values(1, 2, 3));

TEST_P(CopyThreads, TheSnapshotHoldsTheValuesOfTheCallWhateverTheSizes) {
  State state(tensors(/*scale=*/16));
  ASSERT_LE(state.plan->host_scratch_bytes, kScratchBytes);
  start(16);
  for (unsigned step = 1; step <= 4; ++step) ASSERT_NO_FATAL_FAILURE(snapshot(state, step));
}

TEST_P(CopyThreads, WhatTheScratchCannotHoldIsCopiedBeforeTheCallReturnsAllTheSame) {
  State state(tensors(/*scale=*/1));
  ASSERT_GT(state.plan->host_scratch_bytes, kScratchBytes);
  start(16);
  for (unsigned step = 1; step <= 4; ++step) ASSERT_NO_FATAL_FAILURE(snapshot(state, step));
}

TEST_P(CopyThreads, ARingGoesRoundWithThem) {
  State state({{9 * kChunkBytes + 5, true}, {10, false}});
  start(6);  // the least ring of one descriptor chunk
  state.set(1);
  const std::vector<std::byte> expected = state.image();
  const auto handle = rig_->copier->submit(state.job(1), soon());
  ASSERT_TRUE(handle.ok()) << handle.status().message();
  std::vector<std::byte> seen;
  const arena::RecordView view = rig_->view(*handle);
  for (std::uint64_t chunk = 0; chunk < view.image_chunks(); ++chunk) {
    ASSERT_TRUE(test::wait_until([&] { return rig_->daemon.filled_slot(view, chunk).has_value(); })) << chunk;
    const auto slot = rig_->daemon.filled_slot(view, chunk);
    const auto bytes = rig_->daemon.chunk(*slot).first(std::min(kChunkBytes, view.image_bytes - chunk * kChunkBytes));
    seen.insert(seen.end(), bytes.begin(), bytes.end());
    rig_->daemon.release_chunk(view, chunk, *slot);
    rig_->daemon.wake_trainer();
  }
  EXPECT_TRUE(rig_->copier->fence(soon()).ok());
  EXPECT_TRUE(seen == expected);
}

TEST_P(CopyThreads, NobodyReadsTheTensorsOfASnapshotThatWasGivenUp) {
  start(64);
  for (int round = 0; round < 10; ++round) {
    auto state = std::make_unique<State>(std::vector<State::Tensor>{{3 * kChunkBytes + 3, true}});
    const auto handle = rig_->copier->submit(state->job(round), soon());
    ASSERT_TRUE(handle.ok()) << handle.status().message();
    rig_->copier->cancel("the test gives it up", /*only_ring=*/false);
    rig_->copier->fence(soon()).ignore("it was given up, or was captured before");
    ASSERT_TRUE(rig_->copier->wait_idle(soon()));
    state.reset();  // a sanitizer sees who still reads
    rig_->give_back(*handle);
  }
}

TEST_P(CopyThreads, AHundredSnapshotsLeaveNothingBehindAndStoppingEndsEveryThread) {
  ASSERT_TRUE(threads_become(0));
  const std::size_t files_before = open_files();
  State state({{kChunkBytes + 1, true}, {3 * kCopyPartBytes, false}, {0, true}, {1, false}});
  start(16);
  ASSERT_NO_FATAL_FAILURE(snapshot(state, 1));
  const std::size_t threads = 2 + GetParam() - 1;
  ASSERT_TRUE(threads_become(threads)) << threads_of_ours();
  const std::size_t files = open_files();
  for (unsigned step = 2; step < 100; ++step) {
    const auto handle = rig_->copier->submit(state.job(step), soon());
    ASSERT_TRUE(handle.ok() && rig_->copier->fence(soon()).ok() && rig_->copier->wait_idle(soon())) << "step " << step;
    rig_->give_back(*handle);
  }
  ASSERT_NO_FATAL_FAILURE(snapshot(state, 100));
  EXPECT_EQ(threads_of_ours(), threads);
  EXPECT_EQ(open_files(), files);
  rig_.reset();
  EXPECT_TRUE(threads_become(0));
  EXPECT_EQ(open_files(), files_before);
}

}  // namespace
}  // namespace stillframe::capture
