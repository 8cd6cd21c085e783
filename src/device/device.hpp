// THE gpu door: devices, streams, events and pinned memory. HostDevice is the device of a machine without a GPU; CUDA stands
// behind the same interface. Every implementation passes tests/contract/device_contract.hpp.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "base/clock.hpp"
#include "stillframe/status.hpp"

namespace stillframe::device {

// A point in a stream's work. Thread-safe.
class Event {
 public:
  virtual ~Event() = default;
  [[nodiscard]] virtual bool reached() const noexcept = 0;
  // The host waits. deadline when not in time; the stream's error when a piece of work before the event failed.
  [[nodiscard]] virtual Status wait(const base::Deadline& deadline) const = 0;
};

// Work in the order given, asynchronous to the caller. Thread-safe. Destroyed: what was given is finished first.
class Stream {
 public:
  virtual ~Stream() = default;
  // Returns when the copy is queued; the queue has a bound, and a full one is waited for (deadline). Both ranges stay
  // valid until an event recorded after the call is reached.
  [[nodiscard]] virtual Status copy_to_host(std::span<std::byte> to, const void* from, const base::Deadline& deadline) = 0;
  [[nodiscard]] virtual Status copy_to_device(void* to, std::span<const std::byte> from,
                                              const base::Deadline& deadline) = 0;
  // Reached when all work given so far is done.
  [[nodiscard]] virtual Result<std::shared_ptr<Event>> record() = 0;
  // Work given from now on runs after `event` (of any stream of this device). The host does not wait.
  [[nodiscard]] virtual Status wait(std::shared_ptr<Event> event) = 0;
};

// Host memory made fit for asynchronous copies; let go when destroyed.
class PinnedMemory {
 public:
  virtual ~PinnedMemory() = default;
};

class Device {
 public:
  virtual ~Device() = default;
  [[nodiscard]] virtual std::string name() const = 0;  // "host", "cuda:0"
  [[nodiscard]] virtual Result<std::unique_ptr<Stream>> create_stream(const std::string& name) = 0;
  // The range must outlive the handle.
  [[nodiscard]] virtual Result<std::unique_ptr<PinnedMemory>> pin(std::span<std::byte> range) = 0;
};

// "Device memory" is host memory; each stream is one native copy thread. Pinning is a no-op that succeeds.
[[nodiscard]] std::unique_ptr<Device> make_host_device();

}  // namespace stillframe::device
