#include "gpu_rig.hpp"

#include <algorithm>
#include <cmath>
#include <span>

namespace stillframe::bench {
namespace {

using device::cuda::CUdeviceptr;

constexpr std::uint64_t kPatienceMs = 120'000;
// As allocators of device memory place tensors.
constexpr std::size_t kAlignment = 512;
constexpr std::size_t kUpdatedBytes = 4096;
constexpr std::size_t kCalibrationCopies = 8;
constexpr std::size_t kFillBytes = std::size_t{16} << 20;

CUdeviceptr address(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

std::vector<std::byte> random_bytes(std::size_t count) {
  std::vector<std::byte> bytes(count);
  std::uint64_t state = 0x9E3779B97F4A7C15;
  for (std::byte& byte : bytes) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    byte = static_cast<std::byte>(state >> 56U);
  }
  return bytes;
}

}  // namespace

base::Deadline patience() { return base::Deadline::after_ms(kPatienceMs); }

GpuRig::GpuRig(std::shared_ptr<const device::CudaDriver> driver, int ordinal)
    : driver_(std::move(driver)), ordinal_(ordinal) {}

Result<std::unique_ptr<GpuRig>> GpuRig::open(int ordinal) {
  SF_ASSIGN(auto driver, device::CudaDriver::load());
  std::unique_ptr<GpuRig> rig(new GpuRig(std::move(driver), ordinal));
  SF_TRY(rig->start());
  return rig;
}

Status GpuRig::start() {
  const device::cuda::Calls& cu = driver_->calls();
  device::cuda::CUdevice handle = 0;
  SF_TRY(check(cu.cuDeviceGet(&handle, ordinal_), "cuDeviceGet"));
  char name[256] = {};
  SF_TRY(check(cu.cuDeviceGetName(name, sizeof name, handle), "cuDeviceGetName"));
  name_ = name;
  SF_TRY(check(cu.cuDevicePrimaryCtxRetain(&context_, handle), "cuDevicePrimaryCtxRetain"));
  SF_TRY(check(cu.cuCtxPushCurrent(context_), "cuCtxPushCurrent"));
  SF_TRY(check(cu.cuStreamCreate(&stream_, device::cuda::kStreamNonBlocking), "cuStreamCreate"));
  SF_ASSIGN(device_, device::open_cuda_device(driver_, ordinal_));
  SF_ASSIGN(training_, device_->training_stream(stream()));
  return {};
}

GpuRig::~GpuRig() {
  const device::cuda::Calls& cu = driver_->calls();
  const Status settled = training_ ? settle() : Status();
  training_.reset();
  state_.reset();
  work_.reset();
  device_.reset();
  if (stream_ != nullptr && settled.ok()) {
    check(cu.cuStreamDestroy(stream_), "cuStreamDestroy").ignore("the process ends soon");
  }
  if (context_ == nullptr) return;
  device::cuda::CUcontext popped = nullptr;
  check(cu.cuCtxPopCurrent(&popped), "cuCtxPopCurrent").ignore("the process ends soon");
  check(cu.cuDevicePrimaryCtxRelease(ordinal_), "cuDevicePrimaryCtxRelease").ignore("the process ends soon");
}

Status GpuRig::check(device::cuda::CUresult result, const char* call) const {
  if (result == device::cuda::kSuccess) return {};
  const char* name = nullptr;
  const bool known = driver_->calls().cuGetErrorName(result, &name) == device::cuda::kSuccess && name != nullptr;
  return {Code::io_error, std::string(call) + " failed: " + (known ? name : std::to_string(result))};
}

Result<std::vector<Tensor>> GpuRig::make_state(std::size_t bytes, std::size_t count) {
  const std::size_t each = std::max(kAlignment, bytes / count / kAlignment * kAlignment);
  SF_ASSIGN(state_, device_->allocate(each * count));
  auto* const base = static_cast<std::byte*>(state_->data());
  SF_ASSIGN(const auto fill, device_->create_stream("fill"));
  const std::vector<std::byte> content = random_bytes(std::min(kFillBytes, each * count));
  for (std::size_t done = 0; done < each * count; done += content.size()) {
    const auto part = std::span(content).first(std::min(content.size(), each * count - done));
    SF_TRY(fill->copy_to_device(base + done, part, patience()));
  }
  SF_ASSIGN(const auto filled, fill->record());
  SF_TRY(filled->wait(patience()));
  std::vector<Tensor> tensors;
  for (std::size_t i = 0; i < count; ++i) tensors.push_back({"tensor" + std::to_string(i), base + i * each, each});
  return tensors;
}

Status GpuRig::prepare_work(std::size_t bytes, double seconds) {
  SF_ASSIGN(work_, device_->allocate(2 * bytes));
  work_copies_ = kCalibrationCopies;
  SF_TRY(work());
  SF_TRY(settle());
  const Stopwatch watch;
  SF_TRY(work());
  SF_TRY(settle());
  const double each = watch.seconds() / kCalibrationCopies;
  work_copies_ = static_cast<std::size_t>(std::ceil(seconds / each));
  return {};
}

Status GpuRig::work() {
  const std::size_t half = work_->bytes() / 2;
  const CUdeviceptr low = address(work_->data());
  for (std::size_t i = 0; i < work_copies_; ++i) {
    const CUdeviceptr to = i % 2 == 0 ? low + half : low;
    const CUdeviceptr from = i % 2 == 0 ? low : low + half;
    SF_TRY(check(driver_->calls().cuMemcpyDtoDAsync(to, from, half, stream_), "cuMemcpyDtoDAsync"));
  }
  return {};
}

Status GpuRig::update(const std::vector<Tensor>& state) {
  for (const Tensor& tensor : state) {
    const std::size_t bytes = std::min({kUpdatedBytes, tensor.bytes, work_->bytes()});
    SF_TRY(check(driver_->calls().cuMemcpyDtoDAsync(address(tensor.data), address(work_->data()), bytes, stream_),
                 "cuMemcpyDtoDAsync"));
  }
  return {};
}

Status GpuRig::settle() {
  SF_ASSIGN(const auto event, training_->record());
  return event->wait(patience());
}

}  // namespace stillframe::bench
