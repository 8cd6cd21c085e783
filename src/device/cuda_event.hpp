// Events of a CUDA device.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "device/cuda_handles.hpp"
#include "device/device.hpp"

namespace stillframe::device::cuda {

class CudaEvent final : public Event {
 public:
  // On `stream`, in `context`. `where` names the stream in messages: "stream 'sf-copy' of cuda:0".
  [[nodiscard]] static Result<std::shared_ptr<CudaEvent>> record(const std::shared_ptr<Context>& context,
                                                                 CUstream stream,
                                                                 std::shared_ptr<const std::string> where);
  CudaEvent(EventHandle handle, std::shared_ptr<const std::string> where)
      : handle_(std::move(handle)), where_(std::move(where)) {}

  [[nodiscard]] bool reached() const noexcept override;
  [[nodiscard]] Status wait(const base::Deadline& deadline) const override;

  // What follows on `stream`, of any device of this process, runs after the event.
  [[nodiscard]] Status hold_back(Context& context, CUstream stream, std::string_view where) const;

 private:
  // ok, kErrorNotReady or an error.
  [[nodiscard]] CUresult query() const;

  EventHandle handle_;
  std::shared_ptr<const std::string> where_;
  mutable std::atomic<bool> reached_{false};
};

// `event` as one of CUDA's, or invalid_argument.
[[nodiscard]] Result<std::shared_ptr<const CudaEvent>> as_cuda_event(const std::shared_ptr<Event>& event,
                                                                     std::string_view where);

}  // namespace stillframe::device::cuda
