// Handles of the driver, each with its context: let go when they go.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "device/cuda_context.hpp"

namespace stillframe::device::cuda {

// `Kind` names the type of the handle, what it is called, and the call that lets it go.
template <typename Kind>
class Handle {
 public:
  using Value = typename Kind::Value;

  Handle() noexcept = default;
  Handle(std::shared_ptr<Context> context, Value value) noexcept : context_(std::move(context)), value_(value) {}
  Handle(Handle&& other) noexcept : context_(std::move(other.context_)), value_(std::exchange(other.value_, Value{})) {}
  Handle& operator=(Handle&& other) noexcept {
    if (this != &other) {
      reset();
      context_ = std::move(other.context_);
      value_ = std::exchange(other.value_, Value{});
    }
    return *this;
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { reset(); }

  [[nodiscard]] Value get() const noexcept { return value_; }
  [[nodiscard]] Context& context() const noexcept { return *context_; }

 private:
  void reset() noexcept {
    if (context_ == nullptr) return;
    const Value value = value_;
    context_->release({Kind::kReleasing, context_->name()},
                      [value](const Calls& calls) { return Kind::release(calls, value); });
    context_.reset();
  }

  std::shared_ptr<Context> context_;
  Value value_{};
};

struct EventKind {
  using Value = CUevent;
  static constexpr const char* kReleasing = "destroying an event of";
  static CUresult release(const Calls& calls, CUevent event) { return calls.cuEventDestroy(event); }
};
struct StreamKind {
  using Value = CUstream;
  static constexpr const char* kReleasing = "destroying a stream of";
  static CUresult release(const Calls& calls, CUstream stream) { return calls.cuStreamDestroy(stream); }
};
struct AllocationKind {
  using Value = CUdeviceptr;
  static constexpr const char* kReleasing = "freeing memory of";
  static CUresult release(const Calls& calls, CUdeviceptr pointer) { return calls.cuMemFree(pointer); }
};
struct RegistrationKind {
  using Value = void*;
  static constexpr const char* kReleasing = "unpinning host memory for";
  static CUresult release(const Calls& calls, void* address) { return calls.cuMemHostUnregister(address); }
};

struct ModuleKind {
  using Value = CUmodule;
  static constexpr const char* kReleasing = "unloading a kernel of";
  static CUresult release(const Calls& calls, CUmodule module) { return calls.cuModuleUnload(module); }
};

using EventHandle = Handle<EventKind>;
using StreamHandle = Handle<StreamKind>;
using AllocationHandle = Handle<AllocationKind>;
using RegistrationHandle = Handle<RegistrationKind>;
using ModuleHandle = Handle<ModuleKind>;

}  // namespace stillframe::device::cuda
