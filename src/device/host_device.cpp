#include <new>
#include <utility>

#include "device/copy_crew.hpp"
#include "device/copy_entries.hpp"
#include "device/device.hpp"
#include "device/host_event.hpp"
#include "device/host_lists.hpp"
#include "device/host_stream.hpp"

namespace stillframe::device {
namespace {

// The caller is the stream: what it did so far is done.
class HostTrainingStream final : public TrainingStream {
 public:
  [[nodiscard]] Result<bool> capturing() const override { return false; }

  [[nodiscard]] Result<std::shared_ptr<Event>> record() override {
    auto event = std::make_shared<HostEvent>();
    event->reach();
    return std::shared_ptr<Event>(std::move(event));
  }

  [[nodiscard]] Status wait(const std::shared_ptr<Event>& event, const base::Deadline& deadline) override {
    SF_ASSIGN(const std::shared_ptr<HostEvent> host_event, as_host_event(event, "the training stream of the host"));
    return host_event->wait(deadline);
  }
};

class HostMemory final : public DeviceMemory {
 public:
  HostMemory(std::unique_ptr<std::byte[]> memory, std::size_t bytes) : memory_(std::move(memory)), bytes_(bytes) {}
  [[nodiscard]] void* data() const noexcept override { return memory_.get(); }
  [[nodiscard]] std::size_t bytes() const noexcept override { return bytes_; }

 private:
  const std::unique_ptr<std::byte[]> memory_;
  const std::size_t bytes_;
};

class HostPinnedMemory final : public PinnedMemory {};

class HostDevice final : public Device {
 public:
  explicit HostDevice(std::shared_ptr<CopyCrew> crew) : crew_(std::move(crew)) {}
  [[nodiscard]] std::string name() const override { return "host"; }

  [[nodiscard]] Result<std::unique_ptr<Stream>> create_stream(const std::string& stream_name) override {
    return start_host_stream(stream_name, crew_);
  }

  [[nodiscard]] Result<std::unique_ptr<TrainingStream>> training_stream(std::uintptr_t handle) override {
    if (handle != 0) {
      return Status(Code::invalid_argument, "the host device has one training stream, the caller, with handle 0; got " +
                                                std::to_string(handle));
    }
    return std::unique_ptr<TrainingStream>(std::make_unique<HostTrainingStream>());
  }

  [[nodiscard]] Result<std::unique_ptr<PinnedMemory>> pin(std::span<std::byte> /*range*/) override {
    return std::unique_ptr<PinnedMemory>(std::make_unique<HostPinnedMemory>());
  }

  [[nodiscard]] Result<std::unique_ptr<DeviceMemory>> allocate(std::size_t bytes) override {
    if (bytes == 0) return Status(Code::invalid_argument, "0 bytes of device memory were asked for");
    std::unique_ptr<std::byte[]> memory(new (std::nothrow) std::byte[bytes]);
    if (memory == nullptr) {
      return Status(Code::no_space, "the host has no " + std::to_string(bytes) + " bytes of memory left");
    }
    return std::unique_ptr<DeviceMemory>(std::make_unique<HostMemory>(std::move(memory), bytes));
  }

  [[nodiscard]] Result<std::unique_ptr<CopyList>> make_copy_list(std::size_t most_copies) override {
    SF_TRY(check_list_size(most_copies));
    return std::unique_ptr<CopyList>(std::make_unique<HostCopyList>(most_copies));
  }

  [[nodiscard]] Result<std::unique_ptr<Fingerprints>> make_fingerprints(std::size_t most_ranges) override {
    SF_TRY(check_list_size(most_ranges));
    return std::unique_ptr<Fingerprints>(std::make_unique<HostFingerprints>(most_ranges));
  }

 private:
  const std::shared_ptr<CopyCrew> crew_;
};

}  // namespace

std::unique_ptr<Device> make_host_device() { return make_host_device(CopyCrew::of_the_caller()); }

std::unique_ptr<Device> make_host_device(std::shared_ptr<CopyCrew> crew) {
  return std::make_unique<HostDevice>(std::move(crew));
}

}  // namespace stillframe::device
