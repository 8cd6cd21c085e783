#include "device/cuda_training_stream.hpp"

#include <utility>

namespace stillframe::device::cuda {

CudaTrainingStream::CudaTrainingStream(std::shared_ptr<Context> context, std::uintptr_t handle)
    : context_(std::move(context)),
      stream_(reinterpret_cast<CUstream>(handle)),  // NOLINT(performance-no-int-to-ptr)
      where_(std::make_shared<const std::string>("the training stream of " + context_->name())) {}

Result<bool> CudaTrainingStream::capturing() const {
  const Doing doing{"asking whether a graph is being captured from", *where_};
  SF_TRY(context_->usable(doing));
  int state = kCaptureNone;
  const CUresult result =
      context_->visit([this, &state](const Calls& calls) { return calls.cuStreamIsCapturing(stream_, &state); });
  // The answer for the legacy default stream while another stream is captured that it would be ordered with.
  if (result == kErrorStreamCaptureImplicit) return true;
  SF_TRY(context_->check(result, doing));
  return state != kCaptureNone;
}

Status CudaTrainingStream::refuse_in_capture(const char* what) const {
  SF_ASSIGN(const bool in_capture, capturing());
  if (!in_capture) return {};
  return {Code::busy, "a graph is being captured from " + *where_ + ": " + what +
                          ", and nothing was put into the graph; do it before or after the capture"};
}

Result<std::shared_ptr<Event>> CudaTrainingStream::record() {
  SF_TRY(refuse_in_capture("no event was recorded"));
  SF_ASSIGN(std::shared_ptr<CudaEvent> event, CudaEvent::record(context_, stream_, where_));
  return std::shared_ptr<Event>(std::move(event));
}

Status CudaTrainingStream::wait(const std::shared_ptr<Event>& event, const base::Deadline& /*deadline*/) {
  SF_ASSIGN(const std::shared_ptr<const CudaEvent> before, as_cuda_event(event, *where_));
  SF_TRY(refuse_in_capture("it does not wait for the copies"));
  return before->hold_back(*context_, stream_, *where_);
}

}  // namespace stillframe::device::cuda
