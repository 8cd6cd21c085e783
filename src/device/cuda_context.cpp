#include "device/cuda_context.hpp"

#include <utility>

#include "base/log.hpp"

namespace stillframe::device::cuda {
namespace {

struct Current {
  CUcontext context = nullptr;
  CUdevice device = 0;
};

// Null when the thread has none.
Result<Current> current_of_thread(const Calls& calls, const Doing& doing) {
  Current current;
  SF_TRY(status_of(calls, calls.cuCtxGetCurrent(&current.context), doing));
  if (current.context == nullptr) return current;
  SF_TRY(status_of(calls, calls.cuCtxGetDevice(&current.device), doing));
  return current;
}

}  // namespace

RelaxedCapture::RelaxedCapture(const Calls& calls) noexcept
    : calls_(calls), entered_(calls.cuThreadExchangeStreamCaptureMode(&mode_)) {}

// The results on the way out say nothing new: they repeat errors of work that another call reports.
RelaxedCapture::~RelaxedCapture() {
  if (entered_ == kSuccess) static_cast<void>(calls_.cuThreadExchangeStreamCaptureMode(&mode_));
}

CurrentContext::CurrentContext(const Calls& calls, CUcontext context) noexcept
    : calls_(calls), entered_(calls.cuCtxPushCurrent(context)) {}

CurrentContext::~CurrentContext() {
  CUcontext popped = nullptr;
  if (entered_ == kSuccess) static_cast<void>(calls_.cuCtxPopCurrent(&popped));
}

Result<std::shared_ptr<Context>> Context::open(std::shared_ptr<const CudaDriver> driver, int ordinal) {
  SF_ASSIGN(const int count, driver->device_count());
  const std::string name = "cuda:" + std::to_string(ordinal);
  if (ordinal < 0 || ordinal >= count) {
    return Status(Code::not_found, "there is no device " + name + ": the NVIDIA driver sees " + std::to_string(count) +
                                       " (CUDA_VISIBLE_DEVICES may hide some)");
  }
  std::shared_ptr<Context> context(new Context(std::move(driver), name));
  SF_TRY(context->choose(ordinal));
  return context;
}

Status Context::choose(int ordinal) {
  const Doing doing{"opening", name_};
  const RelaxedCapture relaxed(calls());
  SF_TRY(check(relaxed.entered(), doing));
  SF_TRY(check(calls().cuDeviceGet(&device_, ordinal), doing));
  SF_ASSIGN(const Current current, current_of_thread(calls(), doing));
  if (current.context == nullptr || current.device != device_) return retain_primary();

  unsigned flags = 0;
  int active = 0;
  SF_TRY(check(calls().cuDevicePrimaryCtxGetState(device_, &flags, &active), doing));
  // Retained only when it is there already: a second context beside the trainer's own would cost memory of the device.
  if (active != 0) SF_TRY(retain_primary());
  if (context_ != current.context && retained_) {
    retained_ = false;
    SF_TRY(check(calls().cuDevicePrimaryCtxRelease(device_), doing));
  }
  context_ = current.context;
  return {};
}

Status Context::retain_primary() {
  SF_TRY(check(calls().cuDevicePrimaryCtxRetain(&context_, device_), {"retaining the primary context of", name_}));
  retained_ = true;
  return {};
}

Context::~Context() {
  if (!retained_ || given_up()) return;
  const RelaxedCapture relaxed(calls());
  released(calls().cuDevicePrimaryCtxRelease(device_), {"releasing the primary context of", name_});
}

void Context::note(CUresult result) noexcept {
  CUresult none = kSuccess;
  if (is_sticky(result)) lost_.compare_exchange_strong(none, result, std::memory_order_relaxed);
}

Status Context::check(CUresult result, const Doing& doing) {
  note(result);
  return status_of(calls(), result, doing);
}

Status Context::usable(const Doing& doing) const {
  return status_of(calls(), lost_.load(std::memory_order_relaxed), doing);
}

void Context::released(CUresult result, const Doing& doing) noexcept {
  if (result == kSuccess || result == kErrorDeinitialized || is_sticky(result)) return;
  base::log(base::LogLevel::warn, "device.release_failed", {{"error", status_of(calls(), result, doing).message()}});
}

}  // namespace stillframe::device::cuda
