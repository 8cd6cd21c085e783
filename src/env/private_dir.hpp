// A directory that belongs to this user alone: where sockets and start locks live.
#pragma once

#include <string>

#include "stillframe/status.hpp"

namespace stillframe::env {

// Makes `path` with mode 0700 (its parent must exist), or accepts one that is already a directory of this user's, not a
// symbolic link, closed to group and others. invalid_argument, saying what is wrong with it, otherwise.
[[nodiscard]] Status make_private_dir(const std::string& path);

}  // namespace stillframe::env
