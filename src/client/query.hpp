// Asking a running daemon how it is, without being a trainer.
#pragma once

#include <string>

#include "base/clock.hpp"
#include "stillframe/status.hpp"

namespace stillframe::client {

// Where the daemon that is started for this user and store listens: $XDG_RUNTIME_DIR/stillframe/<hash of the store's real
// path>.sock, else in a 0700 directory of the user's under the temporary directory. Makes the directory.
[[nodiscard]] Result<std::string> default_socket_path(const std::string& store_real_path);

// The daemon's status as JSON: {"daemon": {"pid", "version", "socket", "uptime_seconds"}, "arena": {"budget_bytes",
// "used_bytes"}, "sessions": [{"run", "store", "pid", "alive", "mode", "arena_bytes", "image_bytes", "taken", "durable",
// "failed", "last_durable_step", "last_durable_age_seconds", "consecutive_failures", "last_error", "persisting",
// "crash_cost" and "suggested_cadence" as in sf_client_status, null where nothing is known or the trainer is gone}]}.
// unavailable when nobody listens there.
[[nodiscard]] Result<std::string> query_status(const std::string& socket, const base::Deadline& deadline);

}  // namespace stillframe::client
