// The copy streams of one trainer, one for each device that its state lives on: what a snapshot gives to them, and how
// the trainer's own streams are put in order with them.
//
//   trainer's stream   … work …  (ready)             (waits for gathered)  … forward, backward …  fence: waits for copied
//   gather stream                  waits for ready: gather → (gathered)
//   copy stream                    waits for gathered: chunk, chunk, chunk …  (copied)
//
// An event in brackets is recorded before anything waits for it: a wait for one that is recorded later covers nothing.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/clock.hpp"
#include "capture/devices.hpp"
#include "capture/plan.hpp"

namespace stillframe::capture {

struct DeviceEvent {
  std::int32_t device = kHost;
  std::shared_ptr<device::Event> event;
};

class CopyStreams {
 public:
  explicit CopyStreams(Devices& devices) : devices_(&devices) {}

  // Opens what the plan needs: its devices, a copy stream on each, and on each GPU a scratch for what no fence guards.
  // no_space, with the figures, when that is more than `gpu_scratch_limit_bytes` on one of them. Training thread, while
  // nothing is being copied.
  [[nodiscard]] Status prepare(const Plan& plan, std::uint64_t gpu_scratch_limit_bytes);

  // The copies given from now on read what the trainer's streams have written so far. What lives on a GPU and no fence
  // guards is gathered into the scratch, before the trainer's stream goes on, and `data` then points there. The host
  // does not wait. busy while a graph is being captured from one of the streams: nothing was issued. Training thread.
  [[nodiscard]] Status begin(const Plan& plan, std::span<const StreamRef> trainers, std::vector<const void*>& data,
                             const base::Deadline& deadline);

  // Gives the copies of `pieces` into the chunk at `memory`; the events behind them, at most one for each device. After
  // an error some may have been given: what record_all() returns is behind them. Copier thread.
  [[nodiscard]] Result<std::vector<std::shared_ptr<device::Event>>> copy(const Plan& plan, std::span<const Piece> pieces,
                                                                         std::span<const void* const> data,
                                                                         std::span<std::byte> memory,
                                                                         const base::Deadline& deadline);
  // Behind everything given so far, on every device of the plan. Copier thread.
  [[nodiscard]] Result<std::vector<DeviceEvent>> record_all(const Plan& plan);

  // Waits until nothing given so far runs any more, on each device for itself; the events behind what did not end by the
  // deadline (null where not even that is known). Copier thread.
  [[nodiscard]] std::vector<DeviceEvent> wait_quiet(const Plan& plan, const base::Deadline& deadline);
  // What wait_quiet() had to leave has ended since.
  [[nodiscard]] bool has_ended(const DeviceEvent& one) const;

  // The trainer's streams wait for `copied`; the host only for those of the host device, until the deadline. busy while a
  // graph is being captured: nothing was issued. Training thread.
  [[nodiscard]] Status hold_back(std::span<const DeviceEvent> copied, std::span<const StreamRef> trainers,
                                 const base::Deadline& deadline);

 private:
  struct OneDevice {
    device::Device* device = nullptr;
    std::unique_ptr<device::DeviceMemory> scratch;   // let go after the streams whose work is on it
    std::unique_ptr<device::Stream> copies;
    std::unique_ptr<device::Stream> gather;          // GPUs with something to gather
  };
  [[nodiscard]] Result<std::unique_ptr<device::TrainingStream>> trainers_stream(
      std::int32_t device, std::span<const StreamRef> trainers) const;
  [[nodiscard]] Status make_scratch(OneDevice& one, std::uint64_t bytes);
  [[nodiscard]] static Status gather(OneDevice& one, const Plan& plan, std::int32_t device, std::vector<const void*>& data,
                                     const base::Deadline& deadline);

  Devices* devices_;
  std::map<std::int32_t, OneDevice> by_device_;  // changed by prepare() only
  std::map<std::int32_t, std::vector<device::HostCopy>> batches_;  // of one chunk; kept for their memory
};

}  // namespace stillframe::capture
