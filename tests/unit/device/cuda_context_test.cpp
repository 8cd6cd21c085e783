// The trainer's contexts, capture mode and graph captures are as they were, whatever is done on its devices.
#include <functional>

#include "base/thread.hpp"
#include "unit/device/cuda_fixture.hpp"

namespace stillframe::device {
namespace {

using fake_cuda::CUcontext;
using fake_cuda::CUgraph;
using fake_cuda::CUstream;

class CudaContextTest : public CudaTest {
 protected:
  // Every call of the interface once, whatever comes of it.
  static void use_all(Device& device, CUstream training_handle = nullptr) {
    Bytes bytes(65'536);
    const auto pinned = device.pin(bytes);
    const auto memory = device.allocate(bytes.size());
    const auto work = device.create_stream("copies");
    const auto training = device.training_stream(reinterpret_cast<std::uintptr_t>(training_handle));
    if (!memory.ok() || !work.ok() || !training.ok()) return;
    const auto produced = (*training)->record();
    (*training)->capturing().status().ignore("only what is left behind counts");
    if (produced.ok()) (*work)->wait(*produced).ignore("likewise");
    (*work)->copy_to_device((*memory)->data(), bytes, soon()).ignore("likewise");
    const HostCopy copies[] = {{std::span(bytes).first(100), (*memory)->data()},
                               {std::span(bytes).subspan(100), (*memory)->data()}};
    (*work)->copy_to_host(copies, soon()).ignore("likewise");
    const auto copied = (*work)->record();
    if (!copied.ok()) return;
    (*training)->wait(*copied, soon()).ignore("likewise");
    (*copied)->wait(soon()).ignore("likewise");
    static_cast<void>((*copied)->reached());
  }
  [[nodiscard]] int capture_mode() const {
    int mode = cuda::kCaptureModeGlobal;
    EXPECT_CU(user_.cuThreadExchangeStreamCaptureMode(&mode));
    const int own = mode;
    EXPECT_CU(user_.cuThreadExchangeStreamCaptureMode(&mode));
    return own;
  }
  [[nodiscard]] CUstream trainers_stream() const {
    CUstream made = nullptr;
    EXPECT_CU(user_.cuStreamCreate(&made, cuda::kStreamNonBlocking));
    return made;
  }
};

TEST_F(CudaContextTest, WithoutACurrentContextThePrimaryOneIsUsedAndLetGoAtTheEnd) {
  EXPECT_EQ(fake_cuda::statistics().contexts_retained, 1U);
  use_all(*device_);
  EXPECT_EQ(current(), nullptr);
  device_.reset();
  EXPECT_EQ(fake_cuda::statistics().contexts_retained, 0U);
}

TEST_F(CudaContextTest, ADeviceThatIsGoneLeavesItsContextToWhatItMade) {
  const auto work = stream();
  device_.reset();
  EXPECT_EQ(fake_cuda::statistics().contexts_retained, 1U);
  EXPECT_TRUE(work->record().ok());
}

TEST_F(CudaContextTest, TheContextCurrentAtTheOpeningIsTheOneUsed) {
  device_.reset();
  const TrainersContext trainers(user_, 0);
  device_ = open(0);
  const CUstream of_trainer = trainers_stream();
  use_all(*device_, of_trainer);
  EXPECT_EQ(current(), trainers.get());
  EXPECT_TRUE(training(of_trainer)->record().ok()) << "the trainer's stream is of another context";
  EXPECT_CU(user_.cuStreamDestroy(of_trainer));
  device_.reset();
}

TEST_F(CudaContextTest, TheContextOfAnotherDeviceStaysCurrent) {
  start(with(&fake_cuda::Config::devices, 2));
  const TrainersContext trainers(user_, 1);
  device_ = open(0);
  use_all(*device_);
  EXPECT_EQ(current(), trainers.get());
  device_.reset();
}

TEST_F(CudaContextTest, NothingIsLeftOverWhateverCallFails) {
  struct Refused {
    const char* call;
    std::vector<std::uint64_t> nth;
  };
  const Refused refusals[] = {
      {"cuDeviceGet", {1}},
      {"cuCtxGetCurrent", {1}},
      {"cuCtxGetDevice", {1}},
      {"cuDevicePrimaryCtxRetain", {1}},
      {"cuStreamCreate", {1}},
      {"cuStreamWaitEvent", {1, 2}},
      {"cuStreamIsCapturing", {1, 2, 3}},
      {"cuEventCreate", {1, 2, 3}},
      {"cuEventRecord", {1, 2, 3}},
      {"cuEventQuery", {1, 2, 3}},
      {"cuMemAlloc", {1}},
      {"cuMemHostRegister", {1}},
      {"cuMemcpyHtoDAsync", {1}},
      {"cuMemcpyBatchAsync", {1}},
      {"cuCtxPushCurrent", {1, 2, 3, 4, 5, 6, 7, 8}},
      {"cuThreadExchangeStreamCaptureMode", {1, 3, 5, 7, 9, 11, 13}},  // every second one is the way back
  };
  for (const auto& [call, all_nth] : refusals) {
    for (const std::uint64_t nth : all_nth) {
      SCOPED_TRACE(std::string(call) + " is refused, call " + std::to_string(nth));
      start(with(&fake_cuda::Config::devices, 2));
      device_.reset();
      const TrainersContext trainers(user_, 1);
      fake_cuda::inject({call, nth, cuda::kErrorUnknown, fake_cuda::Effect::refuse});
      if (auto opened = open_cuda_device(driver_, 0); opened.ok()) use_all(**opened);
      EXPECT_EQ(current(), trainers.get());
      EXPECT_EQ(capture_mode(), cuda::kCaptureModeGlobal);
      const fake_cuda::Statistics left = fake_cuda::statistics();
      EXPECT_EQ(left.streams + left.events + left.allocations + left.registrations, 0U);
      EXPECT_EQ(left.contexts_retained, 1U) << "the trainer's own is the only one";
    }
  }
}

TEST_F(CudaContextTest, EachCallThatCanFailSaysWhatWasBeingDone) {
  start({});
  const std::pair<const char*, std::function<Status()>> cases[] = {
      {"cuMemAlloc", [&] { return device_->allocate(1).status(); }},
      {"cuStreamCreate", [&] { return device_->create_stream("copies").status(); }},
      {"cuDeviceGet", [&] { return open_cuda_device(driver_, 0).status(); }},
  };
  for (const auto& [call, run] : cases) {
    fake_cuda::inject({call, 1, cuda::kErrorUnknown, fake_cuda::Effect::refuse});
    expect_says(run(), Code::io_error, {"cuda:0", "CUDA_ERROR_UNKNOWN (999)", "unknown error", "nvidia-smi"});
  }
}

TEST_F(CudaContextTest, ADeviceThatIsNotThereIsToldWithTheirNumber) {
  start(with(&fake_cuda::Config::devices, 2));
  expect_says(open_cuda_device(driver_, 2).status(), Code::not_found, {"cuda:2", "sees 2", "CUDA_VISIBLE_DEVICES"});
  expect_says(open_cuda_device(driver_, -1).status(), Code::not_found, {"cuda:-1"});
  EXPECT_EQ(open(1)->name(), "cuda:1");
}

TEST_F(CudaContextTest, AGraphCaptureInGlobalModeSurvivesOurWorkOnEveryThread) {
  const TrainersContext trainers(user_, 0);
  const CUstream captured = trainers_stream();
  ASSERT_CU(user_.cuStreamBeginCapture(captured, cuda::kCaptureModeGlobal));
  use_all(*device_);
  {
    auto other = base::Thread::start("other", [this] { use_all(*device_); });
    ASSERT_TRUE(other.ok()) << other.status().message();
  }
  CUgraph graph = nullptr;
  EXPECT_CU(user_.cuStreamEndCapture(captured, &graph)) << "the trainer's capture was broken";
  EXPECT_EQ(fake_cuda::statistics().operations_captured, 0U) << "work of ours was put into the trainer's graph";
  EXPECT_EQ(capture_mode(), cuda::kCaptureModeGlobal);
  EXPECT_CU(user_.cuStreamDestroy(captured));
  device_.reset();
}

TEST_F(CudaContextTest, ATrainingStreamThatIsCapturedIsNeitherRecordedNorMadeToWait) {
  const TrainersContext trainers(user_, 0);
  const CUstream captured = trainers_stream();
  const auto work = stream();
  const auto copied = taken(work->record());
  const auto of_trainer = training(captured);
  ASSERT_CU(user_.cuStreamBeginCapture(captured, cuda::kCaptureModeGlobal));
  EXPECT_TRUE(taken(of_trainer->capturing()));
  expect_says(of_trainer->record().status(), Code::busy, {"captured", "cuda:0", "no event was recorded"});
  expect_says(of_trainer->wait(copied, soon()), Code::busy, {"captured", "does not wait"});
  CUgraph graph = nullptr;
  EXPECT_CU(user_.cuStreamEndCapture(captured, &graph));
  EXPECT_EQ(fake_cuda::statistics().operations_captured, 0U);
  EXPECT_FALSE(taken(of_trainer->capturing()));
  expect_ok(of_trainer->wait(copied, soon()));
  EXPECT_CU(user_.cuStreamDestroy(captured));
}

TEST_F(CudaContextTest, TheDefaultStreamCountsAsCapturedWhileABlockingStreamIs) {
  const TrainersContext trainers(user_, 0);
  CUstream blocking = nullptr;
  ASSERT_CU(user_.cuStreamCreate(&blocking, 0));
  const auto legacy = training();
  ASSERT_CU(user_.cuStreamBeginCapture(blocking, cuda::kCaptureModeRelaxed));
  EXPECT_TRUE(taken(legacy->capturing()));
  EXPECT_EQ(legacy->record().status().code(), Code::busy);
  CUgraph graph = nullptr;
  EXPECT_CU(user_.cuStreamEndCapture(blocking, &graph)) << "the trainer's capture was broken";
  EXPECT_FALSE(taken(legacy->capturing()));
  EXPECT_CU(user_.cuStreamDestroy(blocking));
}

}  // namespace
}  // namespace stillframe::device
