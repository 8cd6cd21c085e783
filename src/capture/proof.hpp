// The capture proof: of some snapshots the fingerprints of what stands on the GPUs are taken when the snapshot is, and
// compared with those of the bytes that arrived in the arena. What they find is a change that no fence held back and no
// version counter showed, and a copy that went wrong.
//
//   trainer's stream   … work …  (ready)                                    (waits for gathered)  … forward, backward …
//   gather stream                  waits for ready: fingerprints, gather → (gathered)
//   copy stream                    waits for gathered: fetches the fingerprints, chunk, chunk, chunk …
//   copier thread                  each chunk that has arrived: its fingerprints again, from the arena
//
// They are taken in the order of the trainer's stream, which waits: a change after the snapshot comes after them. Of
// what another stream changes at the same time they say nothing for sure.
//
// The cost of a checked snapshot: the trainer's streams stand while each GPU reads its part of the state once (bytes /
// memory bandwidth), and the copier thread reads it once from the arena before the snapshot is sealed. 32 bytes a piece
// of a tensor in a chunk, on the GPU and on the host.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "capture/plan.hpp"
#include "device/device.hpp"
#include "stillframe/checkpointer.hpp"

namespace stillframe::capture {

// So many snapshots are checked at first, and again from the one after a torn one on; ...
inline constexpr std::uint64_t kFirstChecked = 3;
// ... then one of so many.
inline constexpr std::uint64_t kSnapshotsPerCheck = 100;

// Of the snapshots counted from 0: since the beginning, or since a torn one.
[[nodiscard]] bool is_to_be_checked(CaptureCheck check, std::uint64_t snapshot) noexcept;

// Whether captures of what is on a GPU are checked.
struct CheckWay {
  std::string device;   // "cuda:0"
  std::string why_not;  // empty: they are
};

// One snapshot at a time: prepare(), begin() and take() from the training thread, the rest from the copier's.
class CaptureProof {
 public:
  explicit CaptureProof(CaptureCheck check) : check_(check) {}

  // Makes what the plan needs on that GPU. What keeps it from being made is no error but for the loss of the device:
  // the snapshots are then taken unchecked, it is logged, and ways() says why. While nothing is being copied.
  [[nodiscard]] Status prepare(const Plan& plan, std::int32_t gpu, device::Device& device);
  [[nodiscard]] bool wants(std::int32_t gpu) const noexcept;  // take() has something to do there in some snapshot

  // The next snapshot.
  void begin(const Plan& plan);
  [[nodiscard]] bool takes(std::int32_t gpu) const noexcept;  // of this snapshot
  // On the stream that the trainer's waits for, before anything else of the snapshot.
  [[nodiscard]] Status take(const Plan& plan, std::int32_t gpu, std::span<const void* const> data,
                            device::Stream& stream, const base::Deadline& deadline);
  // Before the chunks, on the stream that copies them.
  [[nodiscard]] Status fetch(std::int32_t gpu, device::Stream& stream, const base::Deadline& deadline);
  // A chunk that has arrived, and is not with the daemon yet.
  void compare(const Plan& plan, std::uint64_t chunk, std::span<const std::byte> memory);

  // Of all chunks so far: the sources of which a byte is not what it was, ...
  [[nodiscard]] const std::set<std::size_t>& torn() const noexcept { return torn_; }
  // ... and whether every byte that comes from a GPU is compared.
  [[nodiscard]] bool is_checking() const noexcept { return checks_all_; }
  // The snapshots after this one are checked as the first ones were.
  void start_over() noexcept { snapshot_ = 0; }

  // Of the GPUs that prepare() has seen.
  [[nodiscard]] std::vector<CheckWay> ways() const;

 private:
  struct OneGpu {
    std::string name;
    std::unique_ptr<device::Fingerprints> prints;  // null: not checked, and why_not says why
    std::vector<std::unique_ptr<device::Fingerprints>> outgrown;  // as in CopyStreams::OneDevice
    std::optional<std::string> why_not;
    bool taken = false;  // of this snapshot
  };
  const CaptureCheck check_;
  std::map<std::int32_t, OneGpu> gpus_;
  std::uint64_t snapshot_ = 0;
  bool checks_all_ = false;
  std::set<std::size_t> torn_;
};

// "'a', 'b' and 3 more": the names of those sources.
[[nodiscard]] std::vector<std::string> names_of(const Plan& plan, const std::set<std::size_t>& sources);
[[nodiscard]] std::string describe_torn(std::span<const std::string> names);

}  // namespace stillframe::capture
