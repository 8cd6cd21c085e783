// The C++ API: a training loop in C++ that snapshots and restores. The same core stands behind the C ABI (stillframe.h)
// and the Python package.
//
//   auto checkpointer = stillframe::Checkpointer::open({.store = "runs/gpt"}).value();
//   checkpointer.add("weights", stillframe::DType::f32, {rows, columns}, weights.data());
//   auto resumed = checkpointer.restore().value();              // nullopt when the store is empty
//   for (int64_t step = resumed ? resumed->step + 1 : 0; step < steps; ++step) {
//     …                                                         // compute gradients
//     checkpointer.fence().ignore("counted by the ticket");     // before the update in place
//     …                                                         // update
//     auto ticket = checkpointer.snapshot(step).value();
//   }
//   checkpointer.close().ignore("…");
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "stillframe/export.hpp"
#include "stillframe/retention.hpp"
#include "stillframe/status.hpp"
#include "stillframe/types.hpp"

namespace stillframe {

// `latest`: captured snapshots that the daemon has not begun to write give way, the oldest first. When the only one gives way, a
// crash of the trainer leaves the one being written until the new one is captured. Values as sf_overrun.
enum class Overrun : std::int32_t { skip, wait, latest };

// Which snapshots of what is on a GPU are checked: the fingerprint of every tensor is taken there when the snapshot is, and
// compared with that of the bytes captured. One that differs is torn: never sealed, and told (alarm missed_fence). The trainer's
// streams stand meanwhile while the GPU reads the state once. `sample`: the first three and one of each hundred; `first`: the
// first three. Values as sf_capture_check.
enum class CaptureCheck : std::int32_t { sample, first, off };

struct CheckpointerOptions {
  std::string store;               // directory; made when missing
  std::string run = "main";
  std::string group = "default";
  // As torchrun and mpirun tell it to the program: nothing is read from the environment here.
  std::uint32_t rank = 0;
  std::uint32_t world_size = 1;
  std::optional<Retention> retention;  // of this run; nullopt: the daemon's configuration stands
  // What happens to a snapshot for which there is no room, since earlier ones are still being copied or written.
  Overrun overrun = Overrun::skip;
  // How often this run is ended by a failure; 0: not known. Status then suggests how often to snapshot.
  double mean_time_between_failures_seconds = 0;
  CaptureCheck capture_check = CaptureCheck::sample;
  std::string socket;              // empty: a daemon is started for this user and store when none is there
  std::string daemon_path;         // empty: beside this library, then on PATH
  std::string daemon_config;       // TOML for a started daemon; empty: defaults
  std::uint64_t budget_bytes = 0;  // hard limit of the arena; 0: the daemon's configuration stands
  // Every snapshot is captured; these say which go to the store: the first at or after each multiple of so many steps, the
  // first so many seconds after the last one that did; whichever comes first. 0: not counted; both 0: the daemon's
  // configuration stands, whose default is every snapshot; 1 step: every snapshot. Fewer than all need a budget of two images.
  // Of a group of ranks every snapshot goes to the store: open() refuses them there with unsupported.
  std::uint64_t persist_every_steps = 0;
  std::uint64_t persist_every_seconds = 0;
  std::uint64_t scratch_bytes = 64ULL << 20;
  // So many threads copy tensors in host memory at the same time, 1 to 16: in the call the caller is one of them (but it waits
  // for them when more is unguarded than scratch_bytes), behind it a thread of ours. Each takes a core while it copies.
  std::uint32_t copy_threads = 1;
  std::uint64_t connect_deadline_ms = 20'000;
  std::uint64_t fence_deadline_ms = 60'000;
};

// What has become of a snapshot; values as sf_state.
enum class SnapshotState : std::int32_t { copying, captured, durable, verified, failed, abandoned, skipped };

struct TicketInfo {
  SnapshotState state = SnapshotState::copying;
  std::int64_t step = 0;
  std::uint64_t sequence = 0;
  std::string name;
  std::string error;
  Code code = Code::ok;            // of the error: no_space, io_error, …
  std::vector<Alarm> alarms;       // what this snapshot says about the training: once durable, or torn
  bool checked = false;            // what is on GPUs was compared with them (CaptureCheck), all of it
  std::vector<std::string> torn;   // entries whose captured bytes were not those on the GPU: the snapshot was withdrawn
  bool persisted = true;           // false: kept in memory only, captured is its last state (persist_every_steps, …_seconds)
  std::uint64_t raw_bytes = 0;
  std::uint64_t stored_bytes = 0;
  double call_seconds = 0, fence_seconds = 0, captured_seconds = 0, durable_seconds = 0, verified_seconds = 0;
  // Training that a crash at this moment would cost the run, whatever becomes of this snapshot: since the newest captured
  // one when the trainer dies, since the newest durable one when the power goes, since open() when there is none.
  double trainer_crash_seconds = 0, power_loss_seconds = 0;
};

// Cheap to copy; outlives the Checkpointer. Thread-safe.
class STILLFRAME_EXPORT Ticket {
 public:
  [[nodiscard]] TicketInfo info() const;
  [[nodiscard]] Status wait_captured(std::uint64_t deadline_ms) const;
  [[nodiscard]] Status wait_durable(std::uint64_t deadline_ms) const;
  [[nodiscard]] Status wait_verified(std::uint64_t deadline_ms) const;

  struct Impl;
  explicit Ticket(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

 private:
  std::shared_ptr<Impl> impl_;
};

struct Restored {
  std::int64_t step = 0;
  std::string name;
  std::vector<std::string> skipped;  // "<name>: <reason>", newest first
  double seconds = 0;
  std::string source = "store";      // or "memory": from the image that a killed predecessor left with the daemon
};

// One thread at a time, as a training loop is.
class STILLFRAME_EXPORT Checkpointer {
 public:
  // busy names the living writer of the run; io_error when the store cannot be made or written.
  [[nodiscard]] static Result<Checkpointer> open(CheckpointerOptions options);
  Checkpointer(Checkpointer&&) noexcept;
  Checkpointer& operator=(Checkpointer&&) noexcept;
  ~Checkpointer();

  // Memory that a snapshot holds: `shape` contiguous elements at `data`, on the host or on that GPU, alive as long as this
  // object, changed only after fence(). All adds come before the first snapshot or restore.
  [[nodiscard]] Status add(std::string name, DType dtype, std::vector<std::uint64_t> shape, void* data,
                           std::int32_t device = kHost);
  // The stream (a CUstream as an integer) on which the GPU's memory is changed from now on; before any call the legacy
  // default stream. Snapshots hold what it has written so far, and fence() makes it wait.
  void use_stream(std::int32_t device, std::uintptr_t stream);

  // Makes the arena for what was added, so that the first snapshot costs what a later one does; without it the first snapshot
  // does so. After restore(), whose predecessor's memory it would wait for. no_space with the figures when the budget is too
  // small.
  [[nodiscard]] Status prepare();

  // Into the memory given to add(): the image that a killed predecessor left in the daemon's memory, when it is whole and every
  // chunk matches its hash; else the newest checkpoint that verifies. nullopt when the run has none. mismatch, naming
  // every difference and touching nothing, when names, dtypes or shapes disagree. Of a group from the store only; deadline when
  // what the ranks before had captured is not there in time, lest each rank find another newest one.
  [[nodiscard]] Result<std::optional<Restored>> restore();

  // Returns before the bytes are copied, on a GPU without waiting for it; call fence() before changing the memory. When earlier snapshots still hold the
  // arena this one is skipped (its ticket says so), or, with `wait`, waits for them: right for the last one of a run. A
  // failure of daemon, memory or disk is the ticket's too; an error here is a wrong call.
  [[nodiscard]] Result<Ticket> snapshot(std::int64_t step, bool wait = false);
  // Before the memory is changed: on the host this waits for the copies, on a GPU its stream does. deadline: the pending
  // snapshot was abandoned and the update may go on. busy: a graph is being captured, and nothing was put into it.
  [[nodiscard]] Status fence();
  // Waits until what is captured is durable and verified, then leaves the daemon.
  // Ranks of a group call it together: what one has taken is verified once the others have passed its fence.
  [[nodiscard]] Status close(std::uint64_t deadline_ms = 600'000);

 private:
  struct Impl;
  explicit Checkpointer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace stillframe
