// The CUDA driver calls that Stillframe uses: our own declarations, so that one binary builds without the toolkit and starts
// without a GPU. Types and values are those of NVIDIA's cuda.h; where the toolkit is installed, a test compiles both and
// compares them. Source: CUDA Driver API reference, versions 12.0 to 13.0.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stillframe::device::cuda {

using CUresult = int;
using CUdevice = int;
using CUdeviceptr = unsigned long long;
using CUcontext = struct CUctx_st*;
using CUstream = struct CUstream_st*;
using CUevent = struct CUevent_st*;
using CUmodule = struct CUmod_st*;
using CUfunction = struct CUfunc_st*;

// Results that are told apart; every other one is an error like any other.
inline constexpr CUresult kSuccess = 0;
inline constexpr CUresult kErrorInvalidValue = 1;
inline constexpr CUresult kErrorOutOfMemory = 2;
inline constexpr CUresult kErrorNotInitialized = 3;
inline constexpr CUresult kErrorDeinitialized = 4;
inline constexpr CUresult kErrorNoDevice = 100;
inline constexpr CUresult kErrorInvalidDevice = 101;
inline constexpr CUresult kErrorInvalidContext = 201;
inline constexpr CUresult kErrorNoBinaryForGpu = 209;
inline constexpr CUresult kErrorInvalidPtx = 218;
inline constexpr CUresult kErrorUnsupportedPtxVersion = 222;
inline constexpr CUresult kErrorOperatingSystem = 304;
inline constexpr CUresult kErrorInvalidHandle = 400;
inline constexpr CUresult kErrorNotFound = 500;
inline constexpr CUresult kErrorNotReady = 600;
inline constexpr CUresult kErrorIllegalAddress = 700;
inline constexpr CUresult kErrorContextIsDestroyed = 709;
inline constexpr CUresult kErrorHostMemoryAlreadyRegistered = 712;
inline constexpr CUresult kErrorHostMemoryNotRegistered = 713;
inline constexpr CUresult kErrorNotPermitted = 800;
inline constexpr CUresult kErrorNotSupported = 801;
inline constexpr CUresult kErrorStreamCaptureUnsupported = 900;
inline constexpr CUresult kErrorStreamCaptureInvalidated = 901;
inline constexpr CUresult kErrorStreamCaptureImplicit = 906;
inline constexpr CUresult kErrorCapturedEvent = 907;
inline constexpr CUresult kErrorStreamCaptureWrongThread = 908;
inline constexpr CUresult kErrorUnknown = 999;

// After one of these the context answers every later call with the same error; only a new process can use the device again.
inline constexpr CUresult kStickyErrors[] = {
    214,                  // CUDA_ERROR_ECC_UNCORRECTABLE
    220,                  // CUDA_ERROR_NVLINK_UNCORRECTABLE
    kErrorIllegalAddress,  // CUDA_ERROR_ILLEGAL_ADDRESS
    702,                  // CUDA_ERROR_LAUNCH_TIMEOUT
    710,                  // CUDA_ERROR_ASSERT
    714,                  // CUDA_ERROR_HARDWARE_STACK_ERROR
    715,                  // CUDA_ERROR_ILLEGAL_INSTRUCTION
    716,                  // CUDA_ERROR_MISALIGNED_ADDRESS
    717,                  // CUDA_ERROR_INVALID_ADDRESS_SPACE
    718,                  // CUDA_ERROR_INVALID_PC
    719,                  // CUDA_ERROR_LAUNCH_FAILED
    721,                  // CUDA_ERROR_TENSOR_MEMORY_LEAK
    810,                  // CUDA_ERROR_MPS_CLIENT_TERMINATED
};

inline constexpr unsigned kStreamNonBlocking = 1;     // CU_STREAM_NON_BLOCKING
inline constexpr unsigned kEventDisableTiming = 2;    // CU_EVENT_DISABLE_TIMING
inline constexpr unsigned kHostRegisterPortable = 1;  // CU_MEMHOSTREGISTER_PORTABLE
inline constexpr std::uint64_t kLegacyDefaultStream = 1;  // CU_GET_PROC_ADDRESS_LEGACY_STREAM

// The default streams as handles: a null stream is the legacy one, as for a program compiled without per-thread default streams.
inline constexpr std::uintptr_t kStreamLegacy = 1;     // CU_STREAM_LEGACY
inline constexpr std::uintptr_t kStreamPerThread = 2;  // CU_STREAM_PER_THREAD

// CUstreamCaptureMode
inline constexpr int kCaptureModeGlobal = 0;
inline constexpr int kCaptureModeThreadLocal = 1;
inline constexpr int kCaptureModeRelaxed = 2;
// CUstreamCaptureStatus
inline constexpr int kCaptureNone = 0;
inline constexpr int kCaptureActive = 1;
inline constexpr int kCaptureInvalidated = 2;

// CUdevice_attribute
inline constexpr int kAttributeComputeCapabilityMajor = 75;
inline constexpr int kAttributeComputeCapabilityMinor = 76;

// CUmemcpyAttributes_v1: how one copy of a batch orders its source; the location hints stay zero.
inline constexpr int kSourceOrderStream = 1;  // CU_MEMCPY_SRC_ACCESS_ORDER_STREAM
struct MemLocation {
  int type;
  int id;
};
struct MemcpyAttributes {
  int source_access_order;
  MemLocation source_hint;
  MemLocation destination_hint;
  unsigned flags;
};

// SF_CUDA_CALLS(X): X(name, version, parameters). `version` is the CUDA version whose form of the call is asked for.
#define SF_CUDA_CALLS(X)                                                                                              \
  X(cuInit, 2000, (unsigned flags))                                                                                   \
  X(cuDriverGetVersion, 2020, (int* version))                                                                         \
  X(cuGetErrorName, 6000, (CUresult error, const char** name))                                                        \
  X(cuGetErrorString, 6000, (CUresult error, const char** text))                                                      \
  X(cuDeviceGetCount, 2000, (int* count))                                                                             \
  X(cuDeviceGet, 2000, (CUdevice * device, int ordinal))                                                              \
  X(cuDeviceGetName, 2000, (char* name, int bytes, CUdevice device))                                                  \
  X(cuDeviceGetAttribute, 2000, (int* value, int attribute, CUdevice device))                                         \
  X(cuDevicePrimaryCtxGetState, 7000, (CUdevice device, unsigned* flags, int* active))                                \
  X(cuDevicePrimaryCtxRetain, 7000, (CUcontext * context, CUdevice device))                                           \
  X(cuDevicePrimaryCtxRelease, 11000, (CUdevice device))                                                              \
  X(cuCtxGetCurrent, 4000, (CUcontext * context))                                                                     \
  X(cuCtxGetDevice, 2000, (CUdevice * device))                                                                        \
  X(cuCtxPushCurrent, 4000, (CUcontext context))                                                                      \
  X(cuCtxPopCurrent, 4000, (CUcontext * context))                                                                     \
  X(cuStreamCreate, 2000, (CUstream * stream, unsigned flags))                                                        \
  X(cuStreamDestroy, 4000, (CUstream stream))                                                                         \
  X(cuStreamWaitEvent, 3020, (CUstream stream, CUevent event, unsigned flags))                                        \
  X(cuStreamIsCapturing, 10000, (CUstream stream, int* status))                                                       \
  X(cuThreadExchangeStreamCaptureMode, 10010, (int* mode))                                                            \
  X(cuEventCreate, 2000, (CUevent * event, unsigned flags))                                                           \
  X(cuEventDestroy, 4000, (CUevent event))                                                                            \
  X(cuEventRecord, 2000, (CUevent event, CUstream stream))                                                            \
  X(cuEventQuery, 2000, (CUevent event))                                                                              \
  X(cuMemAlloc, 3020, (CUdeviceptr * pointer, std::size_t bytes))                                                     \
  X(cuMemFree, 3020, (CUdeviceptr pointer))                                                                           \
  X(cuMemHostRegister, 6050, (void* address, std::size_t bytes, unsigned flags))                                      \
  X(cuMemHostUnregister, 4000, (void* address))                                                                       \
  X(cuMemcpyDtoHAsync, 3020, (void* to, CUdeviceptr from, std::size_t bytes, CUstream stream))                        \
  X(cuMemcpyHtoDAsync, 3020, (CUdeviceptr to, const void* from, std::size_t bytes, CUstream stream))                  \
  X(cuMemcpyDtoDAsync, 3020, (CUdeviceptr to, CUdeviceptr from, std::size_t bytes, CUstream stream))                  \
  X(cuModuleLoadData, 2000, (CUmodule * module, const void* image))                                                   \
  X(cuModuleUnload, 2000, (CUmodule module))                                                                          \
  X(cuModuleGetFunction, 2000, (CUfunction * function, CUmodule module, const char* name))                            \
  X(cuLaunchKernel, 4000,                                                                                             \
    (CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,      \
     unsigned block_z, unsigned shared_bytes, CUstream stream, void** parameters, void** extra))

// Calls that a driver may lack; without them there is another way.
#define SF_CUDA_OPTIONAL_CALLS(X)                                                                                     \
  X(cuMemcpyBatchAsync, 12080,                                                                                        \
    (CUdeviceptr * to, CUdeviceptr * from, std::size_t * bytes, std::size_t count, MemcpyAttributes * attributes,     \
     std::size_t * attribute_starts, std::size_t attribute_count, std::size_t * failed, CUstream stream))

// The oldest driver that has every call: CUDA 12.0 (cuGetProcAddress in its second form).
inline constexpr int kOldestDriverVersion = 12000;

}  // namespace stillframe::device::cuda
