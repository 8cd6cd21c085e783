// A training loop on a small state that rests when it is told to, so that what it and its daemon hold can be looked at.
//
//   flat_trainer STORE DAEMON_CONFIG host|gpu STEPS STEPS_BETWEEN_RESTS
//
// At each rest every snapshot so far is verified; it says "at <snapshots>" and waits for a line. The GPU is the driver
// fake's.
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fake_cuda/driver.hpp"
#include "stillframe/checkpointer.hpp"

namespace {

using namespace stillframe;
using fake_cuda::CUdeviceptr;
using fake_cuda::CUresult;

constexpr std::uint64_t kWaitMs = 60'000;
constexpr std::size_t kTensors = 5;
constexpr std::size_t kTensorBytes = 300'000;

// Memory that the loop changes in place.
class State {
 public:
  virtual ~State() = default;
  [[nodiscard]] virtual std::int32_t device() const = 0;
  [[nodiscard]] virtual std::uintptr_t stream() const = 0;
  [[nodiscard]] virtual void* tensor(std::size_t index) = 0;
  virtual void update(std::int64_t step) = 0;
};

class HostState final : public State {
 public:
  [[nodiscard]] std::int32_t device() const override { return kHost; }
  [[nodiscard]] std::uintptr_t stream() const override { return 0; }
  [[nodiscard]] void* tensor(std::size_t index) override { return tensors_[index].data(); }
  void update(std::int64_t step) override {
    for (auto& tensor : tensors_) {
      for (std::byte& byte : tensor) byte ^= static_cast<std::byte>(step);
    }
  }

 private:
  std::vector<std::vector<std::byte>> tensors_{kTensors, std::vector<std::byte>(kTensorBytes)};
};

class GpuState final : public State {
 public:
  GpuState() {
    check(cu_.cuInit(0), "cuInit");
    fake_cuda::CUcontext context = nullptr;
    check(cu_.cuDevicePrimaryCtxRetain(&context, 0), "cuDevicePrimaryCtxRetain");
    check(cu_.cuCtxPushCurrent(context), "cuCtxPushCurrent");
    check(cu_.cuStreamCreate(&stream_, fake_cuda::cuda::kStreamNonBlocking), "cuStreamCreate");
    for (CUdeviceptr& tensor : tensors_) check(cu_.cuMemAlloc(&tensor, kTensorBytes), "cuMemAlloc");
  }
  [[nodiscard]] std::int32_t device() const override { return 0; }
  [[nodiscard]] std::uintptr_t stream() const override { return reinterpret_cast<std::uintptr_t>(stream_); }
  [[nodiscard]] void* tensor(std::size_t index) override { return reinterpret_cast<void*>(tensors_[index]); }
  void update(std::int64_t step) override {
    const std::vector<std::byte> bytes(kTensorBytes, static_cast<std::byte>(step));
    for (const CUdeviceptr tensor : tensors_) {
      check(cu_.cuMemcpyHtoDAsync(tensor, bytes.data(), bytes.size(), stream_), "cuMemcpyHtoDAsync");
    }
  }

 private:
  static void check(CUresult result, const char* call) {
    if (result == fake_cuda::cuda::kSuccess) return;
    std::cerr << "flat_trainer: " << call << ": error " << result << std::endl;
    std::exit(4);
  }

  fake_cuda::Driver cu_;
  fake_cuda::CUstream stream_ = nullptr;
  std::vector<CUdeviceptr> tensors_ = std::vector<CUdeviceptr>(kTensors);
};

Status train(State& state, const CheckpointerOptions& options, std::int64_t steps, std::int64_t between_rests) {
  SF_ASSIGN(Checkpointer checkpointer, Checkpointer::open(options));
  checkpointer.use_stream(state.device(), state.stream());
  for (std::size_t i = 0; i < kTensors; ++i) {
    SF_TRY(checkpointer.add("tensor" + std::to_string(i), DType::u8, {kTensorBytes}, state.tensor(i), state.device()));
  }
  for (std::int64_t step = 1; step <= steps; ++step) {
    SF_TRY(checkpointer.fence());
    state.update(step);
    SF_ASSIGN(const Ticket ticket, checkpointer.snapshot(step, /*wait=*/true));
    if (step % between_rests != 0) continue;
    SF_TRY(checkpointer.fence());
    SF_TRY(ticket.wait_verified(kWaitMs));
    std::cout << "at " << step << std::endl;
    std::string line;
    std::getline(std::cin, line);
  }
  return checkpointer.close(kWaitMs);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view where = argc == 6 ? argv[3] : "";
  if (where != "host" && where != "gpu") {
    std::cerr << "usage: flat_trainer STORE DAEMON_CONFIG host|gpu STEPS STEPS_BETWEEN_RESTS\n";
    return 2;
  }
  CheckpointerOptions options;
  options.store = argv[1];
  options.daemon_config = argv[2];
  options.retention = Retention{};
  options.retention->keep_last = 1;
  std::unique_ptr<State> state;
  if (where == "gpu") {
    state = std::make_unique<GpuState>();
  } else {
    state = std::make_unique<HostState>();
  }
  const Status status = train(*state, options, std::atoll(argv[4]), std::atoll(argv[5]));
  if (!status.ok()) std::cerr << "flat_trainer: " << status.message() << std::endl;
  return status.ok() ? 0 : 1;
}
