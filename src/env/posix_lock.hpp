// Advisory locks over flock(2).
#pragma once

#include <memory>
#include <string>

#include "env/env.hpp"

namespace stillframe::env {

[[nodiscard]] Result<std::unique_ptr<Lock>> try_posix_lock(const std::string& path, LockMode mode);

}  // namespace stillframe::env
