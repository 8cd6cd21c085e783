// A File over a file descriptor, and the calls that make one.
#pragma once

#include <memory>
#include <string>

#include "env/env.hpp"

struct stat;

namespace stillframe::env {

[[nodiscard]] Result<std::unique_ptr<File>> create_posix_file(const std::string& path);
[[nodiscard]] Result<std::unique_ptr<File>> open_posix_file(const std::string& path);

[[nodiscard]] FileInfo info_of(const struct stat& info) noexcept;

}  // namespace stillframe::env
