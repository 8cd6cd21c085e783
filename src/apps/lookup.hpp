// Which checkpoints an address names, for commands that look at them or mark them. (restore takes one that verifies
// instead.)
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "apps/summary.hpp"
#include "format/names.hpp"
#include "stillframe/status.hpp"
#include "store/store.hpp"

namespace stillframe::apps {

inline constexpr std::string_view kAddressHelp = "STORE[:RUN][@latest|@STEP|@best[:METRIC[:min|max]]|@before-nan]";

struct Located {
  store::Store store;
  Summary checkpoint;
  std::string why;  // of @best and @before-nan: "loss 0.25, the lowest of 12 checkpoints with that metric"
};
enum class LatestIs : std::uint8_t { newest, restorable };
// A step: the newest of that step (or its pinned one, where that is preferred), whatever its state, also when it is bad
// or unreadable. @latest: likewise, or what a restore would take. @best and @before-nan: what a restore would take.
// invalid_argument for an address that does not parse, not_found, corrupt when none can be restored, and the errors of
// opening the store.
[[nodiscard]] Result<Located> locate(const std::string& address, LatestIs latest = LatestIs::newest,
                                     store::Prefer prefer = store::Prefer::newest);

struct LocatedAll {
  store::Store store;
  std::vector<Summary> checkpoints;  // newest first
};
// Every checkpoint of STORE or STORE:RUN; not_found when there is none. invalid_argument when the address names one
// checkpoint, @latest included.
[[nodiscard]] Result<LocatedAll> locate_all(const std::string& address);

// Whether something stands behind an '@' that chooses one checkpoint.
[[nodiscard]] bool names_one(const std::string& address_text, const format::Address& address);

// The directory of an address that is a store and no more; else invalid_argument.
[[nodiscard]] Result<std::string> whole_store(const std::string& address);

}  // namespace stillframe::apps
