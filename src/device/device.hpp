// THE gpu door: devices, streams, events and pinned memory. HostDevice is the device of a machine without a GPU; CUDA stands
// behind the same interface. Every implementation passes tests/contract/device_contract.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
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

// One copy from device memory: as many bytes as `to` has.
struct HostCopy {
  std::span<std::byte> to;
  const void* from = nullptr;
};

// One copy between two ranges of one device.
struct DeviceCopy {
  void* to = nullptr;
  const void* from = nullptr;
  std::size_t bytes = 0;
};

// Many copies between ranges of one device, listed where its kernel finds them, so that any run of them is one launch. Of a
// fixed size; for one stream and one thread at a time. Destroyed after the work on it has ended.
class CopyList {
 public:
  virtual ~CopyList() = default;
  [[nodiscard]] virtual std::size_t most_copies() const noexcept = 0;
};

// A range of device memory.
struct DeviceRange {
  const void* from = nullptr;
  std::size_t bytes = 0;
};

// The fingerprints of many ranges of one device (cuda/fingerprint_body.hpp says what they are and find), taken where the
// bytes are, in one launch on a GPU. Of a fixed size; for one thread at a time. Destroyed after the work on it has ended.
class Fingerprints {
 public:
  virtual ~Fingerprints() = default;
  [[nodiscard]] virtual std::size_t most_ranges() const noexcept = 0;
  // Of the ranges given last, in their order: once an event that was recorded behind fetch_fingerprints() is reached.
  [[nodiscard]] virtual std::uint64_t value(std::size_t index) const noexcept = 0;
};

// The fingerprint of bytes in host memory, computed here and now: some seconds for ten gigabytes.
[[nodiscard]] std::uint64_t fingerprint_of(std::span<const std::byte> bytes) noexcept;

// A copy stream of ours: work in the order given, asynchronous to the caller. Thread-safe. Destroyed: what was given is
// finished first, or, where the device no longer answers, given up (cuda_device.hpp); who must know waits for an event first.
class Stream {
 public:
  virtual ~Stream() = default;
  // Returns when the copy is queued; the queue has a bound, and a full one is waited for (deadline). Both ranges stay
  // valid until an event recorded after the call is reached.
  [[nodiscard]] virtual Status copy_to_host(std::span<std::byte> to, const void* from, const base::Deadline& deadline) = 0;
  // The same for several copies, whose order among themselves is open: one call of the driver where it has one. After an
  // error some may have been queued.
  [[nodiscard]] virtual Status copy_to_host(std::span<const HostCopy> copies, const base::Deadline& deadline) = 0;
  [[nodiscard]] virtual Status copy_to_device(void* to, std::span<const std::byte> from,
                                              const base::Deadline& deadline) = 0;
  // Between two ranges of this device.
  [[nodiscard]] virtual Status copy_on_device(void* to, const void* from, std::size_t bytes,
                                              const base::Deadline& deadline) = 0;
  // `list` holds `copies`, in their order, for what this stream is given from now on. Waits until what was written before
  // has reached the device (deadline). invalid_argument: too many, a null address, or a list of another device.
  [[nodiscard]] virtual Status write_list(CopyList& list, std::span<const DeviceCopy> copies,
                                          const base::Deadline& deadline) {
    return no_lists(list, copies.size(), deadline);
  }
  // Performs those from `first` on, `count` of them, in any order among themselves: in one launch on a GPU. All ranges stay
  // valid until an event recorded after the call is reached; no target overlaps another range of the call. A full queue is
  // waited for, as for a copy. invalid_argument: the list as it was last written does not hold so many.
  [[nodiscard]] virtual Status perform(CopyList& list, std::size_t first, std::size_t count,
                                       const base::Deadline& deadline) {
    return no_lists(list, first + count, deadline);
  }
  // Takes the fingerprints of `ranges`, as their bytes stand at this place in the stream's work; they stay valid until an
  // event recorded after the call is reached. Waits until what `prints` was given before has been fetched (deadline), and
  // for room as a copy does. invalid_argument: too many, a null address, or fingerprints of another device.
  [[nodiscard]] virtual Status take_fingerprints(Fingerprints& prints, std::span<const DeviceRange> ranges,
                                                 const base::Deadline& deadline) {
    return no_lists(prints, ranges.size(), deadline);
  }
  // Brings the values to the host. On this or another stream of the device that waits for the one that takes them.
  [[nodiscard]] virtual Status fetch_fingerprints(Fingerprints& prints, const base::Deadline& deadline) {
    return no_lists(prints, 0, deadline);
  }
  // Reached when all work given so far is done.
  [[nodiscard]] virtual Result<std::shared_ptr<Event>> record() = 0;
  // Work given from now on runs after `event`, of any stream of a device of this kind, in this process: invalid_argument
  // for another. The host does not wait.
  [[nodiscard]] virtual Status wait(std::shared_ptr<Event> event) = 0;

 private:
  template <typename List>
  static Status no_lists(const List& /*list*/, std::size_t /*ranges*/, const base::Deadline& /*deadline*/) {
    return {Code::invalid_argument, "a stream of a device that works on no lists was given one"};
  }
};

// A stream of the trainer's, on which it computes. Never created, replaced, destroyed or synchronised by us: an event is
// recorded on it and it waits for one, and its thread's current context is as it was after every call. For the thread that
// owns the stream.
class TrainingStream {
 public:
  virtual ~TrainingStream() = default;
  // True while a graph is being captured from the stream: record() and wait() then issue nothing (busy).
  [[nodiscard]] virtual Result<bool> capturing() const = 0;
  // Reached when all work given to the stream so far is done. On the host device the caller is the stream: reached at once.
  [[nodiscard]] virtual Result<std::shared_ptr<Event>> record() = 0;
  // Work given to the stream from now on runs after `event`, which must have been recorded before (a wait for an event that
  // is recorded later covers nothing). On a GPU the host does not wait; on the host device the caller does, until the deadline.
  [[nodiscard]] virtual Status wait(const std::shared_ptr<Event>& event, const base::Deadline& deadline) = 0;
};

// Memory of the device, let go when destroyed; work on it must have ended.
class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;
  [[nodiscard]] virtual void* data() const noexcept = 0;  // not for the host to touch
  [[nodiscard]] virtual std::size_t bytes() const noexcept = 0;
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
  // A fault has ended the device for this process: nothing runs on it any more, and every call fails.
  [[nodiscard]] virtual bool lost() const noexcept { return false; }
  [[nodiscard]] virtual Result<std::unique_ptr<Stream>> create_stream(const std::string& name) = 0;
  // `handle`: a CUstream as an integer, 0 for the legacy default stream, 2 for the thread's own; on the host device 0.
  [[nodiscard]] virtual Result<std::unique_ptr<TrainingStream>> training_stream(std::uintptr_t handle) = 0;
  // The range must outlive the handle, and no part of it may be pinned already (invalid_argument on a GPU). no_space when the system refuses to lock so much: copies then work all the same,
  // slower and less asynchronously; the message says how to raise the limit.
  [[nodiscard]] virtual Result<std::unique_ptr<PinnedMemory>> pin(std::span<std::byte> range) = 0;
  // invalid_argument for 0 bytes, no_space when the device has not so much left.
  [[nodiscard]] virtual Result<std::unique_ptr<DeviceMemory>> allocate(std::size_t bytes) = 0;
  // Room for so many copies: invalid_argument for 0 or more than kMostListedCopies, no_space when there is no memory for it.
  // unsupported, with the reason, when nothing here performs a list: the caller then gives the copies one by one.
  [[nodiscard]] virtual Result<std::unique_ptr<CopyList>> make_copy_list(std::size_t /*most_copies*/) {
    return Status(Code::unsupported, name() + " has no lists of copies");
  }
  // Room for the fingerprints of so many ranges, with the errors of make_copy_list(). unsupported: they cannot be taken here.
  [[nodiscard]] virtual Result<std::unique_ptr<Fingerprints>> make_fingerprints(std::size_t /*most_ranges*/) {
    return Status(Code::unsupported, name() + " takes no fingerprints");
  }
};
// 32 bytes each, in host memory and in that of the device.
inline constexpr std::size_t kMostListedCopies = std::size_t{1} << 20;

class CopyCrew;
// "Device memory" is host memory; each stream is one native copy thread, with the helpers of the crew beside it (copy_crew.hpp).
// Pinning is a no-op that succeeds.
[[nodiscard]] std::unique_ptr<Device> make_host_device(std::shared_ptr<CopyCrew> crew);
// Without helpers.
[[nodiscard]] std::unique_ptr<Device> make_host_device();

}  // namespace stillframe::device
