// Measures on a GPU, or on the driver fake, and prints what it found as JSON.
//
//   gpu_figures facts                        name and driver; exit code 77 where there is no GPU
//   gpu_figures ceilings                     bandwidth of pinned copies to the host, to the device, and on it
//   gpu_figures copies --tensors 10000       bandwidth of whole snapshots, against that of one pinned copy in the same
//   run gpu_figures steps                        what a step with a snapshot lasts longer than one without, in turns
//
// Bandwidths count each byte once. A snapshot's time is from the call to its seal: captured.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gpu_rig.hpp"
#include "stillframe/checkpointer.hpp"

namespace stillframe::bench {
namespace {

using nlohmann::json;

constexpr int kNoGpu = 77;
constexpr std::uint64_t kTicketMs = 300'000;
constexpr int kWarmUps = 2;
constexpr std::size_t kPage = 4096;

struct Options {
  int device = 0;
  std::size_t megabytes = 1024;
  std::size_t tensors = 1;
  int rounds = 10;
  std::string store;
  std::uint64_t budget_bytes = 0;
  std::uint64_t persist_every = 0;  // steps; 0: every snapshot
  std::size_t work_kilobytes = 64 << 10;
  double fit = 1.5;  // forward and backward last so many times as long as the copy
  int steps = 10;

  [[nodiscard]] std::size_t bytes() const { return megabytes << 20; }
};

// Host memory that begins at a page, pinned.
class PinnedBuffer {
 public:
  [[nodiscard]] static Result<std::unique_ptr<PinnedBuffer>> make(device::Device& device, std::size_t bytes) {
    std::unique_ptr<PinnedBuffer> made(new PinnedBuffer(bytes));
    if (made->range_.data() == nullptr) return Status(Code::no_space, "no host memory for the pinned buffer");
    std::ranges::fill(made->range_, std::byte{1});
    SF_ASSIGN(made->pin_, device.pin(made->range_));
    return made;
  }
  ~PinnedBuffer() {
    pin_.reset();
    std::free(range_.data());
  }
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;

  [[nodiscard]] std::span<std::byte> range() const noexcept { return range_; }

 private:
  explicit PinnedBuffer(std::size_t bytes) {
    const std::size_t whole = (bytes + kPage - 1) / kPage * kPage;
    auto* const data = static_cast<std::byte*>(std::aligned_alloc(kPage, whole));
    range_ = {data, data == nullptr ? 0 : bytes};
  }

  std::span<std::byte> range_;
  std::unique_ptr<device::PinnedMemory> pin_;
};

// Pinned copies by a stream of ours, one at a time.
class Ceilings {
 public:
  [[nodiscard]] static Result<Ceilings> make(device::Device& device, std::size_t bytes) {
    Ceilings made;
    SF_ASSIGN(made.host_, PinnedBuffer::make(device, bytes));
    SF_ASSIGN(made.memory_, device.allocate(bytes));
    SF_ASSIGN(made.other_, device.allocate(bytes));
    SF_ASSIGN(made.stream_, device.create_stream("ceiling"));
    return made;
  }
  [[nodiscard]] Result<double> to_host() {
    return rate([this] { return stream_->copy_to_host(host_->range(), memory_->data(), patience()); });
  }
  [[nodiscard]] Result<double> to_device() {
    return rate([this] { return stream_->copy_to_device(memory_->data(), host_->range(), patience()); });
  }
  [[nodiscard]] Result<double> on_device() {
    return rate(
        [this] { return stream_->copy_on_device(other_->data(), memory_->data(), host_->range().size(), patience()); });
  }

 private:
  // Bytes per second of one copy, the host's wait for its end included.
  template <typename Copy>
  [[nodiscard]] Result<double> rate(Copy copy) {
    const Stopwatch watch;
    SF_TRY(copy());
    SF_ASSIGN(const auto event, stream_->record());
    SF_TRY(event->wait(patience()));
    return static_cast<double>(host_->range().size()) / watch.seconds();
  }

  // The stream ends before the memory that it copies goes.
  std::unique_ptr<PinnedBuffer> host_;
  std::unique_ptr<device::DeviceMemory> memory_;
  std::unique_ptr<device::DeviceMemory> other_;
  std::unique_ptr<device::Stream> stream_;
};

json facts(const GpuRig& rig) { return {{"gpu", rig.name()}, {"cuda_version", rig.cuda_version()}}; }

Result<json> ceilings(GpuRig& rig, const Options& options) {
  SF_ASSIGN(Ceilings copies, Ceilings::make(rig.device(), options.bytes()));
  json found = facts(rig);
  found["bytes"] = options.bytes();
  for (int round = -kWarmUps; round < options.rounds; ++round) {
    SF_ASSIGN(const double to_host, copies.to_host());
    SF_ASSIGN(const double to_device, copies.to_device());
    SF_ASSIGN(const double on_device, copies.on_device());
    if (round < 0) continue;
    found["to_host_bytes_per_s"].push_back(to_host);
    found["to_device_bytes_per_s"].push_back(to_device);
    found["on_device_bytes_per_s"].push_back(on_device);
  }
  return found;
}

Result<Checkpointer> checkpointer_of(const GpuRig& rig, const Options& options, const std::vector<Tensor>& state) {
  CheckpointerOptions wanted;
  wanted.store = options.store;
  wanted.budget_bytes = options.budget_bytes;
  wanted.persist_every_steps = options.persist_every;
  wanted.retention = Retention{};
  wanted.retention->keep_last = 1;
  SF_ASSIGN(Checkpointer checkpointer, Checkpointer::open(wanted));
  checkpointer.use_stream(options.device, rig.stream());
  for (const Tensor& one : state) {
    SF_TRY(checkpointer.add(one.name, DType::u8, {one.bytes}, one.data, options.device));
  }
  return checkpointer;
}

Result<json> copies(GpuRig& rig, const Options& options) {
  SF_ASSIGN(const std::vector<Tensor> state, rig.make_state(options.bytes(), options.tensors));
  const std::size_t bytes = state.size() * state.front().bytes;
  SF_ASSIGN(Ceilings ceiling, Ceilings::make(rig.device(), bytes));
  SF_ASSIGN(Checkpointer checkpointer, checkpointer_of(rig, options, state));
  json found = facts(rig);
  found["bytes"] = bytes;
  found["tensors"] = state.size();
  for (int round = -kWarmUps; round < options.rounds; ++round) {
    SF_ASSIGN(const double to_host, ceiling.to_host());
    SF_ASSIGN(const Ticket ticket, checkpointer.snapshot(round, /*wait=*/true));
    SF_TRY(checkpointer.fence());
    SF_TRY(ticket.wait_verified(kTicketMs));
    if (round < 0) continue;
    const TicketInfo info = ticket.info();
    found["to_host_bytes_per_s"].push_back(to_host);
    found["snapshot_bytes_per_s"].push_back(static_cast<double>(bytes) / info.captured_seconds);
    found["call_seconds"].push_back(info.call_seconds);
    found["fence_seconds"].push_back(info.fence_seconds);
  }
  SF_TRY(checkpointer.close(kTicketMs));
  return found;
}

// A training loop that looks at its loss once a step: the host waits for the device at the end of each.
class Loop {
 public:
  Loop(GpuRig& rig, Checkpointer& checkpointer, const std::vector<Tensor>& state, json& found)
      : rig_(rig), checkpointer_(checkpointer), state_(state), found_(found) {}

  [[nodiscard]] Status plain_step() {
    const Stopwatch watch;
    SF_TRY(rig_.work());
    SF_TRY(rig_.update(state_));
    SF_TRY(rig_.settle());
    found_["plain_seconds"].push_back(watch.seconds());
    return {};
  }
  // A snapshot of the state before, its copy beside the work, its fence before the update.
  [[nodiscard]] Status step_with_snapshot() {
    const Stopwatch watch;
    SF_ASSIGN(Ticket ticket, checkpointer_.snapshot(++number_));
    SF_TRY(rig_.work());
    SF_TRY(checkpointer_.fence());
    SF_TRY(rig_.update(state_));
    SF_TRY(rig_.settle());
    const double seconds = watch.seconds();
    const TicketInfo info = ticket.info();
    if (info.state == SnapshotState::skipped) {
      ++skipped_;
    } else {
      found_["with_snapshot_seconds"].push_back(seconds);
      found_["block_seconds"].push_back(info.call_seconds + info.fence_seconds);
    }
    found_["skipped"] = skipped_;
    last_ = std::move(ticket);
    return {};
  }
  // Nothing of the snapshots is left to be copied or written.
  [[nodiscard]] Status rest() {
    if (!last_ || last_->info().state == SnapshotState::skipped) return {};
    SF_TRY(last_->wait_captured(kTicketMs));
    return last_->info().persisted ? last_->wait_verified(kTicketMs) : Status();
  }

 private:
  GpuRig& rig_;
  Checkpointer& checkpointer_;
  const std::vector<Tensor>& state_;
  json& found_;
  std::int64_t number_ = 0;
  int skipped_ = 0;
  std::optional<Ticket> last_;
};

Result<json> steps(GpuRig& rig, const Options& options) {
  SF_ASSIGN(const std::vector<Tensor> state, rig.make_state(options.bytes(), options.tensors));
  const std::size_t bytes = state.size() * state.front().bytes;
  double copy_seconds = 0;
  {
    SF_ASSIGN(Ceilings ceiling, Ceilings::make(rig.device(), bytes));
    for (int i = 0; i <= kWarmUps; ++i) {
      SF_ASSIGN(const double rate, ceiling.to_host());
      copy_seconds = static_cast<double>(bytes) / rate;
    }
  }
  SF_TRY(rig.prepare_work(options.work_kilobytes << 10, options.fit * copy_seconds));
  SF_ASSIGN(Checkpointer checkpointer, checkpointer_of(rig, options, state));
  json warm_up;
  json found = facts(rig);
  found["bytes"] = bytes;
  found["tensors"] = state.size();
  found["copy_seconds"] = copy_seconds;
  Loop first(rig, checkpointer, state, warm_up);
  for (int i = 0; i < kWarmUps; ++i) {
    SF_TRY(first.step_with_snapshot());
    SF_TRY(first.plain_step());
  }
  SF_TRY(first.rest());
  Loop loop(rig, checkpointer, state, found);
  for (int turn = 0; turn < options.rounds; ++turn) {
    for (int i = 0; i < options.steps; ++i) SF_TRY(loop.plain_step());
    for (int i = 0; i < options.steps; ++i) SF_TRY(loop.step_with_snapshot());
    SF_TRY(loop.rest());
  }
  SF_TRY(checkpointer.close(kTicketMs));
  return found;
}

Result<json> facts_alone(GpuRig& rig, const Options& /*options*/) { return facts(rig); }

using Measurement = Result<json> (*)(GpuRig&, const Options&);

int run(Measurement measure, const Options& options) {
  const auto rig = GpuRig::open(options.device);
  if (!rig.ok()) {
    std::cerr << "gpu_figures: " << rig.status().message() << "\n";
    return rig.status().code() == Code::unavailable ? kNoGpu : 1;
  }
  const Result<json> found = measure(**rig, options);
  if (!found.ok()) {
    std::cerr << "gpu_figures: " << found.status().message() << "\n";
    return 1;
  }
  std::cout << found->dump(2) << "\n";
  return 0;
}

}  // namespace
}  // namespace stillframe::bench

int main(int argc, char** argv) {
  using namespace stillframe::bench;
  Options options;
  CLI::App app{"Measures on a GPU, or on the driver fake, and prints JSON."};
  app.require_subcommand(1);
  const auto command = [&](const char* name, const char* what) {
    CLI::App* const one = app.add_subcommand(name, what);
    one->add_option("--device", options.device, "ordinal of the GPU");
    return one;
  };
  const auto sized = [&](CLI::App* one) {
    one->add_option("--megabytes", options.megabytes, "MiB that are copied")->check(CLI::Range(1, 1 << 20));
    one->add_option("--rounds", options.rounds, "counted, after the warm-up")->check(CLI::Range(1, 10'000));
    return one;
  };
  const auto stored = [&](CLI::App* one) {
    one->add_option("--store", options.store, "directory of the checkpoints")->required();
    one->add_option("--tensors", options.tensors, "among which the bytes are divided")->check(CLI::Range(1, 1'000'000));
    one->add_option("--budget-bytes", options.budget_bytes, "of the arena; 0: the daemon's");
    return one;
  };
  const CLI::App* const asked_facts = command("facts", "name and driver");
  const CLI::App* const asked_ceilings = sized(command("ceilings", "bandwidth of pinned copies"));
  const CLI::App* const asked_copies = stored(sized(command("copies", "bandwidth of snapshots")));
  CLI::App* const asked_steps = stored(sized(command("steps", "steps with and without a snapshot")));
  asked_steps->add_option("--steps", options.steps, "in a turn, with and then without")->check(CLI::Range(1, 10'000));
  asked_steps->add_option("--persist-every", options.persist_every, "snapshots of so many steps go to the store; 0: all");
  asked_steps->add_option("--fit", options.fit, "forward and backward, in times of the copy")
      ->check(CLI::Range(0.1, 100.0));
  asked_steps->add_option("--work-kilobytes", options.work_kilobytes, "KiB of one copy of the work")
      ->check(CLI::Range(1, 1 << 20));
  CLI11_PARSE(app, argc, argv);
  if (asked_facts->parsed()) return run(facts_alone, options);
  if (asked_ceilings->parsed()) return run(ceilings, options);
  if (asked_copies->parsed()) return run(copies, options);
  return run(steps, options);
}
