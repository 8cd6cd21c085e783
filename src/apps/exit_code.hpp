// The exit codes of both programs: what a script can decide from.
#pragma once

#include <string_view>

#include "stillframe/status.hpp"

namespace stillframe::apps {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitDifferent = 1;  // of diff, which says kExitUsage for a failure
inline constexpr int kExitUsage = 2;
inline constexpr int kExitNotFound = 3;
inline constexpr int kExitCorrupt = 4;
inline constexpr int kExitBusy = 5;
inline constexpr int kExitUnavailable = 6;

// For the end of every --help.
inline constexpr std::string_view kExitCodesHelp =
    "Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 corrupt or verification failed, 5 busy, 6 daemon unavailable";

[[nodiscard]] int exit_code(const Status& status) noexcept;
// Prints "<program>: <message>" to standard error unless ok; returns exit_code(status).
[[nodiscard]] int report(std::string_view program, const Status& status);

}  // namespace stillframe::apps
