// Turns a failed system call into a Status with path, operation and reason.
#pragma once

#include <string>
#include <string_view>

#include "stillframe/status.hpp"

namespace stillframe::env {

// `doing` is a verb phrase: "write 4096 bytes at offset 0 of". The message reads
// "cannot <doing> '<path>': <description> (<ERRNO NAME>)" and a hint where one helps.
[[nodiscard]] Status errno_status(int error, std::string_view doing, std::string_view path);

}  // namespace stillframe::env
