// Our declarations of the driver's calls against NVIDIA's. Compiled where the toolkit's headers are; what differs does
// not compile.
#include <cudaTypedefs.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "device/cuda_api.hpp"
#include "fake_cuda/codes.hpp"

namespace stillframe::device::cuda {

// What the calling convention sees of a type: enums are integers of their size. Handles need no rule: as NVIDIA's
// header stands above, our `struct CUctx_st*` names the very same structure.
template <std::size_t bytes, bool is_signed>
struct Integer {};
struct Attributes {};
template <typename Result, typename... Parameters>
struct Signature {};

template <typename Type, bool is_enum = std::is_enum_v<Type>, bool is_integer = std::is_integral_v<Type>>
struct ShapeOf {
  using type = Type;
};
template <typename Type>
struct ShapeOf<Type, true, false> {
  using type = Integer<sizeof(Type), true>;
};
template <typename Type>
struct ShapeOf<Type, false, true> {
  using type = Integer<sizeof(Type), std::is_signed_v<Type>>;
};
template <typename Type>
using Shape = typename ShapeOf<Type>::type;

template <typename Type>
struct ShapeOf<const Type, false, false> {
  using type = const Shape<Type>;
};
template <typename Type>
struct ShapeOf<Type*, false, false> {
  using type = Shape<Type>*;
};
template <typename Result, typename... Parameters>
struct ShapeOf<Result(Parameters...), false, false> {
  using type = Signature<Shape<Result>, Shape<Parameters>...>;
};

#define SF_SAME_SIGNATURE(name, version, parameters)                                           \
  static_assert(std::is_same_v<Shape<CUresult(*) parameters>, Shape<PFN_##name##_v##version>>, \
                #name " is not declared as NVIDIA declares its version " #version);
SF_CUDA_CALLS(SF_SAME_SIGNATURE)

static_assert(!std::is_same_v<Shape<CUresult (*)(CUstream)>, Shape<PFN_cuEventDestroy_v4000>>,
              "the comparison has teeth");
static_assert(!std::is_same_v<Shape<CUresult (*)(unsigned*)>, Shape<PFN_cuDeviceGetCount_v2000>>);

#if CUDA_VERSION >= 12080
template <>
struct ShapeOf<::CUmemcpyAttributes_v1, false, false> {
  using type = Attributes;
};
template <>
struct ShapeOf<MemcpyAttributes, false, false> {
  using type = Attributes;
};
SF_CUDA_OPTIONAL_CALLS(SF_SAME_SIGNATURE)

static_assert(sizeof(MemcpyAttributes) == sizeof(::CUmemcpyAttributes_v1));
static_assert(alignof(MemcpyAttributes) == alignof(::CUmemcpyAttributes_v1));
static_assert(offsetof(MemcpyAttributes, source_access_order) == offsetof(::CUmemcpyAttributes_v1, srcAccessOrder));
static_assert(offsetof(MemcpyAttributes, source_hint) == offsetof(::CUmemcpyAttributes_v1, srcLocHint));
static_assert(offsetof(MemcpyAttributes, destination_hint) == offsetof(::CUmemcpyAttributes_v1, dstLocHint));
static_assert(offsetof(MemcpyAttributes, flags) == offsetof(::CUmemcpyAttributes_v1, flags));
static_assert(sizeof(MemLocation) == sizeof(::CUmemLocation));
static_assert(kSourceOrderStream == CU_MEMCPY_SRC_ACCESS_ORDER_STREAM);
#endif
#undef SF_SAME_SIGNATURE

static_assert(sizeof(CUdeviceptr) == sizeof(::CUdeviceptr) && sizeof(CUdevice) == sizeof(::CUdevice));
static_assert(sizeof(CUresult) == sizeof(::CUresult));

static_assert(kSuccess == CUDA_SUCCESS);
static_assert(kErrorInvalidValue == CUDA_ERROR_INVALID_VALUE);
static_assert(kErrorOutOfMemory == CUDA_ERROR_OUT_OF_MEMORY);
static_assert(kErrorNotInitialized == CUDA_ERROR_NOT_INITIALIZED);
static_assert(kErrorNoDevice == CUDA_ERROR_NO_DEVICE);
static_assert(kErrorInvalidDevice == CUDA_ERROR_INVALID_DEVICE);
static_assert(kErrorInvalidContext == CUDA_ERROR_INVALID_CONTEXT);
static_assert(kErrorNoBinaryForGpu == CUDA_ERROR_NO_BINARY_FOR_GPU);
static_assert(kErrorInvalidPtx == CUDA_ERROR_INVALID_PTX);
static_assert(kErrorUnsupportedPtxVersion == CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
static_assert(kErrorNotFound == CUDA_ERROR_NOT_FOUND);
static_assert(kErrorNotReady == CUDA_ERROR_NOT_READY);
static_assert(kErrorIllegalAddress == CUDA_ERROR_ILLEGAL_ADDRESS);
static_assert(kErrorHostMemoryAlreadyRegistered == CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
static_assert(kErrorHostMemoryNotRegistered == CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
static_assert(kErrorNotSupported == CUDA_ERROR_NOT_SUPPORTED);
static_assert(kErrorStreamCaptureUnsupported == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
static_assert(kErrorStreamCaptureInvalidated == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
static_assert(kErrorStreamCaptureImplicit == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
static_assert(kErrorUnknown == CUDA_ERROR_UNKNOWN);

static_assert(kStreamNonBlocking == CU_STREAM_NON_BLOCKING);
static_assert(kEventDisableTiming == CU_EVENT_DISABLE_TIMING);
static_assert(kHostRegisterPortable == CU_MEMHOSTREGISTER_PORTABLE);
static_assert(kLegacyDefaultStream == CU_GET_PROC_ADDRESS_LEGACY_STREAM);
static_assert(kCaptureModeGlobal == CU_STREAM_CAPTURE_MODE_GLOBAL);
static_assert(kCaptureModeThreadLocal == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
static_assert(kCaptureModeRelaxed == CU_STREAM_CAPTURE_MODE_RELAXED);
static_assert(kCaptureNone == CU_STREAM_CAPTURE_STATUS_NONE);
static_assert(kCaptureActive == CU_STREAM_CAPTURE_STATUS_ACTIVE);
static_assert(kCaptureInvalidated == CU_STREAM_CAPTURE_STATUS_INVALIDATED);
static_assert(kAttributeComputeCapabilityMajor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
static_assert(kAttributeComputeCapabilityMinor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);

// The macros are casts to pointers, which no constant expression takes.
TEST(CudaDeclarations, DefaultStreamsHaveNvidiasHandles) {
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(CU_STREAM_LEGACY), kStreamLegacy);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(CU_STREAM_PER_THREAD), kStreamPerThread);
}

}  // namespace stillframe::device::cuda

namespace stillframe::fake_cuda {

static_assert(kErrorInvalidImage == CUDA_ERROR_INVALID_IMAGE);
static_assert(kErrorInvalidHandle == CUDA_ERROR_INVALID_HANDLE);
static_assert(kErrorContextIsDestroyed == CUDA_ERROR_CONTEXT_IS_DESTROYED);
static_assert(kErrorLaunchFailed == CUDA_ERROR_LAUNCH_FAILED);
static_assert(kErrorStreamCaptureMerge == CUDA_ERROR_STREAM_CAPTURE_MERGE);
static_assert(kErrorStreamCaptureUnmatched == CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
static_assert(kErrorStreamCaptureUnjoined == CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
static_assert(kErrorStreamCaptureIsolation == CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
static_assert(kErrorCapturedEvent == CUDA_ERROR_CAPTURED_EVENT);
static_assert(kErrorStreamCaptureWrongThread == CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);

}  // namespace stillframe::fake_cuda
