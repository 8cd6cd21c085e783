// The driver's calls as the fake has them, by the driver's names.
#pragma once

#include "fake_cuda/codes.hpp"

namespace stillframe::fake_cuda::driver {

using cuda::CUcontext;
using cuda::CUdevice;
using cuda::CUdeviceptr;
using cuda::CUevent;
using cuda::CUfunction;
using cuda::CUmodule;
using cuda::CUresult;
using cuda::CUstream;
using cuda::MemcpyAttributes;

#define FAKE_CUDA_DECLARE(name, version, parameters) CUresult name parameters;
SF_CUDA_CALLS(FAKE_CUDA_DECLARE)
SF_CUDA_OPTIONAL_CALLS(FAKE_CUDA_DECLARE)
FAKE_CUDA_TEST_CALLS(FAKE_CUDA_DECLARE)
#undef FAKE_CUDA_DECLARE

}  // namespace stillframe::fake_cuda::driver
