// What the processes of a scenario were told: the promises that must hold after any crash.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "crash/content.hpp"

namespace stillframe::test {

enum class Promise : std::uint8_t {
  open,   // begun and not acknowledged: it may have happened or not
  there,  // acknowledged
  gone,   // its removal was acknowledged
};

struct KnownCheckpoint {
  ContentPtr content;  // whoever finds the checkpoint finds exactly this
  std::uint64_t sequence = 0;
  Promise standing = Promise::open;
  bool damaged = false;    // by the scenario, before it began; then its content is nobody's promise
  bool expirable = false;  // a policy lets it go, once a newer one of the run is verified
  int expiring = 0;        // retentions under way that may remove it
  std::map<std::string, Promise, std::less<>> marks;  // one that is not here was never set
};

struct Ledger {
  std::map<std::string, KnownCheckpoint, std::less<>> checkpoints;  // by name
  std::uint64_t highest_claimed = 0;                                // acknowledged
  bool store_exists = true;                                         // its creation was acknowledged
  bool pages_whole = true;  // those of the format: nobody has damaged them since the store was opened to write
};

}  // namespace stillframe::test
