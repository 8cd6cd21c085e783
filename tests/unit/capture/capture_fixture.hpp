// An arena, a copier and a daemon's eyes; and a device whose copies go on only when a test lets them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "arena/daemon_side.hpp"
#include "base/thread.hpp"
#include "capture/copier.hpp"
#include "device/device.hpp"

namespace stillframe::capture {

[[nodiscard]] inline base::Deadline soon() { return base::Deadline::after_ms(60'000); }
[[nodiscard]] inline base::Deadline now() { return base::Deadline::after_ms(0); }

// Copies are made in the call, one per permission.
class GatedDevice final : public device::Device {
 public:
  void allow(std::uint64_t copies) {
    const std::lock_guard lock(mutex_);
    allowed_ += copies;
    changed_.notify_all();
  }
  void allow_all() { allow(1ULL << 40U); }
  // Until a copy waits for its permission.
  void wait_for_a_copy() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_; });
  }
  void fail_copies(const Status& status) {
    const std::lock_guard lock(mutex_);
    failure_ = status;
  }

  [[nodiscard]] std::string name() const override { return "gated"; }
  [[nodiscard]] Result<std::unique_ptr<device::Stream>> create_stream(const std::string&) override {
    return std::unique_ptr<device::Stream>(std::make_unique<GatedStream>(*this));
  }
  [[nodiscard]] Result<std::unique_ptr<device::TrainingStream>> training_stream(std::uintptr_t) override {
    return std::unique_ptr<device::TrainingStream>(std::make_unique<CallersStream>());
  }
  [[nodiscard]] Result<std::unique_ptr<device::PinnedMemory>> pin(std::span<std::byte>) override {
    return std::make_unique<device::PinnedMemory>();
  }
  [[nodiscard]] Result<std::unique_ptr<device::DeviceMemory>> allocate(std::size_t) override {
    return Status(Code::unsupported, "not needed by these tests");
  }

 private:
  class ReachedEvent final : public device::Event {
   public:
    [[nodiscard]] bool reached() const noexcept override { return true; }
    [[nodiscard]] Status wait(const base::Deadline&) const override { return {}; }
  };
  class CallersStream final : public device::TrainingStream {
   public:
    [[nodiscard]] Result<bool> capturing() const override { return false; }
    [[nodiscard]] Result<std::shared_ptr<device::Event>> record() override {
      return std::shared_ptr<device::Event>(std::make_shared<ReachedEvent>());
    }
    [[nodiscard]] Status wait(const std::shared_ptr<device::Event>&, const base::Deadline&) override { return {}; }
  };
  class GatedStream final : public device::Stream {
   public:
    explicit GatedStream(GatedDevice& device) : device_(&device) {}
    [[nodiscard]] Status copy_to_host(std::span<const device::HostCopy> copies, const base::Deadline& deadline) override {
      for (const device::HostCopy& copy : copies) SF_TRY(copy_to_host(copy.to, copy.from, deadline));
      return {};
    }
    [[nodiscard]] Status copy_on_device(void* to, const void* from, std::size_t bytes, const base::Deadline&) override {
      std::memcpy(to, from, bytes);
      return {};
    }
    [[nodiscard]] Status copy_to_host(std::span<std::byte> to, const void* from, const base::Deadline&) override {
      SF_TRY(device_->pass());
      std::memcpy(to.data(), from, to.size());
      return {};
    }
    [[nodiscard]] Status copy_to_device(void* to, std::span<const std::byte> from, const base::Deadline&) override {
      std::memcpy(to, from.data(), from.size());
      return {};
    }
    [[nodiscard]] Result<std::shared_ptr<device::Event>> record() override {
      return std::shared_ptr<device::Event>(std::make_shared<ReachedEvent>());
    }
    [[nodiscard]] Status wait(std::shared_ptr<device::Event>) override { return {}; }

   private:
    GatedDevice* device_;
  };
  Status pass() {
    std::unique_lock lock(mutex_);
    waiting_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return allowed_ > 0; });
    waiting_ = false;
    --allowed_;
    return failure_;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t allowed_ = 0;
  bool waiting_ = false;
  Status failure_;
};

// Tensors of bytes, with the plan that takes them.
struct State {
  std::vector<std::vector<std::byte>> tensors;
  std::shared_ptr<const Plan> plan;

  struct Tensor {
    std::uint64_t bytes = 0;
    bool guarded = true;
  };
  explicit State(const std::vector<Tensor>& shapes, unsigned seed = 1) {
    std::vector<EntrySpec> specs;
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      specs.push_back({{"t" + std::to_string(i), DType::u8, {shapes[i].bytes}, 0, 0}, shapes[i].guarded});
      tensors.emplace_back(shapes[i].bytes);
    }
    auto made = Plan::make(std::move(specs));
    EXPECT_TRUE(made.ok()) << made.status().message();
    plan = std::move(made).value();
    set(seed);
  }
  void set(std::size_t tensor, unsigned seed) {
    std::vector<std::byte>& bytes = tensors[tensor];
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<std::byte>((i * 31 + i / 1000 + (tensor + 1) * 7 + seed * 101) & 0xffU);
    }
  }
  void set(unsigned seed) {
    for (std::size_t i = 0; i < tensors.size(); ++i) set(i, seed);
  }
  [[nodiscard]] std::vector<std::byte> image() const {
    std::vector<std::byte> bytes;
    for (const std::size_t source : plan->source_of_entry) {
      bytes.insert(bytes.end(), tensors[source].begin(), tensors[source].end());
    }
    return bytes;
  }
  [[nodiscard]] Job job(std::int64_t step, std::size_t descriptor_bytes = 100) const {
    Job job{plan,
            {},
            {},
            step,
            1000 + step,
            std::vector<std::byte>(descriptor_bytes, std::byte{0x5a}),
            std::make_shared<Progress>(step, plan->layout.bytes)};
    for (const std::vector<std::byte>& tensor : tensors) job.data.push_back(tensor.data());
    return job;
  }
};

struct Rig {
  arena::Arena arena;
  Devices devices;
  std::unique_ptr<Copier> copier;
  arena::DaemonSide daemon;

  explicit Rig(std::uint64_t slots, std::unique_ptr<device::Device> with = device::make_host_device(),
               std::uint64_t scratch_bytes = 1 << 20, std::uint64_t fence_deadline_ms = 60'000,
               std::shared_ptr<device::CopyCrew> crew = device::CopyCrew::of_the_caller())
      : arena(make_arena(slots)),
        devices(std::move(with), [](std::int32_t) { return Status(Code::not_found, "no GPU"); }, std::move(crew)),
        daemon(arena) {
    auto started = Copier::start(devices, arena, scratch_bytes, fence_deadline_ms, CaptureCheck::sample);
    EXPECT_TRUE(started.ok()) << started.status().message();
    copier = std::move(started).value();
  }

  static arena::Arena make_arena(std::uint64_t slots) {
    auto made = arena::Arena::create(slots);
    EXPECT_TRUE(made.ok() && made->commit_slots(slots).ok());
    return std::move(made).value();
  }
  [[nodiscard]] arena::RecordView view(const arena::SnapshotHandle& handle) const {
    const auto seen = daemon.view(handle.record);
    EXPECT_TRUE(seen.has_value());
    return seen.value_or(arena::RecordView{});
  }
  // The image as the daemon reads it; empty when a chunk is missing.
  [[nodiscard]] std::vector<std::byte> image(const arena::SnapshotHandle& handle) const {
    const arena::RecordView seen = view(handle);
    std::vector<std::byte> bytes;
    for (std::uint64_t i = 0; i < seen.image_chunks(); ++i) {
      const auto slot = daemon.filled_slot(seen, i);
      if (!slot) return {};
      const auto chunk = daemon.chunk(*slot).first(std::min(kChunkBytes, seen.image_bytes - i * kChunkBytes));
      bytes.insert(bytes.end(), chunk.begin(), chunk.end());
    }
    return bytes;
  }
  // What the daemon does at the end of a snapshot.
  void give_back(const arena::SnapshotHandle& handle) {
    const arena::RecordView seen = view(handle);
    daemon.release_all(seen);
    daemon.done(seen);
    EXPECT_TRUE(copier->trainer_side().recycle(handle));
  }
};

}  // namespace stillframe::capture
