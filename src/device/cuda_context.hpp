// A device's context as the trainer uses it, and the one way in which we call the driver for it.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "device/cuda_driver.hpp"
#include "device/cuda_error.hpp"
#include "stillframe/status.hpp"

namespace stillframe::device::cuda {

// While it lives, this thread is in relaxed capture mode: calls of ours, which a graph capture elsewhere in the process
// would refuse and be broken by, do not touch it.
class RelaxedCapture {
 public:
  explicit RelaxedCapture(const Calls& calls) noexcept;
  ~RelaxedCapture();
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;
  [[nodiscard]] CUresult entered() const noexcept { return entered_; }

 private:
  const Calls& calls_;
  int mode_ = kCaptureModeRelaxed;  // the thread's own while it lives
  CUresult entered_;
};

// While it lives, `context` is this thread's current one.
class CurrentContext {
 public:
  CurrentContext(const Calls& calls, CUcontext context) noexcept;
  ~CurrentContext();
  CurrentContext(const CurrentContext&) = delete;
  CurrentContext& operator=(const CurrentContext&) = delete;
  [[nodiscard]] CUresult entered() const noexcept { return entered_; }

 private:
  const Calls& calls_;
  CUresult entered_;
};

// Thread-safe. Everything that holds a handle of the driver holds its context.
class Context {
 public:
  // The context current on the calling thread when it belongs to the device, else the device's primary one. A primary
  // context is retained until this object goes.
  [[nodiscard]] static Result<std::shared_ptr<Context>> open(std::shared_ptr<const CudaDriver> driver, int ordinal);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  [[nodiscard]] const std::string& name() const noexcept { return name_; }  // "cuda:0"
  [[nodiscard]] const Calls& calls() const noexcept { return driver_->calls(); }

  // `call(calls())` with this context current and the thread in relaxed capture mode; both are as before afterwards.
  template <typename Call>
  [[nodiscard]] CUresult visit(const Call& call) const {
    const RelaxedCapture relaxed(calls());
    if (relaxed.entered() != kSuccess) return relaxed.entered();
    const CurrentContext current(calls(), context_);
    if (current.entered() != kSuccess) return current.entered();
    return call(calls());
  }

  // Remembers a sticky error: from then on usable() fails.
  void note(CUresult result) noexcept;
  // Notes the result and puts it in words.
  [[nodiscard]] Status check(CUresult result, const Doing& doing);
  // The first sticky error, as what keeps `doing` from being done.
  [[nodiscard]] Status usable(const Doing& doing) const;

  template <typename Call>
  [[nodiscard]] Status run(const Doing& doing, const Call& call) {
    SF_TRY(usable(doing));
    return check(visit(call), doing);
  }

  // True after a sticky error.
  [[nodiscard]] bool lost() const noexcept { return lost_.load(std::memory_order_relaxed) != kSuccess; }

  // Lets a handle go, unless the device is lost or given up: it then goes with the context. What cannot be let go is
  // logged.
  template <typename Call>
  void release(const Doing& doing, const Call& call) noexcept {
    if (!lost() && !given_up()) released(visit(call), doing);
  }

  // The device no longer answers: from now on nothing of it is let go, since the driver might wait for it without end.
  void give_up() noexcept { given_up_.store(true, std::memory_order_relaxed); }
  [[nodiscard]] bool given_up() const noexcept { return given_up_.load(std::memory_order_relaxed); }

 private:
  Context(std::shared_ptr<const CudaDriver> driver, std::string name)
      : driver_(std::move(driver)), name_(std::move(name)) {}
  Status choose(int ordinal);
  Status retain_primary();
  void released(CUresult result, const Doing& doing) noexcept;

  const std::shared_ptr<const CudaDriver> driver_;
  const std::string name_;
  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
  bool retained_ = false;
  std::atomic<CUresult> lost_{kSuccess};
  std::atomic<bool> given_up_{false};
};

}  // namespace stillframe::device::cuda
