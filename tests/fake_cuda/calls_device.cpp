// Versions, errors, devices, contexts.
#include <algorithm>
#include <array>
#include <string_view>

#include "fake_cuda/calls.hpp"
#include "fake_cuda/memory.hpp"
#include "fake_cuda/streams.hpp"

namespace stillframe::fake_cuda::driver {
namespace {

struct ErrorText {
  CUresult code;
  const char* name;
  const char* text;
};
constexpr std::array kErrorTexts{
    ErrorText{cuda::kSuccess, "CUDA_SUCCESS", "no error"},
    ErrorText{cuda::kErrorInvalidValue, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    ErrorText{cuda::kErrorOutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    ErrorText{cuda::kErrorNotInitialized, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    ErrorText{cuda::kErrorNoDevice, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    ErrorText{cuda::kErrorInvalidDevice, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    ErrorText{kErrorInvalidImage, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    ErrorText{cuda::kErrorInvalidContext, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    ErrorText{kErrorInvalidHandle, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    ErrorText{cuda::kErrorNotFound, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    ErrorText{cuda::kErrorNotReady, "CUDA_ERROR_NOT_READY", "device not ready"},
    ErrorText{cuda::kErrorIllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    ErrorText{kErrorContextIsDestroyed, "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"},
    ErrorText{cuda::kErrorHostMemoryAlreadyRegistered, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED",
              "part or all of the requested memory range is already mapped"},
    ErrorText{cuda::kErrorHostMemoryNotRegistered, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED",
              "pointer does not correspond to a registered memory region"},
    ErrorText{kErrorLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    ErrorText{cuda::kErrorNotSupported, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    ErrorText{cuda::kErrorStreamCaptureUnsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
              "operation not permitted when stream is capturing"},
    ErrorText{cuda::kErrorStreamCaptureInvalidated, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
              "operation failed due to a previous error during capture"},
    ErrorText{kErrorStreamCaptureMerge, "CUDA_ERROR_STREAM_CAPTURE_MERGE",
              "operation would result in a merge of separate capture sequences"},
    ErrorText{kErrorStreamCaptureUnmatched, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED",
              "capture was not ended in the same stream as it began"},
    ErrorText{kErrorStreamCaptureUnjoined, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"},
    ErrorText{kErrorStreamCaptureIsolation, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION",
              "dependency created on uncaptured work in another stream"},
    ErrorText{cuda::kErrorStreamCaptureImplicit, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
              "operation would make the legacy stream depend on a capturing blocking stream"},
    ErrorText{kErrorCapturedEvent, "CUDA_ERROR_CAPTURED_EVENT",
              "operation not permitted on an event last recorded in a capturing stream"},
    ErrorText{kErrorStreamCaptureWrongThread, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD",
              "attempt to terminate a thread-local capture sequence from another thread"},
    ErrorText{cuda::kErrorUnknown, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

CUresult error_text(CUresult error, const char** text, const char* ErrorText::*field) {
  if (text == nullptr) return cuda::kErrorInvalidValue;
  const auto* const found = std::find_if(kErrorTexts.begin(), kErrorTexts.end(),
                                         [error](const ErrorText& known) { return known.code == error; });
  *text = found == kErrorTexts.end() ? nullptr : found->*field;
  return *text == nullptr ? cuda::kErrorInvalidValue : cuda::kSuccess;
}

Context* context_of(const World& world, CUdevice device) {
  const bool known = device >= 0 && device < world.config.devices;
  return known ? world.contexts[static_cast<std::size_t>(device)].get() : nullptr;
}

Context* context_of(const World& world, CUcontext handle) {
  for (const auto& context : world.contexts) {
    if (reinterpret_cast<CUcontext>(context.get()) == handle) return context.get();
  }
  return nullptr;
}

void destroy(World& world, Context* context) {
  for (const auto& stream : streams_of(world, context)) close_stream(*stream);
  std::erase_if(world.streams, [&](const auto& entry) { return entry.second->context == context; });
  std::erase_if(world.events, [&](const auto& entry) { return entry.second->context == context; });
  std::erase_if(world.functions, [&](const auto& entry) { return world.modules[entry.second.module] == context; });
  std::erase_if(world.modules, [&](const auto& entry) { return entry.second == context; });
  release_all(world, context);
  context->legacy_stream.reset();
  context->fault = cuda::kSuccess;
}

}  // namespace

CUresult cuInit(unsigned flags) {
  static const bool loaded = (load_kernels_from_environment(), true);
  static_cast<void>(loaded);
  Call call("cuInit", Needs::nothing);
  if (call.refused()) return call.refusal();
  if (flags != 0) return cuda::kErrorInvalidValue;
  if (call.world.config.devices == 0) return cuda::kErrorNoDevice;
  call.world.initialised = true;
  return cuda::kSuccess;
}

CUresult cuDriverGetVersion(int* version) {
  Call call("cuDriverGetVersion", Needs::nothing);
  if (call.refused()) return call.refusal();
  if (version == nullptr) return cuda::kErrorInvalidValue;
  *version = call.world.config.driver_version;
  return cuda::kSuccess;
}

CUresult cuGetErrorName(CUresult error, const char** name) { return error_text(error, name, &ErrorText::name); }
CUresult cuGetErrorString(CUresult error, const char** text) { return error_text(error, text, &ErrorText::text); }

CUresult cuDeviceGetCount(int* count) {
  Call call("cuDeviceGetCount", Needs::initialised);
  if (call.refused()) return call.refusal();
  *count = call.world.config.devices;
  return cuda::kSuccess;
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  Call call("cuDeviceGet", Needs::initialised);
  if (call.refused()) return call.refusal();
  if (context_of(call.world, ordinal) == nullptr) return cuda::kErrorInvalidDevice;
  *device = ordinal;
  return cuda::kSuccess;
}

CUresult cuDeviceGetName(char* name, int bytes, CUdevice device) {
  Call call("cuDeviceGetName", Needs::initialised);
  if (call.refused()) return call.refusal();
  if (name == nullptr || bytes <= 0) return cuda::kErrorInvalidValue;
  if (context_of(call.world, device) == nullptr) return cuda::kErrorInvalidDevice;
  constexpr std::string_view kName = "CUDA driver fake";
  const std::size_t length = kName.copy(name, static_cast<std::size_t>(bytes) - 1);
  name[length] = '\0';
  return cuda::kSuccess;
}

CUresult cuDeviceGetAttribute(int* value, int attribute, CUdevice device) {
  Call call("cuDeviceGetAttribute", Needs::initialised);
  if (call.refused()) return call.refusal();
  if (context_of(call.world, device) == nullptr) return cuda::kErrorInvalidDevice;
  if (attribute != cuda::kAttributeComputeCapabilityMajor && attribute != cuda::kAttributeComputeCapabilityMinor) {
    return cuda::kErrorInvalidValue;
  }
  *value = attribute == cuda::kAttributeComputeCapabilityMajor ? 9 : 0;
  return cuda::kSuccess;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* active) {
  Call call("cuDevicePrimaryCtxGetState", Needs::initialised);
  if (call.refused()) return call.refusal();
  const Context* const context = context_of(call.world, device);
  if (context == nullptr) return cuda::kErrorInvalidDevice;
  *flags = 0;
  *active = context->retained > 0 ? 1 : 0;
  return cuda::kSuccess;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  Call call("cuDevicePrimaryCtxRetain", Needs::initialised);
  if (call.refused()) return call.refusal();
  Context* const found = context_of(call.world, device);
  if (found == nullptr) return cuda::kErrorInvalidDevice;
  ++found->retained;
  *context = reinterpret_cast<CUcontext>(found);
  return cuda::kSuccess;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
  Call call("cuDevicePrimaryCtxRelease", Needs::initialised);
  if (call.refused()) return call.refusal();
  Context* const context = context_of(call.world, device);
  if (context == nullptr) return cuda::kErrorInvalidDevice;
  if (context->retained == 0) return cuda::kErrorInvalidContext;
  if (--context->retained == 0) destroy(call.world, context);
  return cuda::kSuccess;
}

CUresult cuCtxGetCurrent(CUcontext* context) {
  Call call("cuCtxGetCurrent", Needs::initialised);
  if (call.refused()) return call.refusal();
  *context = reinterpret_cast<CUcontext>(call.context);
  return cuda::kSuccess;
}

CUresult cuCtxSetCurrent(CUcontext context) {
  Call call("cuCtxSetCurrent", Needs::initialised);
  if (call.refused()) return call.refusal();
  Context* const found = context_of(call.world, context);
  if (context != nullptr && found == nullptr) return cuda::kErrorInvalidContext;
  if (!call.thread.stack.empty()) call.thread.stack.pop_back();
  if (found != nullptr) call.thread.stack.push_back(found);
  return cuda::kSuccess;
}

CUresult cuCtxGetDevice(CUdevice* device) {
  Call call("cuCtxGetDevice");
  if (call.refused()) return call.refusal();
  *device = call.context->device;
  return cuda::kSuccess;
}

CUresult cuCtxPushCurrent(CUcontext context) {
  Call call("cuCtxPushCurrent", Needs::initialised);
  if (call.refused()) return call.refusal();
  Context* const found = context_of(call.world, context);
  if (found == nullptr) return cuda::kErrorInvalidContext;
  call.thread.stack.push_back(found);
  return cuda::kSuccess;
}

CUresult cuCtxPopCurrent(CUcontext* context) {
  Call call("cuCtxPopCurrent", Needs::initialised);
  if (call.refused()) return call.refusal();
  if (call.thread.stack.empty()) return cuda::kErrorInvalidContext;
  if (context != nullptr) *context = reinterpret_cast<CUcontext>(call.context);
  call.thread.stack.pop_back();
  return cuda::kSuccess;
}

CUresult cuCtxSynchronize() {
  Call call("cuCtxSynchronize", Needs::context, WhileCapturing::unsafe);
  if (call.refused()) return call.refusal();
  for (const auto& stream : streams_of(call.world, call.context)) {
    const VectorClock clock = stream->clock;
    if (const CUresult fault = wait_for(call, {stream, stream->given}); fault != cuda::kSuccess) return fault;
    host_learns(call, clock);
  }
  return cuda::kSuccess;
}

}  // namespace stillframe::fake_cuda::driver
