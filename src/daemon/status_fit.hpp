// The daemon's status in one message, however many sessions there are and however much they say. Pure.
#pragma once

#include <nlohmann/json.hpp>

#include "protocol/messages.hpp"

namespace stillframe::daemon {

// Encodes to at most transport::kMaxMessageBytes. For that the texts that have no limit of their own (last_error, the
// alarms' text, the scrubs' last) are shortened, as little as it takes; and where this is not enough, sessions at the
// end and their stores' scrubs are left out, and "sessions_left_out" says how many.
[[nodiscard]] protocol::StatusReply fitted_status(nlohmann::json document);

}  // namespace stillframe::daemon
