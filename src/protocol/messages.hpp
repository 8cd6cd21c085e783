// The control messages between trainer and daemon; docs/protocol.md. Pure. One message is one JSON object in one packet.
// Bytes of tensors, chunk and snapshot states never travel here: they stand in the arena, and a lost message loses nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "stillframe/status.hpp"
#include "stillframe/types.hpp"

namespace stillframe::protocol {

inline constexpr std::uint32_t kProtocolVersion = 6;
// A `hello` of a version from here on is answered in that version: the other messages of a trainer are the same in all.
inline constexpr std::uint32_t kOldestTrainersVersion = 5;
inline constexpr std::uint32_t kFirstWithStoreId = 6;  // hello and welcome say which directory the store is

// ---- trainer to daemon ----

// First message of a trainer, with its pidfd as the first descriptor and, when `adopt`, the memfd of its arena as the second.
struct Hello {
  std::uint32_t protocol = kProtocolVersion;
  std::string client_version;
  std::string store;  // real path
  std::string run;
  std::string group;
  std::uint32_t rank = 0;
  std::uint32_t world_size = 1;
  std::string generation;          // of the group, as an earlier welcome said; empty: none yet, or a trainer alone
  std::uint64_t budget_bytes = 0;  // 0: the daemon's configuration stands
  std::string retention_json;      // of this run (retention::policy_to_json); empty: the daemon's configuration stands
  std::uint64_t persist_every_steps = 0;    // which snapshots go to the store; both 0: the daemon's configuration stands
  std::uint64_t persist_every_seconds = 0;
  std::int64_t pid = 0;
  bool adopt = false;
  // The highest version of the store's format that this trainer restores from: what its snapshots become is of no higher
  // one. A trainer of version 5 of the protocol does not say it, and reads 1.
  std::uint32_t reads_format = 1;
  // So that both mean the same directory: env::FileInfo::file_id of the store as the trainer sees it (0: nothing is there), or,
  // with `adopt`, as the daemon before said; and its newest checkpoint that the trainer knows of, "" for none.
  std::uint64_t store_file_id = 0;
  std::string newest_checkpoint;
};
// Wait until nothing captured by a dead predecessor of the run is on its way. Answered by Done or Failure.
struct Settle {
  std::uint64_t deadline_ms = 0;  // of the asker: after it the answer is a Failure
};
// Room for images of this size; answered by ArenaReady with the memfd. Waits for a predecessor's memory.
struct ArenaRequest {
  std::uint64_t image_bytes = 0;
  std::uint64_t descriptor_bytes = 0;
  std::uint64_t deadline_ms = 0;
  bool while_training = false;  // the asker has no snapshot of its own yet: what a predecessor left stays while there is room
};
// Before the first arena: is the newest image of a dead predecessor still in memory? Answered by HotImage, with a descriptor
// of its memory for reading only, by HotNone, or by Failure. The image then stays until HotDone, the next ArenaRequest, the
// end of the line, or the deadline.
struct HotRequest {
  std::uint64_t deadline_ms = 0;
};
// The image was read, or is not wanted. Answered by Done.
struct HotDone {};
// The trainer leaves and takes its memory along. Answered by Done.
struct Bye {};
// From anybody of the same user; answered by StatusReply.
struct StatusRequest {};

// ---- daemon to trainer ----

struct Welcome {
  std::uint32_t protocol = kProtocolVersion;
  std::string daemon_version;
  std::int64_t daemon_pid = 0;
  std::string generation;  // of the group that the rank has joined; empty: a trainer alone
  std::uint64_t persist_every_steps = 0;  // what stands for this trainer; both 0: every snapshot
  std::uint64_t persist_every_seconds = 0;
  std::uint64_t store_file_id = 0;  // env::FileInfo::file_id of the store's directory, as the daemon sees it
};
struct ArenaReady {
  std::uint64_t slots = 0;
  std::uint64_t committed_slots = 0;
  std::uint64_t budget_bytes = 0;
};
// A sealed snapshot that is whole in memory, newer than or equal to what the store has of the run. `record` says where in the
// memory, the others what must stand there.
struct HotImage {
  std::uint32_t record = 0;
  std::uint64_t snapshot_id = 0;
  std::int64_t step = 0;
  std::uint64_t image_bytes = 0;
  std::uint64_t descriptor_bytes = 0;
  std::string name;  // of its checkpoint in the store; empty: not durable yet
};
struct HotNone {
  std::string why;
};
struct Done {};
struct Failure {
  Code code = Code::internal;
  std::string message;
};
struct StatusReply {
  std::string json;
};
// Unasked: a snapshot has moved on. The arena holds the state itself; this brings the words.
struct SnapshotNews {
  std::uint64_t snapshot_id = 0;
  std::string state;  // "durable", "verified", "failed", "withdrawn"
  std::uint64_t sequence = 0;
  std::string name;
  std::uint64_t raw_bytes = 0;
  std::uint64_t stored_bytes = 0;
  Code code = Code::ok;
  std::string error;
  std::vector<Alarm> alarms;  // of a durable one
};

using Message = std::variant<Hello, Settle, ArenaRequest, Bye, StatusRequest, Welcome, ArenaReady, Done, Failure,
                             StatusReply, SnapshotNews, HotRequest, HotDone, HotImage, HotNone>;

[[nodiscard]] std::string encode(const Message& message);
// corrupt for anything that encode() would not write: unknown or missing members, wrong types, values out of range.
// unsupported for a Hello or Welcome of another protocol version (whatever else it holds).
[[nodiscard]] Result<Message> decode(std::string_view text);

}  // namespace stillframe::protocol
