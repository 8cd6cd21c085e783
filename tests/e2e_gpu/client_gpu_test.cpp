// A client whose tensors live on a GPU (the driver fake), with a daemon process beside it: what the user is told when
// the device, or a graph being captured from it, stands in the way.
#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "e2e/rig.hpp"
#include "fake_cuda/fake_cuda.hpp"
#include "format/writer_words.hpp"
#include "store/reader.hpp"
#include "unit/device/cuda_fixture.hpp"

namespace stillframe::test {
namespace {

namespace cuda = device::cuda;
using cuda::CUdeviceptr;
using fake_cuda::Effect;
using testing::AllOf;
using testing::HasSubstr;

class ClientOnGpu : public DaemonTest {
 protected:
  static constexpr std::uint64_t kBytes = 3'000'000;
  static constexpr std::uint64_t kGrownBytes = 80'000'000;  // beyond the segment that any arena begins with
  static constexpr std::uint64_t kPatience = 60'000;

  void SetUp() override {
    fake_cuda::Config config;
    config.races = fake_cuda::RacePolicy::count;
    config.host_clock = fake_cuda::HostClock::per_thread;
    fake_cuda::reset(config);
    user_ = fake_cuda::Driver();
    EXPECT_CU(user_.cuInit(0));
    context_ = std::make_unique<device::TrainersContext>(user_, 0);
    EXPECT_CU(user_.cuStreamCreate(&compute_, cuda::kStreamNonBlocking));
    EXPECT_CU(user_.cuMemAlloc(&guarded_, kBytes));
    EXPECT_CU(user_.cuMemAlloc(&unguarded_, kBytes));
    start_daemon({"arena.budget_bytes=536870912"});
    open_core(kPatience);
  }
  void open_core(std::uint64_t fence_deadline_ms) {
    core_.reset();
    CheckpointerOptions wanted = options();
    wanted.fence_deadline_ms = fence_deadline_ms;
    auto opened = client::Core::open(std::move(wanted));
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    core_ = std::move(opened).value();
    auto plan = core_->make_plan(specs(), soon());
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    plan_ = std::move(plan).value();
  }
  void TearDown() override {
    fake_cuda::host_threads_met();
    core_.reset();
    EXPECT_EQ(fake_cuda::races(), 0U) << fake_cuda::last_race();
    context_.reset();
    fake_cuda::reset({});
  }

  [[nodiscard]] static std::vector<capture::EntrySpec> specs() {
    std::vector<capture::EntrySpec> specs;
    specs.push_back({{"weight", DType::u8, {kBytes}, 0, 0}, true, true, 0});
    specs.push_back({{"average", DType::u8, {64}, 0, 0}, false, false, 0});
    return specs;
  }
  [[nodiscard]] static base::Deadline soon() { return base::Deadline::after_ms(kPatience); }
  [[nodiscard]] client::Snapshot snapshot(std::int64_t step, bool wait, std::uint64_t deadline_ms) {
    client::SnapshotRequest request;
    request.step = step;
    request.data = {reinterpret_cast<const void*>(guarded_), reinterpret_cast<const void*>(unguarded_)};
    request.streams = streams();
    request.wait = wait;
    request.deadline_ms = deadline_ms;
    return core_->snapshot(plan_, std::move(request));
  }
  [[nodiscard]] std::vector<capture::StreamRef> streams() const {
    return {{0, reinterpret_cast<std::uintptr_t>(compute_)}};
  }
  // On the trainer's stream.
  void set_guarded(int value) const {
    const std::vector<std::byte> bytes(kBytes, static_cast<std::byte>(value));
    EXPECT_CU(user_.cuMemcpyHtoDAsync(guarded_, bytes.data(), kBytes, compute_));
  }
  [[nodiscard]] bool guarded_is(std::int64_t value) const {
    const std::byte* const bytes = fake_cuda::backing(guarded_);
    return std::all_of(bytes, bytes + kBytes, [value](std::byte one) { return one == static_cast<std::byte>(value); });
  }
  [[nodiscard]] nlohmann::json status() const { return nlohmann::json::parse(core_->status_json()); }

  fake_cuda::Driver user_;
  std::unique_ptr<device::TrainersContext> context_;
  fake_cuda::CUstream compute_ = nullptr;
  CUdeviceptr guarded_ = 0;
  CUdeviceptr unguarded_ = 0;
  std::shared_ptr<client::Core> core_;
  std::shared_ptr<const capture::Plan> plan_;
};

TEST_F(ClientOnGpu, ASnapshotThatWaitsInsideAGraphCaptureIsSkippedAtOnceWithTheReason) {
  constexpr std::uint64_t kDeadlineMs = 5'000;
  EXPECT_CU(user_.cuStreamBeginCapture(compute_, cuda::kCaptureModeGlobal));
  const TicketInfo info = snapshot(1, /*wait=*/true, kDeadlineMs).progress->info();
  fake_cuda::CUgraph graph = nullptr;
  EXPECT_CU(user_.cuStreamEndCapture(compute_, &graph));
  EXPECT_EQ(info.state, SnapshotState::skipped);
  EXPECT_THAT(info.error, AllOf(HasSubstr("step 1"), HasSubstr("a graph is being captured on cuda:0")));
  EXPECT_LT(info.call_seconds, 1e-3 * kDeadlineMs / 2);
  EXPECT_EQ(fake_cuda::statistics().operations_captured, 0U);
  EXPECT_TRUE(snapshot(2, /*wait=*/true, kPatience).progress->wait(SnapshotState::captured, soon()).ok());
}

TEST_F(ClientOnGpu, ADriverThatIsTooOldIsSaidCountedAndLeavesTheLoopAlone) {
  core_.reset();
  context_.reset();
  fake_cuda::Config config;
  config.driver_version = 11080;
  fake_cuda::reset(config);
  auto opened = client::Core::open(options("old"));
  SF_ASSERT_OK(opened);
  core_ = std::move(opened).value();
  const auto words = AllOf(HasSubstr("too old"), HasSubstr("CUDA 11.8"), HasSubstr("install driver 525"));
  for (int snapshots = 1; snapshots <= 2; ++snapshots) {
    const auto plan = core_->make_plan(specs(), soon());
    EXPECT_EQ(plan.status().code(), Code::unsupported);
    EXPECT_THAT(plan.status().message(), words);
    EXPECT_EQ(status()["consecutive_failures"], snapshots);
  }
  EXPECT_THAT(status()["last_error"].get<std::string>(), words);
}

// What stands there is the trainer's arena, not counting small lists of the library's own.
TEST_F(ClientOnGpu, TheArenaIsPinnedWhenItIsMadeAndWhenItGrows) {
  core_.reset();
  const std::size_t before = fake_cuda::statistics().registered_bytes;
  auto opened = client::Core::open(options("pinned"));
  SF_ASSERT_OK(opened);
  core_ = std::move(opened).value();
  SF_ASSERT_OK(core_->reserve({kBytes, 2, 0}, soon()));
  const std::size_t made = fake_cuda::statistics().registered_bytes - before;
  EXPECT_GE(made, 2 * kBytes) << "before there is a plan";
  SF_ASSERT_OK(core_->reserve({kGrownBytes, 2, 0}, soon()));
  EXPECT_GE(fake_cuda::statistics().registered_bytes - before, 2 * kGrownBytes);
  core_.reset();
  EXPECT_LE(fake_cuda::statistics().registered_bytes, before);
}

TEST_F(ClientOnGpu, WhenPinningIsRefusedSnapshotsGoOnAndAWarningSaysHowToAllowIt) {
  core_.reset();
  fake_cuda::inject({"cuMemHostRegister", 1, cuda::kErrorOutOfMemory});
  auto opened = client::Core::open(options("unpinned"));
  SF_ASSERT_OK(opened);
  core_ = std::move(opened).value();
  SF_ASSERT_OK(core_->reserve({kBytes, 2, 0}, soon()));
  auto plan = core_->make_plan(specs(), soon());
  SF_ASSERT_OK(plan);
  plan_ = std::move(plan).value();
  set_guarded(7);
  const client::Snapshot shot = snapshot(1, true, kPatience);
  SF_ASSERT_OK(core_->fence(kPatience, streams()));
  SF_ASSERT_OK(shot.progress->wait(SnapshotState::verified, soon()));
  std::vector<std::string> warnings;
  while (auto warning = core_->next_warning()) warnings.push_back(*std::move(warning));
  EXPECT_THAT(warnings, testing::ElementsAre(AllOf(HasSubstr("not pinned"), HasSubstr("ulimit -l"))));
}

TEST_F(ClientOnGpu, APlanThatGrowsFreesNothingOfTheDeviceWhileTheTrainingRuns) {
  const auto frees = [] {
    const fake_cuda::Statistics now = fake_cuda::statistics();
    return now.calls_of("cuMemFree") + now.calls_of("cuMemFreeHost") + now.calls_of("cuMemHostUnregister");
  };
  for (std::int64_t step = 1; step <= 3; ++step) {
    const std::uint64_t before = frees();
    std::vector<capture::EntrySpec> grown = specs();
    grown.back().entry.shape = {1'000ULL << (3 * step)};
    auto plan = core_->make_plan(std::move(grown), soon());
    SF_ASSERT_OK(plan);
    plan_ = std::move(plan).value();
    const client::Snapshot shot = snapshot(step, true, kPatience);
    SF_ASSERT_OK(core_->fence(kPatience, streams()));
    SF_ASSERT_OK(shot.progress->wait(SnapshotState::captured, soon()));
    EXPECT_EQ(frees(), before);
  }
}

TEST_F(ClientOnGpu, AFailureBehindTheFenceReachesWarningStatusAndClose) {
  const client::Snapshot before = snapshot(1, true, kPatience);
  EXPECT_TRUE(core_->fence(kPatience, streams()).ok());
  EXPECT_TRUE(before.progress->wait(SnapshotState::verified, soon()).ok());
  fake_cuda::hang_stream(compute_);
  for (const char* const call : {"cuMemcpyBatchAsync", "cuMemcpyDtoHAsync"}) {
    fake_cuda::inject({call, 1, cuda::kErrorIllegalAddress, Effect::fault});
  }
  const client::Snapshot shot = snapshot(2, true, kPatience);
  EXPECT_TRUE(core_->fence(kPatience, streams()).ok()) << "every copy is enqueued";
  fake_cuda::release_streams();
  const Status captured = shot.progress->wait(SnapshotState::captured, soon());
  EXPECT_EQ(captured.code(), Code::io_error) << captured.message();
  const std::string error = shot.progress->info().error;
  EXPECT_THAT(error, HasSubstr("ILLEGAL_ADDRESS"));

  const Status closed = core_->close(soon());
  EXPECT_EQ(closed.code(), Code::io_error);
  EXPECT_EQ(closed.message(), error);
  EXPECT_EQ(status()["snapshots"]["abandoned"], 1);
  EXPECT_EQ(status()["snapshots"]["failed"], 1);
  EXPECT_EQ(status()["last_error"], error);
  EXPECT_EQ(status()["consecutive_failures"], 1);
  std::vector<std::string> warnings;
  while (auto warning = core_->next_warning()) warnings.push_back(*std::move(warning));
  EXPECT_THAT(warnings, testing::Contains(error).Times(1));
}

TEST_F(ClientOnGpu, ARestoreOverAPendingSnapshotComesBehindItsCopies) {
  core_.reset();
  auto opened = Checkpointer::open(options());
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  Checkpointer training = std::move(opened).value();
  ASSERT_TRUE(training.add("weight", DType::u8, {kBytes}, reinterpret_cast<void*>(guarded_), 0).ok());
  training.use_stream(0, reinterpret_cast<std::uintptr_t>(compute_));
  set_guarded(1);
  const auto first = training.snapshot(1, /*wait=*/true);
  ASSERT_TRUE(first.ok()) << first.status().message();
  ASSERT_TRUE(training.fence().ok());
  ASSERT_TRUE(first->wait_verified(kPatience).ok()) << first->info().error;
  set_guarded(2);
  const auto pending = training.snapshot(2, /*wait=*/true);
  ASSERT_TRUE(pending.ok()) << pending.status().message();
  const auto restored = training.restore();
  ASSERT_TRUE(restored.ok() && restored->has_value()) << restored.status().message();
  EXPECT_TRUE(guarded_is((*restored)->step)) << "step " << (*restored)->step;
  EXPECT_TRUE(pending->wait_captured(kPatience).ok()) << "it holds the values before the restore";
  EXPECT_TRUE(training.close().ok());
}

TEST_F(ClientOnGpu, AClientThatGoesWhileItsDeviceHangsLeavesTheArenaMapped) {
  constexpr std::uint64_t kShortMs = 50;
  open_core(kShortMs);
  const auto arenas = [] {
    std::ifstream maps("/proc/self/maps");
    std::size_t found = 0;
    for (std::string line; std::getline(maps, line);)
      if (line.find("memfd:") != std::string::npos) ++found;
    return found;
  };
  const std::size_t before = arenas();
  ASSERT_GT(before, 0U);
  fake_cuda::hang_stream(compute_);
  const client::Snapshot shot = snapshot(1, true, kPatience);
  core_.reset();
  EXPECT_EQ(arenas(), before) << "the device may still write there";
  EXPECT_EQ(shot.progress->info().state, SnapshotState::abandoned);
  fake_cuda::release_streams();
  fake_cuda::CUevent behind = nullptr;
  EXPECT_CU(user_.cuEventCreate(&behind, 0));
  EXPECT_CU(user_.cuEventRecord(behind, compute_));
  EXPECT_CU(user_.cuEventSynchronize(behind));
}

TEST_F(ClientOnGpu, AStarvedSnapshotIsCountedOnceAndNoOtherIsBlamed) {
  constexpr std::uint64_t kShortMs = 500;
  open_core(kShortMs);
  // Without its fence it is not verified, and stays outstanding.
  const client::Snapshot whole = snapshot(1, true, kPatience);
  EXPECT_TRUE(whole.progress->wait(SnapshotState::durable, soon()).ok()) << whole.progress->info().error;
  fake_cuda::host_threads_met();
  fake_cuda::hang_stream(compute_);
  const client::Snapshot starved = snapshot(2, true, kPatience);
  EXPECT_EQ(starved.progress->wait(SnapshotState::captured, soon()).code(), Code::deadline);
  fake_cuda::release_streams();
  const auto given_back = [&] {
    // Skipped, but not before what the device left over was looked at.
    EXPECT_CU(user_.cuStreamBeginCapture(compute_, cuda::kCaptureModeGlobal));
    const std::string why = snapshot(3, false, kPatience).progress->info().error;
    fake_cuda::CUgraph graph = nullptr;
    EXPECT_CU(user_.cuStreamEndCapture(compute_, &graph));
    return why.find("a graph is being captured") != std::string::npos;
  };
  EXPECT_TRUE(wait_until(given_back));
  EXPECT_TRUE(wait_until([&] { return status()["snapshots"]["abandoned"] == 1; }));
  const int failed = status()["snapshots"]["failed"];
  constexpr long kHolders = 3;  // we, the copier until its fence, and the client as the newest for the store
  EXPECT_TRUE(wait_until([&] { return starved.progress.use_count() == kHolders; })) << "it is outstanding still";
  EXPECT_EQ(core_->fence(kPatience, streams()).code(), Code::deadline);
  EXPECT_EQ(status()["snapshots"]["abandoned"], 1) << status().dump();
  EXPECT_EQ(status()["snapshots"]["failed"], failed) << status().dump();
}

TEST_F(ClientOnGpu, ManifestTicketAndStatusSayThatTheCaptureWasCheckedWhereItWas) {
  const bool has_kernel = !device::embedded_kernel_image().empty();
  const client::Snapshot shot = snapshot(1, true, kPatience);
  EXPECT_TRUE(core_->fence(kPatience, streams()).ok());
  ASSERT_TRUE(shot.progress->wait(SnapshotState::verified, soon()).ok()) << shot.progress->info().error;
  const TicketInfo info = shot.progress->info();
  EXPECT_EQ(info.checked, has_kernel);
  const auto store = store::Store::open_or_create(env::posix_env(), options().store);
  ASSERT_TRUE(store.ok()) << store.status().message();
  const auto reader = store::CheckpointReader::open(*store, info.name);
  ASSERT_TRUE(reader.ok()) << reader.status().message();
  EXPECT_EQ(format::says_checked((*reader)->manifest().writer), has_kernel) << (*reader)->manifest().writer;
  const std::string way = status()["capture_check"]["cuda:0"];
  EXPECT_THAT(way, HasSubstr(has_kernel ? "checked" : "not checked: there is no fingerprint kernel for cuda:0"));
}

TEST_F(ClientOnGpu, StatusSaysHowTensorsAreGathered) {
  ASSERT_TRUE(status()["gather"].contains("cuda:0")) << status().dump();
  const std::string way = status()["gather"]["cuda:0"];
  if (device::embedded_kernel_image().empty()) {
    EXPECT_THAT(way, AllOf(HasSubstr("plain copies"), HasSubstr("nvcc")));
  } else {
    EXPECT_EQ(way, "kernel");
  }
}

}  // namespace
}  // namespace stillframe::test
