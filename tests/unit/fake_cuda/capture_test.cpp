#include <functional>
#include <thread>

#include "unit/fake_cuda/driver.hpp"

namespace stillframe::fake_cuda {
namespace {

class FakeCudaCapture : public FakeCuda {
 protected:
  FakeCudaCapture() : trainer(stream()) {}

  void begin(int mode = cuda::kCaptureModeGlobal) const { EXPECT_CU(cu.cuStreamBeginCapture(trainer, mode)); }
  [[nodiscard]] CUresult end() const {
    CUgraph graph = nullptr;
    const CUresult result = cu.cuStreamEndCapture(trainer, &graph);
    EXPECT_EQ(graph != nullptr, result == cuda::kSuccess);
    return result;
  }
  [[nodiscard]] int status_of(CUstream of) const {
    int status = -1;
    EXPECT_CU(cu.cuStreamIsCapturing(of, &status));
    return status;
  }
  void exchange_mode(int mode) const { EXPECT_CU(cu.cuThreadExchangeStreamCaptureMode(&mode)); }
  // In another thread, in the capture mode given, with the context current.
  void elsewhere(int mode, const std::function<void()>& body) const {
    std::thread([&] {
      EXPECT_CU(cu.cuCtxPushCurrent(context));
      exchange_mode(mode);
      body();
    }).join();
  }

  CUstream const trainer;
};

TEST_F(FakeCudaCapture, WorkIsRecordedInPlaceOfBeingRun) {
  EXPECT_EQ(status_of(trainer), cuda::kCaptureNone);
  const CUfunction kernel = fill_kernel();
  const CUdeviceptr memory = device_memory(16);
  begin();
  EXPECT_EQ(status_of(trainer), cuda::kCaptureActive);
  EXPECT_CU(fill(kernel, memory, 16, std::byte{1}, trainer));
  EXPECT_CU(cu.cuMemcpyDtoDAsync(memory, memory + 8, 8, trainer));
  EXPECT_CU(end());
  EXPECT_EQ(status_of(trainer), cuda::kCaptureNone);
  EXPECT_CU(cu.cuStreamSynchronize(trainer));
  EXPECT_EQ(look_at(memory, 16), Bytes(16));
  EXPECT_EQ(statistics().operations_captured, 2U);
  EXPECT_EQ(statistics().operations_done, 0U);
}

struct UnsafeCall {
  const char* name;
  std::function<CUresult(const Driver&, CUevent, Bytes&)> make;
};
class FakeCudaUnsafeCall : public FakeCudaCapture, public testing::WithParamInterface<UnsafeCall> {
 protected:
  [[nodiscard]] CUresult make() { return GetParam().make(cu, outside, host); }

  CUevent const outside = record(stream());
  Bytes host = Bytes(4096);
};

INSTANTIATE_TEST_SUITE_P(
    Calls, FakeCudaUnsafeCall,
    testing::Values(UnsafeCall{"cuMemAlloc",
                               [](const Driver& cu, CUevent, Bytes&) {
                                 CUdeviceptr memory = 0;
                                 return cu.cuMemAlloc(&memory, 16);
                               }},
                    UnsafeCall{"cuMemFree", [](const Driver& cu, CUevent, Bytes&) { return cu.cuMemFree(0); }},
                    UnsafeCall{"cuEventQuery",
                               [](const Driver& cu, CUevent event, Bytes&) {
                                 const CUresult result = cu.cuEventQuery(event);
                                 return result == cuda::kErrorNotReady ? cuda::kSuccess : result;
                               }},
                    UnsafeCall{"cuMemHostRegister",
                               [](const Driver& cu, CUevent, Bytes& host) {
                                 return cu.cuMemHostRegister(host.data(), host.size(), cuda::kHostRegisterPortable);
                               }},
                    UnsafeCall{"cuModuleLoadData",
                               [](const Driver& cu, CUevent, Bytes&) {
                                 static const unsigned kFatBinary = 0xBA55ED50;
                                 CUmodule module = nullptr;
                                 return cu.cuModuleLoadData(&module, &kFatBinary);
                               }},
                    UnsafeCall{"cuEventSynchronize",
                               [](const Driver& cu, CUevent event, Bytes&) { return cu.cuEventSynchronize(event); }}),
    [](const auto& call) { return std::string(call.param.name); });

TEST_P(FakeCudaUnsafeCall, OfAnotherThreadBreaksAGlobalCapture) {
  begin(cuda::kCaptureModeGlobal);
  elsewhere(cuda::kCaptureModeGlobal, [&] { EXPECT_EQ(make(), cuda::kErrorStreamCaptureUnsupported); });
  EXPECT_EQ(status_of(trainer), cuda::kCaptureInvalidated);
  EXPECT_EQ(cu.cuEventRecord(event(), trainer), cuda::kErrorStreamCaptureInvalidated);
  EXPECT_EQ(end(), cuda::kErrorStreamCaptureInvalidated);
  EXPECT_EQ(status_of(trainer), cuda::kCaptureNone);
  elsewhere(cuda::kCaptureModeGlobal, [&] { EXPECT_CU(make()); });
}

TEST_P(FakeCudaUnsafeCall, OfAThreadInRelaxedModeBreaksNothing) {
  begin(cuda::kCaptureModeGlobal);
  elsewhere(cuda::kCaptureModeRelaxed, [&] { EXPECT_CU(make()); });
  EXPECT_CU(end());
}

TEST_P(FakeCudaUnsafeCall, OfAThreadInThreadLocalModeBreaksNothingOfOthers) {
  begin(cuda::kCaptureModeGlobal);
  elsewhere(cuda::kCaptureModeThreadLocal, [&] { EXPECT_CU(make()); });
  EXPECT_CU(end());
}

TEST_P(FakeCudaUnsafeCall, BreaksAThreadLocalCaptureOnlyOfTheOwnThread) {
  begin(cuda::kCaptureModeThreadLocal);
  elsewhere(cuda::kCaptureModeGlobal, [&] { EXPECT_CU(make()); });
  EXPECT_EQ(status_of(trainer), cuda::kCaptureActive);
  host = Bytes(4096);
  EXPECT_EQ(make(), cuda::kErrorStreamCaptureUnsupported);
  EXPECT_EQ(end(), cuda::kErrorStreamCaptureInvalidated);
}

TEST_P(FakeCudaUnsafeCall, BreaksNoRelaxedCapture) {
  begin(cuda::kCaptureModeRelaxed);
  EXPECT_CU(make());
  EXPECT_CU(end());
}

TEST_F(FakeCudaCapture, TheExchangedModeComesBack) {
  int mode = cuda::kCaptureModeRelaxed;
  EXPECT_CU(cu.cuThreadExchangeStreamCaptureMode(&mode));
  EXPECT_EQ(mode, cuda::kCaptureModeGlobal);
  EXPECT_CU(cu.cuThreadExchangeStreamCaptureMode(&mode));
  EXPECT_EQ(mode, cuda::kCaptureModeRelaxed);
  mode = 3;
  EXPECT_EQ(cu.cuThreadExchangeStreamCaptureMode(&mode), cuda::kErrorInvalidValue);
}

TEST_F(FakeCudaCapture, ACapturedEventIsNeverReached) {
  exchange_mode(cuda::kCaptureModeRelaxed);
  begin();
  CUevent const captured = record(trainer);
  EXPECT_EQ(cu.cuEventQuery(captured), kErrorCapturedEvent);
  EXPECT_EQ(end(), cuda::kErrorStreamCaptureInvalidated);
  EXPECT_EQ(cu.cuStreamWaitEvent(stream(), captured, 0), kErrorCapturedEvent) << "its capture has ended";
  EXPECT_CU(cu.cuEventRecord(captured, trainer));
  await(captured);
}

// A stream that waits for a captured event belongs to the capture from then on, as the driver has it; the capture then
// fails at its end, because that work never comes back to the stream it began on.
TEST_F(FakeCudaCapture, WaitingForACapturedEventDrawsTheStreamIn) {
  CUstream const copies = stream();
  begin();
  EXPECT_CU(cu.cuStreamWaitEvent(copies, record(trainer), 0));
  EXPECT_EQ(status_of(copies), cuda::kCaptureActive);
  EXPECT_EQ(end(), kErrorStreamCaptureUnjoined);
  EXPECT_EQ(status_of(copies), cuda::kCaptureNone);
}

TEST_F(FakeCudaCapture, AForkedStreamMayComeBack) {
  CUstream const copies = stream();
  begin();
  EXPECT_CU(cu.cuStreamWaitEvent(copies, record(trainer), 0));
  EXPECT_CU(cu.cuStreamWaitEvent(trainer, record(copies), 0));
  CUgraph graph = nullptr;
  EXPECT_EQ(cu.cuStreamEndCapture(copies, &graph), kErrorStreamCaptureUnmatched);
  EXPECT_CU(end());
}

TEST_F(FakeCudaCapture, WaitingForAnEventFromOutsideBreaksTheCapture) {
  CUevent const outside = record(stream());
  begin();
  EXPECT_EQ(cu.cuStreamWaitEvent(trainer, outside, 0), kErrorStreamCaptureIsolation);
  EXPECT_EQ(end(), cuda::kErrorStreamCaptureInvalidated);
}

TEST_F(FakeCudaCapture, TwoCapturesDoNotMix) {
  CUstream const other = stream();
  begin();
  EXPECT_CU(cu.cuStreamBeginCapture(other, cuda::kCaptureModeGlobal));
  EXPECT_EQ(cu.cuStreamWaitEvent(other, record(trainer), 0), kErrorStreamCaptureMerge);
  EXPECT_EQ(end(), cuda::kErrorStreamCaptureInvalidated);
}

TEST_F(FakeCudaCapture, TheLegacyStreamIsOfNoUseWhileABlockingStreamCaptures) {
  CUstream const blocking = stream(0);
  EXPECT_CU(cu.cuStreamBeginCapture(blocking, cuda::kCaptureModeGlobal));
  int status = 0;
  EXPECT_EQ(cu.cuStreamIsCapturing(nullptr, &status), cuda::kErrorStreamCaptureImplicit);
  EXPECT_EQ(status_of(blocking), cuda::kCaptureActive);
  EXPECT_EQ(cu.cuEventRecord(event(), nullptr), cuda::kErrorStreamCaptureImplicit);
  EXPECT_EQ(status_of(blocking), cuda::kCaptureInvalidated);
  EXPECT_EQ(cu.cuStreamBeginCapture(nullptr, cuda::kCaptureModeGlobal), cuda::kErrorStreamCaptureUnsupported);
}

TEST_F(FakeCudaCapture, TheLegacyStreamGoesOnWhileANonBlockingStreamCaptures) {
  begin();
  EXPECT_EQ(status_of(nullptr), cuda::kCaptureNone);
  record(nullptr);
  EXPECT_CU(end());
}

TEST_F(FakeCudaCapture, OnlyTheThreadThatBeganItEndsIt) {
  begin();
  elsewhere(cuda::kCaptureModeGlobal, [&] { EXPECT_EQ(end(), kErrorStreamCaptureWrongThread); });
  EXPECT_CU(end());
  EXPECT_EQ(end(), cuda::kErrorInvalidValue);
  begin(cuda::kCaptureModeRelaxed);
  elsewhere(cuda::kCaptureModeGlobal, [&] { EXPECT_CU(end()); });
}

TEST_F(FakeCudaCapture, ACapturingStreamCannotBeAskedOrWaitedFor) {
  exchange_mode(cuda::kCaptureModeRelaxed);
  begin();
  EXPECT_EQ(cu.cuStreamSynchronize(trainer), cuda::kErrorStreamCaptureUnsupported);
  EXPECT_EQ(end(), cuda::kErrorStreamCaptureInvalidated);
  begin();
  EXPECT_EQ(cu.cuStreamQuery(trainer), cuda::kErrorStreamCaptureUnsupported);
  EXPECT_EQ(end(), cuda::kErrorStreamCaptureInvalidated);
}

}  // namespace
}  // namespace stillframe::fake_cuda
