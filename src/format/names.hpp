// Every name on disk, in one file. Pure.
//
//   <store>/sequence                       the highest sequence ever claimed, decimal, newline
//   <store>/store.lock                     held while a sequence is claimed or a checkpoint loses its name
//   <store>/run-<run>.lock                 held by the writer of a run, for as long as it writes
//   <store>/FORMAT-v1.md, read-v1.py       the format and a reader of it, for whoever has no Stillframe
//   <store>/FORMAT-v2.md, read-v2.py       what version 2 adds, and a reader of both, which needs read-v1.py beside it
//   <store>/<name>/                        a checkpoint: exists if and only if its directory bears this name
//   <store>/<name>.<run>.partial/          being written by the holder of run-<run>.lock, or an orphan
//   <store>/<name>.removing/               being removed; anyone may finish
//   <name> = 000042-step001000-20261122T123005Z   sequence, step, UTC label; at least six digits each
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "stillframe/status.hpp"

namespace stillframe::format {

inline constexpr std::string_view kSequenceFile = "sequence";
inline constexpr std::string_view kStoreLockFile = "store.lock";
inline constexpr std::string_view kFormatPageFile = "FORMAT-v1.md";
inline constexpr std::string_view kReaderFile = "read-v1.py";
inline constexpr std::string_view kFormatPageFileV2 = "FORMAT-v2.md";
inline constexpr std::string_view kReaderFileV2 = "read-v2.py";
inline constexpr std::string_view kManifestFile = "manifest.json";
inline constexpr std::string_view kPartialSuffix = ".partial";
inline constexpr std::string_view kRemovingSuffix = ".removing";
// Marks, one small file each beside the manifest.
inline constexpr std::string_view kVerifiedMark = "verified";
inline constexpr std::string_view kBadMark = "bad";
inline constexpr std::string_view kPinnedMark = "pinned";

struct CheckpointName {
  std::uint64_t sequence = 0;
  std::int64_t step = 0;  // may be negative: written as step-000001
  std::string utc;        // "20261122T123005Z"
  friend bool operator==(const CheckpointName&, const CheckpointName&) = default;
};

[[nodiscard]] std::string to_string(const CheckpointName& name);
// nullopt for anything that to_string() would not write.
[[nodiscard]] std::optional<CheckpointName> parse_checkpoint_name(std::string_view text);

struct PartialName {
  std::string name;  // the final name
  std::string run;
};
[[nodiscard]] std::string partial_name(std::string_view name, std::string_view run);
[[nodiscard]] std::optional<PartialName> parse_partial_name(std::string_view text);
[[nodiscard]] std::string removing_name(std::string_view name);
[[nodiscard]] std::optional<std::string> parse_removing_name(std::string_view text);  // the final name

[[nodiscard]] std::string run_lock_file(std::string_view run);
[[nodiscard]] std::string data_file(std::uint32_t rank);                          // rank-00000.data
[[nodiscard]] std::string safetensors_file(std::uint32_t rank);                   // rank-00000.safetensors
[[nodiscard]] std::string table_file(std::uint32_t rank);                         // rank-00000.table
[[nodiscard]] std::string shared_file(std::uint32_t rank, std::uint32_t index);  // rank-00000.shared-0.data

// 1 to 64 of [A-Za-z0-9_-]; the message says what is wrong.
[[nodiscard]] Status check_run_name(std::string_view run);

enum class Select : std::uint8_t { latest, step, best, before_nan };

// <store>[:<run>][@<selector>]; selector: "latest" (default), a step, "best[:<metric>[:min|max]]" or "before-nan".
struct Address {
  std::string store;
  std::string run;  // empty: the default run "main"
  Select select = Select::latest;
  std::int64_t step = 0;        // Select::step
  std::string metric = "loss";  // Select::best
  bool highest = false;         // Select::best: max instead of min
};
// invalid_argument with what was expected. A ':' or '@' belongs to the store path when a '/' comes after it, but for
// "@best:", so that a metric may be named "eval/loss".
[[nodiscard]] Result<Address> parse_address(std::string_view text);
[[nodiscard]] std::string to_string(const Address& address);

}  // namespace stillframe::format
