#include "device/cuda_fingerprints.hpp"

#include <string>

#include "device/copy_entries.hpp"

namespace stillframe::device::cuda {

Result<std::unique_ptr<Fingerprints>> CudaFingerprints::create(const std::shared_ptr<Context>& context,
                                                               std::shared_ptr<const Kernel> kernel,
                                                               std::size_t most_ranges) {
  SF_TRY(check_list_size(most_ranges));
  SF_ASSIGN(ListMemory memory,
            ListMemory::create(context, most_ranges * sizeof(fingerprint::Entry), "a list of fingerprints"));
  return std::unique_ptr<Fingerprints>(new CudaFingerprints(std::move(memory), std::move(kernel), most_ranges));
}

Status CudaFingerprints::write(std::span<const DeviceRange> ranges, std::string_view where,
                               const base::Deadline& deadline) {
  SF_TRY(memory_.wait_transferred(deadline));
  SF_TRY(list_ranges(ranges, std::span(entries(), most_ranges_), where));
  listed_ = ranges.size();
  tiles_ = fingerprint::tile_count(entries(), listed_);
  return {};
}

CUresult CudaFingerprints::send(const Calls& calls, CUstream stream) const {
  return memory_.send(calls, stream, listed_ * sizeof(fingerprint::Entry));
}

CUresult CudaFingerprints::launch(const Calls& calls, CUstream stream) const {
  if (tiles_ == 0) return kSuccess;
  return kernel_->launch(calls, stream, memory_.on_device(), listed_, tiles_);
}

CUresult CudaFingerprints::fetch(const Calls& calls, CUstream stream) const {
  return memory_.fetch(calls, stream, listed_ * sizeof(fingerprint::Entry));
}

Result<CudaFingerprints*> as_cuda_fingerprints(Fingerprints& prints, const Context& context, std::string_view where) {
  auto* const cuda_prints = dynamic_cast<CudaFingerprints*>(&prints);
  if (cuda_prints == nullptr || cuda_prints->memory().context().get() != &context) {
    return Status(Code::invalid_argument, std::string(where) + " was given fingerprints of another device");
  }
  return cuda_prints;
}

}  // namespace stillframe::device::cuda
