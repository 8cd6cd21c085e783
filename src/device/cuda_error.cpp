#include "device/cuda_error.hpp"

#include <algorithm>
#include <iterator>

#include "device/cuda_driver.hpp"

namespace stillframe::device::cuda {
namespace {

struct Meaning {
  CUresult result;
  Code code;
  const char* advice;
};

constexpr const char* kInCapture = "a graph is being captured; call it before or after the capture";

constexpr const char* kContextGone =
    "the context of the device was destroyed; close the checkpointer before the context goes";

constexpr const char* kDriverTooOldForImage =
    "the driver is older than the CUDA toolkit that this library was built with; install a newer driver to have it";

constexpr Meaning kMeanings[] = {
    {kErrorInvalidValue, Code::invalid_argument,
     "check that the addresses belong to this device and are still allocated"},
    {kErrorOutOfMemory, Code::no_space, "free memory of the device, or make the batch or the model smaller"},
    {kErrorNotInitialized, Code::unavailable,
     "the driver was not initialised in this process (a forked child cannot use it)"},
    {kErrorDeinitialized, Code::unavailable, "the process is ending and the driver has shut down"},
    {kErrorNoDevice, Code::unavailable, "check CUDA_VISIBLE_DEVICES and that the container may use the GPU"},
    {kErrorInvalidDevice, Code::not_found, "check CUDA_VISIBLE_DEVICES"},
    {kErrorInvalidContext, Code::unavailable, kContextGone},
    {kErrorContextIsDestroyed, Code::unavailable, kContextGone},
    {kErrorNoBinaryForGpu, Code::unsupported, "build with this device among STILLFRAME_GPU_ARCHITECTURES to have it"},
    {kErrorInvalidPtx, Code::unsupported, kDriverTooOldForImage},
    {kErrorUnsupportedPtxVersion, Code::unsupported, kDriverTooOldForImage},
    {kErrorInvalidHandle, Code::invalid_argument,
     "a stream or event is gone, or belongs to another context of the device"},
    {kErrorNotPermitted, Code::unsupported, "the system does not permit it; look into the container's settings"},
    {kErrorNotSupported, Code::unsupported, "this device or driver cannot do it"},
    {kErrorStreamCaptureUnsupported, Code::busy, kInCapture},
    {kErrorStreamCaptureInvalidated, Code::busy, kInCapture},
    {kErrorStreamCaptureImplicit, Code::busy, kInCapture},
    {kErrorCapturedEvent, Code::busy, kInCapture},
    {kErrorStreamCaptureWrongThread, Code::busy, kInCapture},
};

constexpr const char* kStickyAdvice =
    "the device is lost for this process, and every later call fails; checkpoints already captured are safe: end the "
    "process, "
    "start it again and restore";

std::string driver_words(const Calls& calls, CUresult result) {
  const char* name = nullptr;
  const char* text = nullptr;
  const bool named = calls.cuGetErrorName(result, &name) == kSuccess && name != nullptr;
  const bool told = calls.cuGetErrorString(result, &text) == kSuccess && text != nullptr;
  return std::string(named ? name : "an error without a name") + " (" + std::to_string(result) + ")" +
         (told ? std::string(", ") + text : std::string());
}

}  // namespace

bool is_sticky(CUresult result) noexcept {
  return std::find(std::begin(kStickyErrors), std::end(kStickyErrors), result) != std::end(kStickyErrors);
}

Status status_of(const Calls& calls, CUresult result, const Doing& doing) {
  if (result == kSuccess) return {};
  const std::string what =
      std::string(doing.what) + " " + std::string(doing.where) + ": " + driver_words(calls, result);
  if (is_sticky(result)) return {Code::io_error, what + "; " + kStickyAdvice};
  const auto* const meaning = std::find_if(std::begin(kMeanings), std::end(kMeanings),
                                           [result](const Meaning& known) { return known.result == result; });
  if (meaning != std::end(kMeanings)) return {meaning->code, what + "; " + meaning->advice};
  return {Code::io_error, what + "; look for the cause with nvidia-smi and in the kernel's log"};
}

}  // namespace stillframe::device::cuda
