// A training loop in C++ that survives SIGKILL: momentum descent on a fixed recurrence, snapshotted every few steps.
//   train <store> <steps> [snapshot every, 10]     prints "resumed <step>|none", "step <n>" …, "final <hash>"
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "stillframe/checkpointer.hpp"

namespace {

stillframe::Status train(const std::string& store, std::int64_t steps, std::int64_t every) {
  constexpr std::size_t kSize = 1 << 20;
  std::vector<float> weights(kSize);
  std::vector<float> momentum(kSize, 0.0F);
  for (std::size_t i = 0; i < kSize; ++i) weights[i] = static_cast<float>(i % 997) / 997.0F;

  stillframe::CheckpointerOptions options;
  options.store = store;
  SF_ASSIGN(auto checkpointer, stillframe::Checkpointer::open(options));
  SF_TRY(checkpointer.add("weights", stillframe::DType::f32, {kSize}, weights.data()));
  SF_TRY(checkpointer.add("momentum", stillframe::DType::f32, {kSize}, momentum.data()));
  SF_ASSIGN(const auto resumed, checkpointer.restore());
  std::cout << "resumed " << (resumed ? std::to_string(resumed->step) : "none") << std::endl;

  for (std::int64_t step = resumed ? resumed->step + 1 : 0; step < steps; ++step) {
    std::vector<float> gradient(kSize);
    for (std::size_t i = 0; i < kSize; ++i) gradient[i] = weights[i] - 0.5F * weights[(i * 31 + 7) % kSize];
    SF_TRY(checkpointer.fence());  // the update below changes what the last snapshot reads
    for (std::size_t i = 0; i < kSize; ++i) {
      momentum[i] = 0.9F * momentum[i] + gradient[i];
      weights[i] -= 0.01F * momentum[i] - 0.001F * static_cast<float>(step % 5);
    }
    const bool last = step + 1 == steps;  // waits for room; the others are skipped when the disk is behind
    if (last || (step + 1) % every == 0) SF_TRY(checkpointer.snapshot(step, last).status());
    std::cout << "step " << step << std::endl;
  }
  const std::string_view bytes(static_cast<const char*>(static_cast<const void*>(weights.data())),
                               kSize * sizeof(float));
  std::cout << "final " << std::hex << std::hash<std::string_view>{}(bytes) << std::endl;
  return checkpointer.close();
}

}  // namespace

int main(int argc, char** argv) {
  const std::int64_t steps = argc > 2 ? std::atoll(argv[2]) : 0;
  const std::int64_t every = argc > 3 ? std::atoll(argv[3]) : 10;
  if (steps < 1 || every < 1) {
    std::cerr << "usage: train <store> <steps> [snapshot every, 10]\n";
    return 2;
  }
  const stillframe::Status status = train(argv[1], steps, every);
  if (!status.ok()) std::cerr << "train: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
