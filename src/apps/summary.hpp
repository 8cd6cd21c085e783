// What the store says about each checkpoint: the shared ground of ls, show and verify.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "format/manifest.hpp"
#include "format/names.hpp"
#include "stillframe/status.hpp"
#include "store/store.hpp"

namespace stillframe::apps {

enum class State : std::uint8_t { durable, verified, bad, unreadable };
[[nodiscard]] std::string state_name(State state);

struct Summary {
  std::string name;
  std::uint64_t sequence = 0;
  std::int64_t step = 0;
  std::string utc;  // "20261122T123005Z"
  State state = State::durable;
  bool pinned = false;
  std::string problem;  // why it is unreadable, or what the mark says of a bad one
  // Empty and zero when unreadable.
  std::string run;
  std::uint32_t world_size = 0;
  std::uint64_t tensors = 0;
  std::uint64_t raw_bytes = 0;
  std::uint64_t stored_bytes = 0;  // every file of the checkpoint but the marks
};

// nullopt when the checkpoint went away meanwhile (retention); an unreadable one is a summary, not an error.
[[nodiscard]] Result<std::optional<Summary>> summarize(const store::Store& store, const store::CheckpointRef& ref);

// The state and the problem that the marks tell, of a checkpoint whose manifest was read.
void apply_marks(const store::Store& store, const store::Marks& marks, Summary& summary);
void apply_manifest(const format::Manifest& manifest, std::uint64_t manifest_bytes, Summary& summary);

// Summaries newest first, of those that the address's step and run (when given) do not exclude; an unreadable one
// belongs to every run, since nothing says to which. `limit` 0: all of them.
[[nodiscard]] Result<std::vector<Summary>> summaries(const store::Store& store, const format::Address& address,
                                                     std::size_t limit);

}  // namespace stillframe::apps
