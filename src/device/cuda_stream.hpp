// A copy stream of ours on a CUDA device.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "device/cuda_event.hpp"
#include "device/device.hpp"

namespace stillframe::device::cuda {

class ListMemory;

// Copies given to a stream and not known to be done, counted by events: the driver has no bound that it could be asked
// for. Not thread-safe.
class UnderWay {
 public:
  static constexpr std::size_t kMostCopies = 16'384;
  // With an event at least this often, room is found without waiting for everything.
  static constexpr std::size_t kMostCopiesPerEvent = 1'024;

  [[nodiscard]] bool has_room(std::size_t copies) const noexcept { return copies_ + copies <= kMostCopies; }
  [[nodiscard]] bool wants_event() const noexcept { return without_event_ >= kMostCopiesPerEvent; }
  void add(std::size_t copies) noexcept;
  // `event` comes after all that was added before.
  void mark(std::shared_ptr<const CudaEvent> event);
  // Forgets the copies before events that are reached.
  void retire();

 private:
  struct Mark {
    std::shared_ptr<const CudaEvent> event;
    std::size_t copies;
  };
  std::deque<Mark> marks_;
  std::size_t copies_ = 0;
  std::size_t without_event_ = 0;
};

// One non-blocking stream of the driver: work on the default streams neither waits for it nor holds it back.
class CudaStream final : public Stream {
 public:
  // Destruction waits up to `drain_deadline_ms` for the work given.
  [[nodiscard]] static Result<std::unique_ptr<Stream>> create(std::shared_ptr<Context> context, const std::string& name,
                                                              std::uint64_t drain_deadline_ms);
  ~CudaStream() override;
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;

  [[nodiscard]] Status copy_to_host(std::span<std::byte> to, const void* from, const base::Deadline& deadline) override;
  [[nodiscard]] Status copy_to_host(std::span<const HostCopy> copies, const base::Deadline& deadline) override;
  [[nodiscard]] Status copy_to_device(void* to, std::span<const std::byte> from,
                                      const base::Deadline& deadline) override;
  [[nodiscard]] Status copy_on_device(void* to, const void* from, std::size_t bytes,
                                      const base::Deadline& deadline) override;
  [[nodiscard]] Status write_list(CopyList& list, std::span<const DeviceCopy> copies,
                                  const base::Deadline& deadline) override;
  [[nodiscard]] Status perform(CopyList& list, std::size_t first, std::size_t count,
                               const base::Deadline& deadline) override;
  [[nodiscard]] Status take_fingerprints(Fingerprints& prints, std::span<const DeviceRange> ranges,
                                         const base::Deadline& deadline) override;
  [[nodiscard]] Status fetch_fingerprints(Fingerprints& prints, const base::Deadline& deadline) override;
  [[nodiscard]] Result<std::shared_ptr<Event>> record() override;
  [[nodiscard]] Status wait(std::shared_ptr<Event> event) override;

 private:
  static constexpr std::size_t kMostCopiesPerCall = UnderWay::kMostCopiesPerEvent;
  // As the driver takes it.
  struct Batch {
    std::array<CUdeviceptr, kMostCopiesPerCall> to;
    std::array<CUdeviceptr, kMostCopiesPerCall> from;
    std::array<std::size_t, kMostCopiesPerCall> bytes;
  };

  CudaStream(std::shared_ptr<Context> context, StreamHandle handle, std::shared_ptr<const std::string> where,
             std::uint64_t drain_deadline_ms);

  Status drain();
  // An event behind what was sent or fetched of it.
  Status follow(ListMemory& memory);
  // The transfer, once there is room, and an event behind it.
  template <typename Call>
  Status transfer(ListMemory& memory, std::string_view what, const base::Deadline& deadline, const Call& call);
  // Calls `give`, under the lock, once there is room for so many copies.
  template <typename Give>
  Status when_room(std::size_t copies, const base::Deadline& deadline, const Give& give);
  // The rest: under the lock.
  Status make_room(std::size_t copies);
  Status give_all(std::span<const HostCopy> copies);
  CUresult give_batch(std::span<const HostCopy> copies);
  Result<std::shared_ptr<CudaEvent>> record_event();

  const std::shared_ptr<Context> context_;
  const StreamHandle handle_;
  const std::shared_ptr<const std::string> where_;  // "stream 'sf-copy' of cuda:0"
  const std::uint64_t drain_deadline_ms_;
  std::mutex mutex_;
  UnderWay under_way_;
  Batch batch_;
  bool takes_batches_;
};

}  // namespace stillframe::device::cuda
