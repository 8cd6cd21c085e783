// The daemon itself: one instance per socket, sessions, persist, retention, graceful stop.
#pragma once

#include <functional>

#include "daemon/config.hpp"

namespace stillframe::daemon {

// Serves until SIGTERM or SIGINT (finishes what is captured, then returns ok) or until idle. `ready` is called once the
// socket accepts. busy, naming the process, when another instance holds the socket.
[[nodiscard]] Status run(const Config& config, const std::function<void()>& ready);

}  // namespace stillframe::daemon
