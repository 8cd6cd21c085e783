// The copy streams of one trainer, one for each device that its state lives on: what a snapshot gives to them, and how
// the trainer's own streams are put in order with them.
//
//   trainer's stream   … work …  (ready)             (waits for gathered)  … forward, backward …  fence: waits for copied
//   gather stream                  waits for ready: gather → (gathered)
//   copy stream                    waits for gathered: chunk, chunk, chunk …  (copied)
//
// Where the device has the gather kernel, one launch takes all that no fence guards into the scratch, and one launch for each
// bundle of small tensors takes these into the staging memory, from where they go to the host as one copy. Where it has not,
// each tensor is a copy of its own; which of both holds is logged once for each device and told by gather_ways().
//
// Of some snapshots the gather stream first takes the fingerprints of all that is there (proof.hpp).
//
// An event in brackets is recorded before anything waits for it: a wait for one that is recorded later covers nothing.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "capture/devices.hpp"
#include "capture/plan.hpp"
#include "capture/proof.hpp"

namespace stillframe::capture {

struct DeviceEvent {
  std::int32_t device = kHost;
  std::shared_ptr<device::Event> event;
};

// How tensors are gathered on a GPU.
struct GatherWay {
  std::string device;  // "cuda:0"
  std::string why_plain;  // empty: by the kernel; else each with a copy of its own, and why
};

class CopyStreams {
 public:
  CopyStreams(Devices& devices, CaptureCheck check) : devices_(&devices), proof_(check) {}

  // Opens what the plan needs: its devices, a copy stream on each, and on each GPU a scratch for what no fence guards.
  // no_space, with the figures, when that is more than `gpu_scratch_limit_bytes` on one of them. Training thread, while
  // nothing is being copied.
  [[nodiscard]] Status prepare(const Plan& plan, std::uint64_t gpu_scratch_limit_bytes);

  // busy while a graph is being captured from one of the trainer's streams: nothing can be issued before the capture ends.
  [[nodiscard]] Status refuse_in_capture(const Plan& plan, std::span<const StreamRef> trainers) const;
  // The copies given from now on read what the trainer's streams have written so far. What lives on a GPU and no fence
  // guards is gathered into the scratch, before the trainer's stream goes on, and `data` then points there. The host
  // does not wait. As refuse_in_capture(): nothing was issued then. Training thread.
  [[nodiscard]] Status begin(const Plan& plan, std::span<const StreamRef> trainers, std::vector<const void*>& data,
                             const base::Deadline& deadline);

  // Before the first chunk of a snapshot: lists its bundled pieces for the devices that have the kernel, and fetches the
  // fingerprints. Copier thread.
  [[nodiscard]] Status open_copies(const Plan& plan, std::span<const void* const> data, const base::Deadline& deadline);
  // Gives the copies of that chunk into `memory`; the events behind them, at most one for each device. After an error some
  // may have been given: what record_all() returns is behind them. Copier thread.
  [[nodiscard]] Result<std::vector<std::shared_ptr<device::Event>>> copy(const Plan& plan, std::uint64_t chunk,
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

  // The trainer's streams wait for `copied`; the host only for those of the host device, until the deadline. busy when
  // a graph is being captured from one of them: it was given nothing, and every other one waits. Training thread.
  [[nodiscard]] Status hold_back(std::span<const DeviceEvent> copied, std::span<const StreamRef> trainers,
                                 const base::Deadline& deadline);

  // What has been compared so far, and compares the next; copier thread. Its ways(): not during prepare().
  [[nodiscard]] CaptureProof& proof() noexcept { return proof_; }
  [[nodiscard]] const CaptureProof& proof() const noexcept { return proof_; }

  // Of the GPUs that have had anything to gather. Not during prepare().
  [[nodiscard]] std::vector<GatherWay> gather_ways() const;

 private:
  struct OneDevice {
    device::Device* device = nullptr;
    // Memory and lists are let go after the streams whose work is on them.
    std::unique_ptr<device::DeviceMemory> scratch;
    std::unique_ptr<device::DeviceMemory> staging;  // one chunk; with bundles and the kernel
    std::unique_ptr<device::CopyList> gathered;     // for `gather`; null: plain copies
    std::unique_ptr<device::CopyList> bundled;      // for `copies`; null: plain copies
    // A driver may wait for all work of the device before it frees memory: not while the training runs. Each is made twice as
    // large as the one before, or more, so together they are smaller than the one in use.
    std::vector<std::unique_ptr<device::DeviceMemory>> outgrown_memory;
    std::vector<std::unique_ptr<device::CopyList>> outgrown_lists;
    std::unique_ptr<device::Stream> copies;
    std::unique_ptr<device::Stream> gather;         // GPUs with something to gather or to check
    std::optional<std::string> why_plain;           // empty text: by the kernel; unset: there was nothing to gather yet
  };
  [[nodiscard]] Result<std::unique_ptr<device::TrainingStream>> trainers_stream(
      std::int32_t device, std::span<const StreamRef> trainers) const;
  [[nodiscard]] static Status make_scratch(OneDevice& one, std::uint64_t bytes, std::uint64_t limit_bytes);
  [[nodiscard]] Status list_bundles(const Plan& plan, std::span<const void* const> data, const base::Deadline& deadline);
  [[nodiscard]] static Status make_lists(OneDevice& one, std::size_t gathered_sources, std::size_t bundled_pieces);
  [[nodiscard]] static Status gather(OneDevice& one, const Plan& plan, std::int32_t device, std::vector<const void*>& data,
                                     const base::Deadline& deadline);
  // Into batches_; marks the pieces of the chunk that go with one.
  [[nodiscard]] Status give_bundles(const Plan& plan, std::uint64_t chunk, std::span<std::byte> memory,
                                    std::vector<bool>& given, const base::Deadline& deadline);

  Devices* devices_;
  CaptureProof proof_;  // let go after the streams whose work is on it
  std::map<std::int32_t, OneDevice> by_device_;  // changed by prepare() only
  std::map<std::int32_t, std::vector<device::HostCopy>> batches_;  // of one chunk; kept for their memory
};

}  // namespace stillframe::capture
