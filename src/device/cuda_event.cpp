#include "device/cuda_event.hpp"

#include <utility>

namespace stillframe::device::cuda {

Result<std::shared_ptr<CudaEvent>> CudaEvent::record(const std::shared_ptr<Context>& context, CUstream stream,
                                                     std::shared_ptr<const std::string> where) {
  CUevent event = nullptr;
  SF_TRY(context->run({"creating an event on", *where},
                      [&event](const Calls& calls) { return calls.cuEventCreate(&event, kEventDisableTiming); }));
  EventHandle handle(context, event);
  SF_TRY(context->run({"recording an event on", *where},
                      [event, stream](const Calls& calls) { return calls.cuEventRecord(event, stream); }));
  return std::make_shared<CudaEvent>(std::move(handle), std::move(where));
}

CUresult CudaEvent::query() const {
  if (reached_.load(std::memory_order_acquire)) return kSuccess;
  const CUresult result =
      handle_.context().visit([this](const Calls& calls) { return calls.cuEventQuery(handle_.get()); });
  if (result == kSuccess) reached_.store(true, std::memory_order_release);
  handle_.context().note(result);
  return result;
}

bool CudaEvent::reached() const noexcept { return query() == kSuccess; }

Status CudaEvent::wait(const base::Deadline& deadline) const {
  const Doing doing{"waiting for the work on", *where_};
  base::GrowingPause between;
  for (;;) {
    const CUresult result = query();
    if (result != kErrorNotReady) return handle_.context().check(result, doing);
    if (deadline.expired()) {
      return {Code::deadline, "the work before an event on " + *where_ + " is not done in the time given; it goes on"};
    }
    between.pause(deadline);
  }
}

Status CudaEvent::hold_back(Context& context, CUstream stream, std::string_view where) const {
  return context.run({"making an event hold back", where},
                     [this, stream](const Calls& calls) { return calls.cuStreamWaitEvent(stream, handle_.get(), 0); });
}

Result<std::shared_ptr<const CudaEvent>> as_cuda_event(const std::shared_ptr<Event>& event, std::string_view where) {
  auto cuda_event = std::dynamic_pointer_cast<const CudaEvent>(event);
  if (cuda_event == nullptr) {
    return Status(Code::invalid_argument,
                  std::string(where) + " was told to wait for an event that is not a CUDA device's");
  }
  return cuda_event;
}

}  // namespace stillframe::device::cuda
