// A File over a file descriptor, and the calls that make one.
#pragma once

#include <memory>
#include <string>

#include "base/unique_fd.hpp"
#include "env/env.hpp"

namespace stillframe::env {

[[nodiscard]] Result<std::unique_ptr<File>> create_posix_file(const std::string& path);
[[nodiscard]] Result<std::unique_ptr<File>> open_posix_file(const std::string& path);

// open(2) with O_CLOEXEC added and EINTR handled; invalid with errno set when refused.
[[nodiscard]] base::UniqueFd open_fd(const std::string& path, int flags) noexcept;

}  // namespace stillframe::env
