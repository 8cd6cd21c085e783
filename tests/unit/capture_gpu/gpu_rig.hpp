// A trainer on the driver fake: kernels that set its tensors to the number of the step, on a stream of its own; and the
// copier, the arena and the daemon's eyes beside it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "unit/capture/capture_fixture.hpp"
#include "unit/device/cuda_fixture.hpp"

namespace stillframe::capture {

namespace cuda = device::cuda;
using device::Bytes;
using fake_cuda::CUfunction;
using fake_cuda::CUstream;

struct GpuTensor {
  std::uint64_t bytes = 0;
  bool guarded = true;
  std::int32_t device = 0;
};

class GpuCapture : public device::CudaTest {
 protected:
  static constexpr std::uint64_t kSlots = 8;

  void TearDown() override {
    stop();
    CudaTest::TearDown();
  }

  void start_training(fake_cuda::Config config, std::vector<GpuTensor> tensors, std::uint64_t slots = kSlots,
                      std::uint64_t fence_deadline_ms = 60'000,
                      const std::optional<fake_cuda::Injection>& failure = std::nullopt) {
    stop();
    start(std::move(config));
    if (failure) fake_cuda::inject(*failure);
    tensors_ = std::move(tensors);
    context_ = std::make_unique<device::TrainersContext>(user_, 0);
    load_kernel();
    std::vector<EntrySpec> specs;
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      specs.push_back({{"t" + std::to_string(i), DType::u8, {tensors_[i].bytes}, 0, 0}, tensors_[i].guarded, true,
                       tensors_[i].device});
      memory_.push_back(tensors_[i].device == kHost ? nullptr : allocate(tensors_[i].bytes));
      host_.emplace_back(tensors_[i].device == kHost ? tensors_[i].bytes : 0);
    }
    plan_ = taken(Plan::make(std::move(specs)));
    EXPECT_CU(user_.cuStreamCreate(&compute_, cuda::kStreamNonBlocking));
    arena_ = std::make_unique<arena::Arena>(Rig::make_arena(slots));
    daemon_ = std::make_unique<arena::DaemonSide>(*arena_);
    devices_ = std::make_unique<Devices>(device::make_host_device(),
                                         [this](std::int32_t ordinal) -> Result<std::unique_ptr<device::Device>> {
                                           return device::open_cuda_device(driver_, ordinal, options_);
                                         });
    copier_ = taken(Copier::start(*devices_, *arena_, 1 << 20, fence_deadline_ms, check_));
    expect_ok(copier_->prepare(*plan_));
    pinned_ = pin({arena_->chunk(0).data(), slots * kChunkBytes});
  }

  void stop() {
    copier_.reset();
    if (compute_ != nullptr && !lost_) expect_ok(taken(training(compute_)->record())->wait(soon()));
    devices_.reset();
    pinned_.reset();
    daemon_.reset();
    arena_.reset();
    memory_.clear();
    host_.clear();
    if (compute_ != nullptr && !lost_) {
      EXPECT_CU(user_.cuStreamDestroy(compute_));
      EXPECT_CU(user_.cuModuleUnload(module_));
    }
    compute_ = nullptr;
    module_ = nullptr;
    context_.reset();
  }

  // A kernel on the trainer's stream, behind what it was given; on the host at once.
  void set(std::size_t tensor, int value) {
    if (tensors_[tensor].device == kHost) {
      std::fill(host_[tensor].begin(), host_[tensor].end(), static_cast<std::byte>(value));
      return;
    }
    auto address = static_cast<cuda::CUdeviceptr>(reinterpret_cast<std::uintptr_t>(memory_[tensor]->data()));
    std::uint64_t bytes = tensors_[tensor].bytes;
    auto byte = static_cast<std::byte>(value);
    void* parameters[] = {&address, &bytes, &byte};
    EXPECT_CU(user_.cuLaunchKernel(fill_, 1, 1, 1, 1, 1, 1, 0, compute_, parameters, nullptr));
  }
  void set_all(bool guarded, int value) {
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      if (tensors_[i].guarded == guarded) set(i, value);
    }
  }

  [[nodiscard]] std::vector<StreamRef> streams() const { return {{0, reinterpret_cast<std::uintptr_t>(compute_)}}; }
  [[nodiscard]] Job job(std::int64_t step) const {
    Job job{plan_, {}, streams(), step, 1000 + step, Bytes(100, std::byte{0x5a}),
            std::make_shared<Progress>(step, plan_->layout.bytes)};
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      job.data.push_back(tensors_[i].device == kHost ? static_cast<const void*>(host_[i].data()) : memory_[i]->data());
    }
    return job;
  }
  struct Taken {
    arena::SnapshotHandle handle;
    std::shared_ptr<Progress> progress;
  };
  [[nodiscard]] Taken snapshot(std::int64_t step) {
    Job wanted = job(step);
    const std::shared_ptr<Progress> progress = wanted.progress;
    return {taken(copier_->submit(std::move(wanted), soon())), progress};
  }
  [[nodiscard]] Status fence() { return copier_->fence(soon(), streams()); }

  // How many tensors of the captured image are all of that value, ...
  [[nodiscard]] std::size_t tensors_that_are(const arena::SnapshotHandle& handle, int value) const {
    return tensors_that_are(handle, [value](std::size_t) { return value; });
  }
  // ... each of its own, by its place among those given.
  [[nodiscard]] std::size_t tensors_that_are(const arena::SnapshotHandle& handle,
                                             const std::function<int(std::size_t)>& value_of) const {
    const auto seen = daemon_->view(handle.record);
    EXPECT_TRUE(seen.has_value());
    Bytes image;
    for (std::uint64_t i = 0; seen && i < seen->image_chunks(); ++i) {
      const auto slot = daemon_->filled_slot(*seen, i);
      if (!slot) return 0;
      const auto chunk = daemon_->chunk(*slot).first(std::min(kChunkBytes, seen->image_bytes - i * kChunkBytes));
      image.insert(image.end(), chunk.begin(), chunk.end());
    }
    std::size_t right = 0;
    for (std::size_t i = 0; i < plan_->layout.entries.size(); ++i) {
      const Entry& entry = plan_->layout.entries[i];
      const int value = value_of(plan_->source_of_entry[i]);
      const auto begin = image.begin() + static_cast<std::ptrdiff_t>(entry.offset);
      const bool all = std::all_of(begin, begin + static_cast<std::ptrdiff_t>(entry.bytes),
                                   [value](std::byte byte) { return byte == static_cast<std::byte>(value); });
      if (all) ++right;
    }
    return right;
  }
  void give_back(const arena::SnapshotHandle& handle) {
    const auto seen = daemon_->view(handle.record);
    ASSERT_TRUE(seen.has_value());
    daemon_->release_all(*seen);
    daemon_->done(*seen);
    EXPECT_TRUE(copier_->trainer_side().recycle(handle));
  }

  device::CudaDeviceOptions options_{.drain_deadline_ms = kDrainMs, .kernel_image = device::stand_in_image()};
  CaptureCheck check_ = CaptureCheck::off;
  std::vector<GpuTensor> tensors_;
  std::unique_ptr<device::TrainersContext> context_;
  CUstream compute_ = nullptr;
  cuda::CUmodule module_ = nullptr;
  CUfunction fill_ = nullptr;
  std::vector<std::unique_ptr<device::DeviceMemory>> memory_;
  std::vector<Bytes> host_;
  std::shared_ptr<const Plan> plan_;
  std::unique_ptr<arena::Arena> arena_;
  std::unique_ptr<arena::DaemonSide> daemon_;
  std::unique_ptr<device::PinnedMemory> pinned_;
  std::unique_ptr<Devices> devices_;
  std::unique_ptr<Copier> copier_;
  bool lost_ = false;  // the device has failed for good: what was made on it goes with its context

 private:
  void load_kernel() {
    static const Bytes kImage(16, std::byte{0x47});
    fake_cuda::register_image(kImage);
    using cuda::CUdeviceptr;
    fake_cuda::register_kernel({"fill",
                                {sizeof(CUdeviceptr), sizeof(std::uint64_t), sizeof(std::byte)},
                                [](const fake_cuda::Launch& launch) {
                                  return std::vector<fake_cuda::Access>{
                                      {launch.argument<CUdeviceptr>(0), launch.argument<std::uint64_t>(1), true}};
                                },
                                [](const fake_cuda::Launch& launch) {
                                  std::memset(fake_cuda::backing(launch.argument<CUdeviceptr>(0)),
                                              std::to_integer<int>(launch.argument<std::byte>(2)),
                                              launch.argument<std::uint64_t>(1));
                                }});
    EXPECT_CU(user_.cuModuleLoadData(&module_, kImage.data()));
    EXPECT_CU(user_.cuModuleGetFunction(&fill_, module_, "fill"));
  }
};

}  // namespace stillframe::capture
