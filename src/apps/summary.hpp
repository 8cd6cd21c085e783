// What the store says about each checkpoint: the shared ground of ls, show, verify and scrub.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "format/manifest.hpp"
#include "format/names.hpp"
#include "stillframe/status.hpp"
#include "store/catalog.hpp"

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
  std::string pin_reason;
  std::string problem;                       // why it is unreadable, or what the mark says of a bad one
  std::optional<format::ManifestHead> head;  // nullopt: unreadable
  std::uint64_t stored_bytes = 0;            // own files and the manifest; not the marks, not shared files
};

// From one pass over heads and marks; reads the marks' texts as well.
[[nodiscard]] Summary summarize(const store::Store& store, const store::CatalogEntry& entry);

// Summaries newest first, of those that the address's step and run (when given) do not exclude; an unreadable one
// belongs to every run, since nothing says to which. `limit` 0: all of them. The address chooses latest or a step.
[[nodiscard]] Result<std::vector<Summary>> summaries(const store::Store& store, const format::Address& address,
                                                     std::size_t limit);

// "non_finite_loss, stale_tensors"; each kind once.
[[nodiscard]] std::string alarm_kinds(const std::vector<format::Alarm>& alarms);

}  // namespace stillframe::apps
