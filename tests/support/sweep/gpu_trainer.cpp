// A training loop on a GPU, on the driver fake: a kernel updates the tensors in place, on a stream of its own, while
// the snapshot of the step before may still be copied. What it is told goes to a journal (journal.hpp).
//
//   gpu_trainer STORE JOURNAL DAEMON_CONFIG BUDGET_BYTES STEPS [DIE_AFTER_BYTES]
//
// Resumes, trains so many steps with a snapshot of each, and ends. With the last argument it dies when so many bytes of
// the last snapshot have been copied from the device. The variables FAKE_CUDA_* configure the fake.
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fake_cuda/driver.hpp"
#include "support/sweep/journal.hpp"

namespace {

using namespace stillframe;
using fake_cuda::CUdeviceptr;
using fake_cuda::Launch;
using sweep::Journal;
using sweep::Tickets;

constexpr std::int32_t kDevice = 0;
constexpr std::uint64_t kWaitMs = 60'000;
constexpr std::uint64_t kWordBytes = sizeof(std::uint64_t);

struct Tensor {
  const char* name;
  std::uint64_t words;
  CUdeviceptr address = 0;

  [[nodiscard]] std::uint64_t bytes() const { return words * kWordBytes; }
};

// Two larger than two chunks, a middle one, and several small ones: six chunks in all.
std::vector<Tensor> make_tensors() {
  return {{"norm", 33}, {"embedding", 330'003}, {"bias", 513},    {"average", 330'003}, {"head", 70'001},
          {"scale", 1}, {"steps_taken", 1},     {"query", 5'000}, {"tail", 129}};
}

// Each word moves by a stride of its own at every step, so that an update that is missed, made twice or made in
// mid-copy shows, and the value at a step needs no run up to it. An odd stride changes the word at every step.
std::uint64_t stride(std::uint64_t word) { return sweep::mix(word) | 1; }
std::uint64_t value_at(std::uint64_t word, std::int64_t step) {
  return sweep::mix(~word) + static_cast<std::uint64_t>(step) * stride(word);
}

void check(fake_cuda::CUresult result, const char* call) {
  if (result == fake_cuda::cuda::kSuccess) return;
  std::cerr << "gpu_trainer: " << call << ": error " << result << std::endl;
  std::exit(4);
}
#define CHECK_CU(call) check((call), #call)

// The host twin of the update: (address, words, number of the first word).
void register_update(std::span<const std::byte> image) {
  fake_cuda::register_image(image);
  fake_cuda::register_kernel(
      {"update",
       {sizeof(CUdeviceptr), sizeof(std::uint64_t), sizeof(std::uint64_t)},
       [](const Launch& launch) {
         return std::vector<fake_cuda::Access>{
             {launch.argument<CUdeviceptr>(0), launch.argument<std::uint64_t>(1) * kWordBytes, true}};
       },
       [](const Launch& launch) {
         auto* const words = reinterpret_cast<std::uint64_t*>(fake_cuda::backing(launch.argument<CUdeviceptr>(0)));
         const auto first = launch.argument<std::uint64_t>(2);
         for (std::uint64_t i = 0; i < launch.argument<std::uint64_t>(1); ++i) words[i] += stride(first + i);
       }});
}

// The state on the device, and the stream on which it is trained.
class DeviceState {
 public:
  DeviceState() : tensors_(make_tensors()) {
    static constexpr std::byte kImage[] = {std::byte{0x75}, std::byte{0x70}, std::byte{0x64}, std::byte{0x74}};
    register_update(kImage);
    CHECK_CU(cu_.cuInit(0));
    fake_cuda::CUcontext context = nullptr;
    CHECK_CU(cu_.cuDevicePrimaryCtxRetain(&context, kDevice));
    CHECK_CU(cu_.cuCtxPushCurrent(context));
    CHECK_CU(cu_.cuStreamCreate(&stream_, fake_cuda::cuda::kStreamNonBlocking));
    fake_cuda::CUmodule module = nullptr;
    CHECK_CU(cu_.cuModuleLoadData(&module, kImage));
    CHECK_CU(cu_.cuModuleGetFunction(&update_, module, "update"));
    for (Tensor& tensor : tensors_) CHECK_CU(cu_.cuMemAlloc(&tensor.address, tensor.bytes()));
  }

  [[nodiscard]] const std::vector<Tensor>& tensors() const { return tensors_; }
  [[nodiscard]] std::uintptr_t stream() const { return reinterpret_cast<std::uintptr_t>(stream_); }
  [[nodiscard]] std::uint64_t bytes() const {
    std::uint64_t all = 0;
    for (const Tensor& tensor : tensors_) all += tensor.bytes();
    return all;
  }

  void set(std::int64_t step) {
    std::uint64_t first = 0;
    for (const Tensor& tensor : tensors_) {
      const std::vector<std::uint64_t> words = expected(tensor, first, step);
      CHECK_CU(cu_.cuMemcpyHtoDAsync(tensor.address, words.data(), tensor.bytes(), stream_));
      first += tensor.words;
    }
  }
  // From one step to the next; the host does not wait.
  void update() {
    std::uint64_t first = 0;
    for (const Tensor& tensor : tensors_) {
      CUdeviceptr address = tensor.address;
      std::uint64_t words = tensor.words;
      void* parameters[] = {&address, &words, &first};
      CHECK_CU(cu_.cuLaunchKernel(update_, 1, 1, 1, 32, 1, 1, 0, stream_, parameters, nullptr));
      first += tensor.words;
    }
  }
  // Bit for bit what it was at that step.
  [[nodiscard]] bool is(std::int64_t step) const {
    std::uint64_t first = 0;
    bool equal = true;
    for (const Tensor& tensor : tensors_) {
      std::vector<std::uint64_t> words(tensor.words);
      CHECK_CU(cu_.cuMemcpyDtoHAsync(words.data(), tensor.address, tensor.bytes(), stream_));  // pageable: waits
      equal = equal && words == expected(tensor, first, step);
      first += tensor.words;
    }
    return equal;
  }

 private:
  [[nodiscard]] static std::vector<std::uint64_t> expected(const Tensor& tensor, std::uint64_t first,
                                                           std::int64_t step) {
    std::vector<std::uint64_t> words(tensor.words);
    for (std::uint64_t i = 0; i < tensor.words; ++i) words[i] = value_at(first + i, step);
    return words;
  }

  fake_cuda::Driver cu_;
  fake_cuda::CUstream stream_ = nullptr;
  fake_cuda::CUfunction update_ = nullptr;
  std::vector<Tensor> tensors_;
};

struct Life {
  std::int64_t steps = 0;
  std::optional<std::uint64_t> die_after_bytes;
};

// The step that it resumed from; -1 for none.
Result<std::int64_t> resume(const Journal& journal, DeviceState& state, Checkpointer& checkpointer) {
  checkpointer.use_stream(kDevice, state.stream());
  for (const Tensor& tensor : state.tensors()) {
    SF_TRY(checkpointer.add(tensor.name, DType::u64, {tensor.words}, reinterpret_cast<void*>(tensor.address), kDevice));
  }
  SF_ASSIGN(const auto resumed, checkpointer.restore());
  if (resumed) {
    journal.say_resumed(*resumed, state.is(resumed->step));
    return resumed->step;
  }
  journal.say("resumed none");
  state.set(-1);
  return -1;
}

Status train(const Journal& journal, DeviceState& state, Checkpointer& checkpointer, const Life& life) {
  SF_ASSIGN(const std::int64_t resumed, resume(journal, state, checkpointer));
  Tickets tickets(journal);
  const std::int64_t last = resumed + life.steps;
  for (std::int64_t step = resumed + 1; step <= last; ++step) {
    checkpointer.fence().ignore("an abandoned snapshot tells its ticket");
    state.update();
    if (step == last && life.die_after_bytes) {
      tickets.wait_captured(kWaitMs);  // from here on the only copies are those of the last snapshot
      fake_cuda::die_after_dtoh_bytes(*life.die_after_bytes);
    }
    SF_ASSIGN(Ticket ticket, checkpointer.snapshot(step, /*wait=*/true));
    journal.say("called " + std::to_string(step));
    tickets.take(std::move(ticket));
    tickets.report();
  }
  checkpointer.fence().ignore("an abandoned snapshot tells its ticket");
  state.update();  // which the last snapshot must not hold
  tickets.wait_captured(kWaitMs);
  SF_TRY(checkpointer.close(kWaitMs));
  tickets.report();
  journal.say("finished " + std::to_string(fake_cuda::races()) + " races");
  return {};
}

Status run(char** argv, const Life& life) {
  const Journal journal(argv[2]);
  DeviceState state;
  journal.say("state " + std::to_string(state.bytes()) + " bytes");
  CheckpointerOptions options;
  options.store = argv[1];
  options.daemon_config = argv[3];
  options.budget_bytes = std::strtoull(argv[4], nullptr, 10);
  options.capture_check = CaptureCheck::off;  // its fingerprints would come among the bytes by which the death is counted
  SF_ASSIGN(Checkpointer checkpointer, Checkpointer::open(options));
  return train(journal, state, checkpointer, life);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6 && argc != 7) {
    std::cerr << "usage: gpu_trainer STORE JOURNAL DAEMON_CONFIG BUDGET_BYTES STEPS [DIE_AFTER_BYTES]\n";
    return 2;
  }
  Life life{std::strtoll(argv[5], nullptr, 10), std::nullopt};
  if (argc == 7) life.die_after_bytes = std::strtoull(argv[6], nullptr, 10);
  const Status status = run(argv, life);
  if (!status.ok()) std::cerr << "gpu_trainer: " << status.message() << std::endl;
  return status.ok() ? 0 : 1;
}
