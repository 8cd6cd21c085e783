// Results and calls of the driver that the fake needs besides those that the product uses (src/device/cuda_api.hpp).
#pragma once

#include "device/cuda_api.hpp"

namespace stillframe::fake_cuda {

namespace cuda = device::cuda;

inline constexpr cuda::CUresult kErrorInvalidImage = 200;
inline constexpr cuda::CUresult kErrorInvalidHandle = 400;
inline constexpr cuda::CUresult kErrorContextIsDestroyed = 709;
inline constexpr cuda::CUresult kErrorLaunchFailed = 719;
inline constexpr cuda::CUresult kErrorStreamCaptureMerge = 902;
inline constexpr cuda::CUresult kErrorStreamCaptureUnmatched = 903;
inline constexpr cuda::CUresult kErrorStreamCaptureUnjoined = 904;
inline constexpr cuda::CUresult kErrorStreamCaptureIsolation = 905;
inline constexpr cuda::CUresult kErrorCapturedEvent = 907;
inline constexpr cuda::CUresult kErrorStreamCaptureWrongThread = 908;

using CUgraph = struct CUgraph_st*;

// Calls that tests make and the product does not.
#define FAKE_CUDA_TEST_CALLS(X)                                          \
  X(cuCtxSetCurrent, 4000, (cuda::CUcontext context))                    \
  X(cuCtxSynchronize, 2000, ())                                          \
  X(cuStreamSynchronize, 2000, (cuda::CUstream stream))                  \
  X(cuStreamQuery, 2000, (cuda::CUstream stream))                        \
  X(cuStreamBeginCapture, 10010, (cuda::CUstream stream, int mode))      \
  X(cuStreamEndCapture, 10000, (cuda::CUstream stream, CUgraph * graph)) \
  X(cuEventSynchronize, 2000, (cuda::CUevent event))

}  // namespace stillframe::fake_cuda
