#include "device/cuda_device.hpp"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "device/cuda_copy_list.hpp"
#include "device/cuda_fingerprints.hpp"
#include "device/cuda_handles.hpp"
#include "device/cuda_stream.hpp"
#include "device/cuda_training_stream.hpp"

namespace stillframe::device {
namespace cuda {
namespace {

constexpr std::size_t kLargestRunBytes = std::size_t{1} << 30;
// Two registrations must not share a page.
constexpr std::uintptr_t kPageBytes = 4096;

class CudaMemory final : public DeviceMemory {
 public:
  CudaMemory(AllocationHandle handle, std::size_t bytes) : handle_(std::move(handle)), bytes_(bytes) {}
  [[nodiscard]] void* data() const noexcept override {
    return reinterpret_cast<void*>(static_cast<std::uintptr_t>(handle_.get()));  // NOLINT(performance-no-int-to-ptr)
  }
  [[nodiscard]] std::size_t bytes() const noexcept override { return bytes_; }

 private:
  AllocationHandle handle_;
  std::size_t bytes_;
};

class CudaPinnedMemory final : public PinnedMemory {
 public:
  explicit CudaPinnedMemory(std::vector<RegistrationHandle> runs) : runs_(std::move(runs)) {}

 private:
  std::vector<RegistrationHandle> runs_;
};

std::size_t first_run_bytes(std::span<std::byte> range) {
  if (range.size() <= kLargestRunBytes) return range.size();
  const auto begin = reinterpret_cast<std::uintptr_t>(range.data());
  return (begin + kLargestRunBytes) / kPageBytes * kPageBytes - begin;
}

bool is_refusal_to_lock(CUresult result) noexcept {
  constexpr CUresult kRefusals[] = {kErrorOutOfMemory, kErrorOperatingSystem, kErrorNotPermitted, kErrorNotSupported,
                                    kErrorUnknown};
  return std::find(std::begin(kRefusals), std::end(kRefusals), result) != std::end(kRefusals);
}

Status not_pinned(CUresult result, const Status& status, std::size_t bytes) {
  const std::string range = "a range of " + std::to_string(bytes) + " bytes";
  if (result == kErrorHostMemoryAlreadyRegistered) {
    return {Code::invalid_argument, range + " is not pinned, since part of it is pinned already: " + status.message() +
                                        "; let the other pin go first"};
  }
  if (!is_refusal_to_lock(result)) return status;
  return {Code::no_space,
          "the system refused to pin " + range + ": " + status.message() +
              ". Copies go on with memory that is not pinned, slower and less asynchronously; raise the limit "
              "of locked memory (ulimit -l unlimited, or LimitMEMLOCK=infinity of the service, or --ulimit "
              "memlock=-1 of the container)"};
}

class CudaDevice final : public Device {
 public:
  CudaDevice(std::shared_ptr<Context> context, const CudaDeviceOptions& options)
      : context_(std::move(context)), options_(options) {}

  [[nodiscard]] std::string name() const override { return context_->name(); }
  [[nodiscard]] bool lost() const noexcept override { return context_->lost(); }

  [[nodiscard]] Result<std::unique_ptr<Stream>> create_stream(const std::string& stream_name) override {
    return CudaStream::create(context_, stream_name, options_.drain_deadline_ms);
  }

  [[nodiscard]] Result<std::unique_ptr<TrainingStream>> training_stream(std::uintptr_t handle) override {
    return std::unique_ptr<TrainingStream>(std::make_unique<CudaTrainingStream>(context_, handle));
  }

  [[nodiscard]] Result<std::unique_ptr<PinnedMemory>> pin(std::span<std::byte> range) override {
    std::vector<RegistrationHandle> runs;
    for (std::span<std::byte> rest = range; !rest.empty(); rest = rest.subspan(first_run_bytes(rest))) {
      SF_ASSIGN(RegistrationHandle run, pin_run(rest.first(first_run_bytes(rest))));
      runs.push_back(std::move(run));
    }
    return std::unique_ptr<PinnedMemory>(std::make_unique<CudaPinnedMemory>(std::move(runs)));
  }

  [[nodiscard]] Result<std::unique_ptr<DeviceMemory>> allocate(std::size_t bytes) override {
    if (bytes == 0) return Status(Code::invalid_argument, "0 bytes of device memory were asked for");
    const std::string where = std::to_string(bytes) + " bytes of memory of " + context_->name();
    CUdeviceptr pointer = 0;
    SF_TRY(context_->run({"allocating", where},
                         [&pointer, bytes](const Calls& calls) { return calls.cuMemAlloc(&pointer, bytes); }));
    return std::unique_ptr<DeviceMemory>(std::make_unique<CudaMemory>(AllocationHandle(context_, pointer), bytes));
  }

  [[nodiscard]] Result<std::unique_ptr<CopyList>> make_copy_list(std::size_t most_copies) override {
    SF_ASSIGN(std::shared_ptr<const Kernel> kernel, kernel_named("gather"));
    return CudaCopyList::create(context_, std::move(kernel), most_copies);
  }

  [[nodiscard]] Result<std::unique_ptr<Fingerprints>> make_fingerprints(std::size_t most_ranges) override {
    SF_ASSIGN(std::shared_ptr<const Kernel> kernel, kernel_named("fingerprint"));
    return CudaFingerprints::create(context_, std::move(kernel), most_ranges);
  }

 private:
  // Loaded when first asked for; what kept it from being loaded holds for good.
  Result<std::shared_ptr<const Kernel>> kernel_named(const std::string& kernel) {
    const std::lock_guard lock(mutex_);
    const auto known = kernels_.find(kernel);
    if (known != kernels_.end()) return known->second;
    return kernels_.emplace(kernel, Kernel::load(context_, options_.kernel_image, kernel)).first->second;
  }

  Result<RegistrationHandle> pin_run(std::span<std::byte> run) {
    const Doing doing{"pinning host memory for", context_->name()};
    SF_TRY(context_->usable(doing));
    const CUresult result = context_->visit(
        [run](const Calls& calls) { return calls.cuMemHostRegister(run.data(), run.size(), kHostRegisterPortable); });
    if (const Status status = context_->check(result, doing); !status.ok())
      return not_pinned(result, status, run.size());
    return RegistrationHandle(context_, run.data());
  }

  const std::shared_ptr<Context> context_;
  const CudaDeviceOptions options_;
  std::mutex mutex_;
  std::map<std::string, Result<std::shared_ptr<const Kernel>>> kernels_;
};

}  // namespace
}  // namespace cuda

Result<std::unique_ptr<Device>> open_cuda_device(const std::shared_ptr<const CudaDriver>& driver, int ordinal,
                                                 const CudaDeviceOptions& options) {
  SF_ASSIGN(std::shared_ptr<cuda::Context> context, cuda::Context::open(driver, ordinal));
  return std::unique_ptr<Device>(std::make_unique<cuda::CudaDevice>(std::move(context), options));
}

}  // namespace stillframe::device
