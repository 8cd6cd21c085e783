// A stream of the trainer's on a CUDA device.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "device/cuda_event.hpp"
#include "device/device.hpp"

namespace stillframe::device::cuda {

class CudaTrainingStream final : public TrainingStream {
 public:
  CudaTrainingStream(std::shared_ptr<Context> context, std::uintptr_t handle);

  [[nodiscard]] Result<bool> capturing() const override;
  [[nodiscard]] Result<std::shared_ptr<Event>> record() override;
  [[nodiscard]] Status wait(const std::shared_ptr<Event>& event, const base::Deadline& deadline) override;

 private:
  Status refuse_in_capture(const char* what) const;

  const std::shared_ptr<Context> context_;
  const CUstream stream_;
  const std::shared_ptr<const std::string> where_;  // "the training stream of cuda:0"
};

}  // namespace stillframe::device::cuda
