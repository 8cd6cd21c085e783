// Whom a daemon serves. Pure.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <vector>

#include "stillframe/status.hpp"

namespace stillframe::daemon {

inline constexpr std::size_t kMostAllowedUids = 64;
inline constexpr uid_t kLargestUid = 0xFFFFFFFE;  // the one above means "none" to the system

// `own` is the daemon's user, `peer` that of the client as the kernel says it. Its own user, root and those of
// `allowed` (daemon.allowed_uids) are served; to others: invalid_argument, with the user and what would have to be
// configured.
[[nodiscard]] Status may_use(uid_t own, const std::vector<uid_t>& allowed, uid_t peer);

// "1000, 1001"; empty: nobody. invalid_argument: "expected …, found …". Then `uids` is as it was.
[[nodiscard]] Status parse_uids(const std::string& text, std::vector<uid_t>& uids);
// What parse_uids() takes, in words.
[[nodiscard]] std::string expected_uids();

}  // namespace stillframe::daemon
